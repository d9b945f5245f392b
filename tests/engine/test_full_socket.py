"""The end of a TLS connection that meets a full socket is told when there is room again.

The proxy's sockets inherit a small send buffer, the clients have a small receive buffer and wait
before they read: some of the answers fill both to the last byte.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from fastproxy.model.configuration import Backend, Desired, Endpoint, Route
from fastproxy.model.matchers import PathPrefix
from fastproxy.settings.options import EntryPoint, EntryPointTls, Settings
from tests.support.listening import Listening, read_head
from tests.support.plane import Plane
from tests.support.scripted import Origin, Peer, until
from tests.support.tls import AUTHORITY, client_context, server_context

SIZES = range(26_000, 40_000, 250)
UPGRADE = b"Connection: Upgrade\r\nUpgrade: bytes"


def answer(peer: Peer) -> bool:
    """As many bytes as the query says, as a body or after 101; then the end."""
    size = int(peer.head.target.rpartition("?")[2])
    peer.read_request()
    if peer.head.target.startswith("/tunnel"):
        peer.send(b"HTTP/1.1 101 X\r\n" + UPGRADE + b"\r\n\r\n" + bytes(size))
        peer.socket.shutdown(socket.SHUT_WR)
        while peer.socket.recv(4096):
            pass
        return False
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    return True


class Slow(Listening):
    """A TLS endpoint that answers 101 and reads what follows when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.total: int | None = None  # bytes before close_notify; None without one
        self.read = threading.Event()
        self._context = server_context(AUTHORITY.issue_cert("a.test"))
        super().__init__()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)

    def serve(self, connection: socket.socket) -> None:
        with self._context.wrap_socket(
            connection, server_side=True, suppress_ragged_eofs=False
        ) as tls:
            head, rest = read_head(tls)
            if not head:
                return
            tls.sendall(b"HTTP/1.1 101 X\r\n" + UPGRADE + b"\r\n\r\n")
            self.go.wait(10)
            total = len(rest)
            try:
                while data := tls.recv(1 << 16):
                    total += len(data)
                self.total = total
            except ssl.SSLEOFError:
                self.total = None
            self.read.set()


@pytest.fixture(scope="module")
def slow() -> Iterator[Slow]:
    with closing(Slow()) as made:
        yield made


@pytest.fixture(scope="module")
def plane(slow: Slow) -> Iterator[Plane]:
    tls = EntryPoint("127.0.0.1:0", tls=EntryPointTls())
    settings = Settings(entry_points={"https": tls}, insecure_skip_verify=True)
    with (
        closing(Origin({"/answer": answer, "/tunnel": answer})) as origin,
        closing(Plane(settings)) as made,
    ):
        made.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        targets = {
            "/": Endpoint("http", "127.0.0.1", origin.port),
            "/slow": Endpoint("https", "127.0.0.1", slow.port),
        }
        made.prepare(
            Desired(
                tuple(Route(p, ("https",), (PathPrefix((p,)),), len(p), p) for p in targets),
                tuple(Backend(path, (endpoint,)) for path, endpoint in targets.items()),
            )
        )
        made.activate()
        yield made


class TlsClient:
    """TLS over a socket with a small receive buffer; reads from it only when it has to."""

    def __init__(self, port: int) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context(verify=False).wrap_bio(self.incoming, self.outgoing)
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", port))
        self._until_done(self.tls.do_handshake)
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.outgoing.read())

    def _until_done(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self.flush()
                data = self.socket.recv(1 << 16)
                self.incoming.write(data) if data else self.incoming.write_eof()

    def send(self, data: bytes) -> None:
        self.tls.write(data)
        self.flush()

    def end(self) -> None:
        """Send close_notify, and go on to read."""
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.flush()

    def some(self) -> bytes:
        data: bytes = self._until_done(lambda: self.tls.read(1 << 16))
        return data

    def rest(self) -> int | None:
        """How many bytes came before close_notify; None without one."""
        total = 0
        try:
            while data := self._until_done(lambda: self.tls.read(1 << 16)):
                total += len(data)
        except ssl.SSLZeroReturnError:
            return total
        except ssl.SSLEOFError:
            return None
        return total


def ends(plane: Plane, head: str, size: int, half: bool) -> bool:
    """Whether all of an answer comes and close_notify behind it. `half`: we end first."""
    client = TlsClient(plane.port)
    with client.socket:
        client.send(head.format(size=size).encode())
        if half:
            client.end()
        time.sleep(0.01)
        total = client.rest()
    assert total is None or total > size
    return total is not None


CLOSING = "GET /answer?{size} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
TUNNEL = "GET /tunnel?{size} HTTP/1.1\r\nHost: a.test\r\n" + UPGRADE.decode() + "\r\n\r\n"
WAYS = [
    ("an answer", CLOSING, False),
    ("an answer with something unread behind the request", CLOSING + "GET", False),
    ("a tunnel whose endpoint ends first", TUNNEL, False),
    ("a tunnel whose client ends first", TUNNEL, True),
]


@pytest.mark.parametrize(("title", "head", "half"), WAYS, ids=[way[0] for way in WAYS])
def test_the_end_is_told(plane: Plane, title: str, head: str, half: bool) -> None:
    assert [size for size in SIZES if not ends(plane, head, size, half)] == []
    until(lambda: plane.call(lambda: plane.engine.active) == 0)


def narrow(port: int) -> None:
    """A small send buffer for the connection which this process has to a port."""
    for file in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if not str(file.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(file.name))) as copy:
                if copy.family == socket.AF_INET and copy.getpeername()[1] == port:
                    copy.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)


def told(plane: Plane, slow: Slow, size: int) -> bool:
    """Whether an endpoint gets all of a client's bytes and close_notify behind them."""
    slow.go.clear()
    slow.read.clear()
    client = TlsClient(plane.port)
    with client.socket:
        client.send(TUNNEL.replace("/tunnel", "/slow").format(size=size).encode())
        assert client.some().startswith(b"HTTP/1.1 101")
        narrow(slow.port)
        client.send(bytes(size))
        client.end()
        time.sleep(0.01)
        slow.go.set()
        assert slow.read.wait(10)
        assert slow.total in (None, size)
    return slow.total is not None


def test_the_end_is_told_to_endpoints(plane: Plane, slow: Slow) -> None:
    assert [size for size in SIZES if not told(plane, slow, size)] == []
    until(lambda: plane.call(lambda: plane.engine.active) == 0)
