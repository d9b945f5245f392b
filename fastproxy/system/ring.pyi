"""A ring of bytes in shared memory, for lines that one process makes and another writes."""

from typing import final

def create_ring(size: int) -> int:
    """A new ring of at least so many bytes; returns its descriptor (a memfd). Raises OSError."""

@final
class SharedRing:
    """A ring as Python sees it; engine and writer use it in C. Raises OSError."""

    def __init__(self, descriptor: int, wake: int = -1) -> None: ...
    def put(self, piece: bytes) -> bool:
        """As the producer: publish a piece; False, and counted as lost, when there is no room."""
    def take(self) -> bytes:
        """As the consumer: everything that is there."""
    @property
    def counts(self) -> dict[str, int]:
        """lines, lost, cut (by the producer), written (by the consumer); waiting (bytes)."""
