"""The observer: the process that writes what the workers have seen."""
