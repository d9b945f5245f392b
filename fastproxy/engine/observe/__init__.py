"""What is seen of exchanges: lines of the access log, made while nobody waits for them."""
