"""Heads in and out for tests and benchmarks."""

from collections.abc import Iterable
from typing import final

class Incomplete(Exception): ...

class Refused(Exception):
    """The message is not understood; `status` is what it would be answered with."""

    status: int

@final
class Probe:
    """One message head: read it, then write it again as often as wanted."""

    def __init__(self, response: bool = False) -> None: ...
    def parse(self, data: bytes, rounds: int = 1) -> int:
        """Read a whole head `rounds` times; returns its size."""

    def feed(self, pieces: Iterable[bytes]) -> int:
        """Read a head that arrives in pieces; returns its size."""

    def body(self, pieces: Iterable[bytes]) -> tuple[bytes, bool]:
        """Decode what follows the head: the body, and whether its end came."""

    def write_request(
        self,
        rounds: int = 1,
        *,
        client: bytes = b"192.0.2.1",
        server: bytes = b"proxy",
        host: bytes = b"",
        trusted: bool = False,
        tls: bool = False,
        expect: bool = False,
    ) -> bytes | None:
        """The head as an endpoint gets it; None when it is refused."""

    def write_response(
        self,
        rounds: int = 1,
        *,
        chunked: bool = False,
        close: bool = False,
        http10_keep_alive: bool = False,
        date: bytes = b"Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n",
    ) -> bytes | None:
        """The head as a client gets it; None when it is refused."""
