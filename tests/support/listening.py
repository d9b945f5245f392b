"""A TCP server of a test: accepts, and serves each connection in a thread of its own."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Listening:
    """Listens from the end of `__init__` on: what `serve` needs is set before that is called."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0, backlog: int = 512) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, port), family=family, backlog=backlog)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        """One connection, closed afterwards; it may end in OSError."""
        raise NotImplementedError

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # a close alone does not end accept()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.serve(connection)


def read_head(connection: socket.socket, data: bytes = b"") -> tuple[bytes, bytes]:
    """Up to the empty line, and what came behind it; (b"", b"") when the peer ends before."""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b"", b""
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest
