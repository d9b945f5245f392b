"""A request as the engine understands it."""

class Refused(ValueError):
    status: int

def canonical(head: bytes) -> tuple[bytes, bytes, bytes, bytes | None]: ...
