"""Raw HTTP/1.1 on both sides of a proxy: an origin that follows a script for each path, a client.

Both read with the strict reader of `tests.safety.messages`, so a framing mistake of the proxy
fails the test that meets it.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.safety.messages import REQUEST_LINE, Incomplete, Message, read_head, read_request
from tests.safety.messages import read_response as read_response_bytes
from tests.support.listening import Listening
from tests.support.running import Proxy, backend_manifest, free_port, ingress_manifest

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PATIENCE = 15.0  # seconds; only a failing test waits this long


class Peer:
    """One connection at the origin, with a request whose head has been read."""

    def __init__(self, connection: socket.socket, number: int) -> None:
        self.socket = connection
        self.number = number  # of the connection, from 1
        self.served = 0  # requests before this one
        self.data = b""
        self.head = Message("", [])

    def read_head(self) -> bool:
        while True:
            try:
                self.head = read_head(self.data, REQUEST_LINE)
            except Incomplete:
                if not self._more():
                    return False
            else:
                return True

    def read_request(self) -> Message:
        """The whole request, taken out of what was received; ConnectionError if it ends early."""
        while True:
            try:
                message = read_request(self.data)
            except Incomplete:
                if not self._more():
                    raise ConnectionError("the request is not complete") from None
            else:
                self.data = self.data[message.size :]
                return message

    def _more(self) -> bool:
        data = self.socket.recv(1 << 18)
        self.data += data
        return bool(data)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


Script = Callable[[Peer], bool | None]  # False = close the connection


def echo(peer: Peer) -> None:
    """The body comes back, framed as it came."""
    request = peer.read_request()
    if request.chunked:
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        if request.body:
            peer.send(b"%x\r\n%b\r\n" % (len(request.body), request.body))
        peer.send(b"0\r\n\r\n")
    else:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body))
        peer.send(request.body)


class Origin(Listening):
    """`scripts` by path without query; other paths echo the request's body."""

    def __init__(
        self, scripts: dict[str, Script] | None = None, address: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.scripts = scripts or {}
        self.seen: list[Message] = []  # heads, in the order of their arrival
        self.connections = 0
        self.open = 0
        self._lock = threading.Lock()
        super().__init__(address, port)

    def targets(self) -> list[str]:
        return [head.target for head in self.seen]

    def serve(self, connection: socket.socket) -> None:
        with self._lock:
            self.open += 1
            self.connections += 1
            peer = Peer(connection, self.connections)
        try:
            while peer.read_head():
                self.seen.append(peer.head)
                script = self.scripts.get(peer.head.target.partition("?")[0], echo)
                if script(peer) is False:
                    return
                peer.served += 1
        finally:
            connection.close()
            with self._lock:
                self.open -= 1


class Client:
    """One connection to the proxy."""

    def __init__(self, port: int, receive_buffer: int = 0, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""
        self.closed = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def more(self) -> bool:
        """Read once; False at the end. A reset is an OSError."""
        data = self.socket.recv(1 << 18)
        self.data += data
        self.closed = not data
        return bool(data)

    def drain(self, size: int = 1 << 62) -> bytes:
        """Take what comes, up to about `size` bytes or the end; for bodies too large to reread."""
        pieces, total = [self.data], len(self.data)
        while total < size and (data := self.socket.recv(1 << 18)):
            pieces.append(data)
            total += len(data)
        self.data = b""
        return b"".join(pieces)

    def response(self, method: str = "GET") -> Message:
        while True:
            try:
                found = read_response_bytes(self.data, method=method, closed=self.closed)
            except Incomplete:
                if self.closed or (not self.more() and not self.data):
                    raise ConnectionError(f"closed within a response: {self.data!r}") from None
            else:
                self.data = self.data[found.size :]
                return found

    def ask(self, target: str, *lines: str, method: str = "GET", body: bytes = b"") -> Message:
        self.send(request(target, *lines, method=method, body=body))
        return self.response(method)

    def ends(self) -> bool:
        """Wait for the end; True when nothing came before it."""
        with suppress(ConnectionResetError):
            while self.more():
                pass
        return not self.data


def request(
    target: str, *lines: str, method: str = "GET", body: bytes = b"", version: str = "1.1"
) -> bytes:
    """A request to host a.test; a body gets a Content-Length unless a line frames it."""
    framed = any(line.lower().startswith(("content-length", "transfer-enc")) for line in lines)
    if (body or method == "POST") and not framed:
        lines = (*lines, f"Content-Length: {len(body)}")
    head = "".join(line + "\r\n" for line in lines)
    return f"{method} {target} HTTP/{version}\r\nHost: a.test\r\n{head}\r\n".encode() + body


def joined(chunks: bytes) -> bytes:
    """The body of a chunked message without trailers, in linear time."""
    pieces, at = [], 0
    while True:
        end = chunks.index(b"\r\n", at)
        size = int(chunks[at:end], 16)
        if size == 0:
            assert chunks[end:] == b"\r\n\r\n"
            return b"".join(pieces)
        at = end + 2 + size + 2
        pieces.append(chunks[end + 2 : at - 2])
        assert chunks[at - 2 : at] == b"\r\n"


def until(question: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@contextmanager
def proxied(
    folder: Path,
    services: Mapping[str, Sequence[tuple[str, int]]],
    settings: str = "",
    main: str = "",
) -> Iterator[Proxy]:
    """A proxy with one worker and a route /NAME to each Service of (address, port) endpoints.

    `main` stands before the first table of the settings, `settings` after the entry point.
    """
    manifests = folder / "manifests"
    manifests.mkdir()
    documents = [ingress_manifest("all", [("", f"/{name}", name) for name in services])]
    for name, endpoints in services.items():
        texts = [backend_manifest(name, [port], host=host) for host, port in endpoints]
        service = backend_manifest(name, [])
        slices = [text.removeprefix(service + "---") for text in texts]
        documents += [service, *(_numbered(text, i) for i, text in enumerate(slices))]
    (manifests / "all.yaml").write_text("---\n".join(documents))
    port = free_port()
    text = f"""
defaultEntryPoints = ["http"]
workers = 1
providersThrottleDuration = "100ms"
{main}
[entryPoints.http]
address = "127.0.0.1:{port}"
{settings}
"""
    proxy = Proxy(folder, manifests, text, port)
    proxy.launch()
    try:
        until(lambda: _routed(proxy, f"/{next(iter(services))}/fence"), 30)
        yield proxy
    finally:
        proxy.stop()


def _numbered(text: str, number: int) -> str:
    kind = "IPv6" if "[::" in text else "IPv4"
    text = text.replace("addressType: IPv4", f"addressType: {kind}")
    return re.sub(r"  name: (\S+)-(\d+)\n", rf"  name: \1-\2-{number}\n", text)


def _routed(proxy: Proxy, target: str) -> bool:
    try:
        with Client(proxy.address[1]) as client:
            return client.ask(target).status != 404
    except OSError:
        return False
