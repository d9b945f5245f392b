"""The small parts of the engine, for tests."""

from typing import final

@final
class QueueProbe:
    """An output queue."""

    size: int
    def append(self, data: bytes) -> None: ...
    def append_rest(self, pieces: list[bytes], skip: int) -> None: ...
    def vector(self, most: int) -> list[bytes]: ...
    def consume(self, size: int) -> None: ...
    def clear(self) -> None: ...
    def write(self, descriptor: int) -> int | None:
        """Write once, as connections do; None when the socket takes nothing now."""

@final
class SavedProbe:
    """A request head that is edited and saved; what it was read from is overwritten."""

    body: bytes
    def __init__(self, data: bytes) -> None: ...
    def edit(self, name: bytes, value: bytes) -> None:
        """Set a field to bytes in scratch memory, as operations do."""

    def set_path(self, path: bytes) -> None: ...
    def save(self, body: bytes = b"") -> None:
        """Save it, again if it was saved; then overwrite all it was made from."""

    def write(self) -> bytes | None:
        """The head as an endpoint gets it."""

def read_proxy_header(
    descriptor: int, address: bytes, trusted: bytes = b"", insecure: bool = False
) -> tuple[int, bytes]:
    """(1 = go on, 0 = wait, -1 = close; the client's address), both as 16 bytes. `trusted`: rows of
    16 bytes and the prefix bits."""

def gzip(pieces: list[bytes]) -> list[bytes]:
    """What each piece becomes; the last one ends the body."""

def sniff(data: bytes) -> str:
    """The type of a body that begins so. The bytes stand at the end of a block of their size."""

def retry_expression(program: bytes, attempt: int, status: int, method: bytes) -> bool:
    """The truth of a program of `expression.retry_program`."""
