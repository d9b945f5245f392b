"""A recording origin: remembers the exact bytes that arrive, answers with scripted raw bytes.

One thread, one selector, several listening sockets (each a named backend). A connection's bytes
are read by `messages.read_request`, the strict judge; its first complaint is kept in `complaint`.
Recording starts anew with `begin`; connections of earlier cases stay open, as a proxy's pool
expects, and what still arrives on them is recorded too.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import random
import selectors
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.safety.messages import Incomplete, Malformed, Message, read_request

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PLAIN_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
FENCE = "/fence"


@dataclass(frozen=True)
class Answer:
    """What to send: `when` the "request" is complete, at its "head", or on "connect"."""

    send: bytes
    when: str = "request"
    then: str = "keep"  # or "close" (FIN), "reset" (RST), "tunnel" (echo everything after)
    pause: float = 0.0  # seconds before `then` (and `late`)
    late: bytes = b""  # sent after a pause, on what should be an idle connection
    filler: int = 0  # so many more bytes "x" behind `send`

    @property
    def final(self) -> bool:
        return not self.send.startswith(b"HTTP/1.1 1")


@dataclass(eq=False)
class Connection:
    socket: socket.socket
    backend: str
    received: bytes = b""  # not yet consumed by a complete request
    answered_head: bool = False
    tunnel: bool = False


@dataclass
class Record:
    """What arrived since `begin`, without the fences."""

    raw: bytes = b""
    requests: list[tuple[str, Message]] = field(default_factory=list)
    partial: list[Connection] = field(default_factory=list)
    closed: list[Connection] = field(default_factory=list)
    tunnelled: bytes = b""
    complaint: str = ""
    connections: int = 0


class Origin:
    def __init__(self, backends: Mapping[str, int]) -> None:
        """Listen for each backend on its port; 0 = any free one, see `ports`."""
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._record = Record()
        self._answers: list[Answer] = []
        self._split = "whole"
        self._random = random.Random(1)
        self.ports: dict[str, int] = {}
        for backend, port in backends.items():
            listener = socket.create_server(("127.0.0.1", port), backlog=1024)
            listener.setblocking(False)
            self.ports[backend] = listener.getsockname()[1]
            self._selector.register(listener, selectors.EVENT_READ, backend)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="recording origin", daemon=True)
        self._thread.start()

    def begin(self, answers: Sequence[Answer], split: str, seed: int) -> None:
        with self._lock:
            self._record = Record()
            self._answers = list(answers)
            self._split = split
            self._random = random.Random(seed)

    def quiet(self) -> None:
        """Forget answers nobody asked for."""
        with self._lock:
            self._answers = []

    def settle(self) -> None:
        """Wait until an answer that is being sent in pieces has been sent."""
        time.sleep(0.002)
        with self._lock:
            pass
        time.sleep(0.005)

    def end(self, *, settled: bool = False) -> Record:
        """What arrived. Requests that have begun but are not complete stand in `partial`.

        With `settled`, wait up to a second until none of those is still open.
        """
        deadline = time.monotonic() + settled
        while True:
            record = self._end()
            if time.monotonic() >= deadline or set(record.partial) <= set(record.closed):
                return record
            time.sleep(0.01)

    def _end(self) -> Record:
        with self._lock:
            record = self._record
            record.partial = [
                key.data
                for key in self._selector.get_map().values()
                if isinstance(key.data, Connection) and key.data.received
            ] + [c for c in record.closed if c.received]
            return record

    def forget_connections(self) -> None:
        """Close every connection, so that the next case starts with an empty pool."""
        with self._lock:
            for key in list(self._selector.get_map().values()):
                if isinstance(key.data, Connection):
                    self._close(key.data)

    def stop(self) -> None:
        self._stopped = True
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stopped:
            ready = self._selector.select(0.05)
            with self._lock:
                for key, _ in ready:
                    if isinstance(key.data, Connection):
                        self._read(key.data)
                    else:
                        self._accept(key.fileobj, key.data)  # type: ignore[arg-type]

    def _accept(self, listener: socket.socket, backend: str) -> None:
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(accepted, backend)
        self._record.connections += 1
        self._selector.register(accepted, selectors.EVENT_READ, connection)
        if self._answers and self._answers[0].when == "connect":
            self._answer(connection, self._answers.pop(0))

    def _close(self, connection: Connection) -> None:
        self._record.closed.append(connection)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.socket)
        connection.socket.close()

    def _read(self, connection: Connection) -> None:
        if connection.socket.fileno() < 0:
            return
        try:
            data = connection.socket.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        if connection.tunnel:
            self._record.tunnelled += data
            self._plain(connection, data)
            return
        connection.received += data
        while connection.received and connection.socket.fileno() >= 0:
            if not self._consume(connection):
                break

    def _consume(self, connection: Connection) -> bool:
        """Take one complete request out of what was received."""
        head = b"\r\n\r\n" in connection.received
        if head and not connection.answered_head and self._next_when("head"):
            answer = self._answers.pop(0)
            connection.answered_head = answer.final
            self._answer(connection, answer)
            return connection.socket.fileno() >= 0 and bool(connection.received)
        try:
            request = read_request(connection.received)
        except Incomplete:
            return False
        except Malformed as problem:
            self._record.complaint = self._record.complaint or str(problem)
            self._close(connection)
            return False
        raw = connection.received[: request.size]
        connection.received = connection.received[request.size :]
        if request.target.startswith(FENCE):
            self._plain(connection, PLAIN)
            return True
        self._record.raw += raw
        self._record.requests.append((connection.backend, request))
        if connection.answered_head:
            connection.answered_head = False
        elif self._answers:
            self._answer(connection, self._answers.pop(0), request)
        else:
            self._plain(connection, PLAIN_HEAD if request.method == "HEAD" else PLAIN)
        return True

    def _plain(self, connection: Connection, data: bytes) -> None:
        with contextlib.suppress(OSError):
            connection.socket.sendall(data)

    def _next_when(self, when: str) -> bool:
        return bool(self._answers) and self._answers[0].when == when

    def _answer(
        self, connection: Connection, answer: Answer, request: Message | None = None
    ) -> None:
        data = answer.send
        if request is not None and b"@ACCEPT@" in data:
            key = "".join(request.values("Sec-WebSocket-Key"))
            data = data.replace(b"@ACCEPT@", websocket_accept(key))
        with contextlib.suppress(OSError):
            send(connection.socket, data + b"x" * answer.filler, self._split, self._random)
            time.sleep(0.05 if answer.late else answer.pause)
            connection.socket.sendall(answer.late)
        if answer.then == "reset":
            option = struct.pack("ii", 1, 0)
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        if answer.then in ("reset", "close"):
            self._close(connection)
        connection.tunnel = answer.then == "tunnel"
        if connection.tunnel and connection.received:
            self._record.tunnelled += connection.received


def websocket_accept(key: str) -> bytes:
    """RFC 6455, section 4.2.2."""
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    return base64.b64encode(digest)


def send(to: socket.socket, data: bytes, split: str, chooser: random.Random) -> None:
    """Send `data` whole, "bytes" by byte, or in "random" pieces, with time to read in between."""
    to.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces(data, split, chooser):
        to.sendall(piece)
        if split != "whole":
            time.sleep(0.0001)


def pieces(data: bytes, split: str, chooser: random.Random) -> list[bytes]:
    """Of a long message only both ends are sent byte by byte."""
    if split == "whole" or not data:
        return [data] if data else []
    edge = 400
    if split == "bytes":
        if len(data) <= 2 * edge:
            return [data[i : i + 1] for i in range(len(data))]
        middle = pieces(data[edge:-edge], "random", chooser)
        return [
            *pieces(data[:edge], split, chooser),
            *middle,
            *pieces(data[-edge:], split, chooser),
        ]
    most = max(8, len(data) // 40)
    found: list[bytes] = []
    at = 0
    while at < len(data):
        size = chooser.randint(1, most)
        found.append(data[at : at + size])
        at += size
    return found
