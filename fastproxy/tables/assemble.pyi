"""Lay the compiled rows of all routes behind each other: the table block (`compile.py`)."""

# name, backend name, request, response, end operations, backend slot, flags, entry point, flush
Row = tuple[bytes, bytes, bytes, bytes, bytes, int, int, int, int, int]

def assemble(generation: int, rows: list[Row], matcher: bytes, retry_attempts: int) -> bytes:
    """Return the block of these records, in their order. Equal input, equal bytes.

    Raises ValueError when it would exceed 4 GiB, OverflowError for a number above 32 bits.
    """
