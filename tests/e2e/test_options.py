"""What options of the settings file do, seen from outside: trust, limits, timeouts, connections."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from typing import BinaryIO

import pytest

from tests.support.load import NamedBackend
from tests.support.processes import wait_until
from tests.support.running import backend_manifest, ingress_manifest
from tests.support.whole_program import Proxy

SETTINGS = """
logLevel = "INFO"
workers = 1
providersThrottleDuration = "20ms"
maxIdleConnsPerHost = 2
keepTrailingSlash = true
allowMinWeightZero = true
defaultEntryPoints = ["http", "distrusting", "trusting", "proxied", "unbelieved"]
[entryPoints.http]
address = "127.0.0.1:0"
[entryPoints.distrusting]
address = "127.0.0.1:0"
[entryPoints.distrusting.forwardedHeaders]
trustedIPs = ["10.0.0.0/8"]
[entryPoints.trusting]
address = "127.0.0.1:0"
[entryPoints.trusting.forwardedHeaders]
trustedIPs = ["127.0.0.0/8"]
[entryPoints.proxied]
address = "127.0.0.1:0"
[entryPoints.proxied.proxyProtocol]
trustedIPs = ["127.0.0.1"]
[entryPoints.unbelieved]
address = "127.0.0.1:0"
[entryPoints.unbelieved.proxyProtocol]
trustedIPs = ["10.0.0.0/8"]
[entryPoints.traefik]
address = "127.0.0.1:0"
[retry]
attempts = 3
[respondingTimeouts]
idleTimeout = "700ms"
readTimeout = "1200ms"
[limits]
requestLine = 256
headerBlock = 1024
headerLines = 20
trailerLines = 2
trailerBlock = 128
requestBody = 1000
requestsPerConnection = 3
upstreamIdleTimeout = "1s"
"""
DEAD = "dead.test"  # one endpoint answers, two refuse


def head_of(stream: BinaryIO) -> bytes:
    """Read the head of a request without its blank line; b"" at the end of the connection."""
    lines = []
    while (line := stream.readline()) != b"\r\n":
        if not line:
            return b""
        lines.append(line)
    return b"".join(lines).removesuffix(b"\r\n")


class Echo:
    """Answers the head of the request as body. `/held` answers only when `go` is set; `/pieces`
    sends a piece each time `go` is set."""

    def __init__(self) -> None:
        self.open: set[socket.socket] = set()
        self.go = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open.add(connection)
        stream = connection.makefile("rb")
        try:
            while head := head_of(stream):
                if b"Transfer-Encoding: chunked" in head:
                    while size := int(stream.readline(), 16):
                        stream.read(size + 2)
                    stream.readline()
                self._answer(connection, head)
        except OSError:
            pass
        finally:
            self.open.discard(connection)
            connection.close()

    def _answer(self, connection: socket.socket, head: bytes) -> None:
        path = head.split()[1]
        if path.startswith(b"/pieces"):
            length = b"Content-Length: 15" if b"known" in path else b"Transfer-Encoding: chunked"
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%b\r\n\r\n" % length
            )
            for number in range(3):
                assert self.go.wait(10)
                self.go.clear()
                piece = b"data%d" % number
                framed = piece if b"known" in path else b"5\r\n%b\r\n" % piece
                connection.sendall(framed)
            if b"known" not in path:
                connection.sendall(b"0\r\n\r\n")
            return
        if path == b"/held":
            assert self.go.wait(10)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(head), head))


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    it = Echo()
    yield it
    it.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, echo: Echo) -> Iterator[Proxy]:
    with ExitStack() as stack:
        closed = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        refusing = [listener.getsockname()[1] for listener in closed]
    never = NamedBackend("never")
    it = Proxy(tmp_path_factory.mktemp("options"), SETTINGS)
    exact = '{ingress.kubernetes.io/rule-type: "Path"}'
    it.write("one.yaml", "---".join([
        backend_manifest("echo", [echo.port]),
        backend_manifest("dead", [echo.port, *refusing]),
        ingress_manifest("dead", [(DEAD, "/", "dead")]),
        ingress_manifest("exact", [("exact.test", "/p", "echo")], exact),
        backend_manifest("never", [never.port]),
        ingress_manifest("zero", [("zero.test", "/", "never"), ("zero.test", "/", "echo")],
                         '{ingress.kubernetes.io/service-weights: "echo: 100%\\nnever: 0"}'),
        ingress_manifest("echo", [("a.test", "/", "echo")]),
    ]))  # fmt: skip
    wait_until(lambda: it.is_ready() and status(it, "/") == 200, "the routes")
    yield it
    it.close()
    never.close()


def connected(proxy: Proxy, name: str = "http") -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port_of(name)), 10)


def message(path: str = "/", *lines: str, host: str = "a.test", method: str = "GET") -> bytes:
    head = [f"{method} {path} HTTP/1.1", f"Host: {host}", *lines]
    return "".join(f"{line}\r\n" for line in head).encode() + b"\r\n"


def response(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one response with a Content-Length; its fields by lower-case name."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        assert part, f"closed after {data!r}"
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    size = int(fields["content-length"])
    while len(body) < size:
        part = connection.recv(65536)
        assert part, f"closed after {body!r}"
        body += part
    assert len(body) == size
    return int(first.split()[1]), fields, body


def exchange(proxy: Proxy, data: bytes, name: str = "http") -> tuple[int, dict[str, str], bytes]:
    with connected(proxy, name) as connection:
        connection.sendall(data)
        return response(connection)


def status(proxy: Proxy, path: str, host: str = "a.test") -> int:
    return exchange(proxy, message(path, host=host))[0]


def arrived(proxy: Proxy, data: bytes, name: str = "http") -> dict[str, list[str]]:
    """The fields the backend has seen, by lower-case name."""
    _, _, body = exchange(proxy, data, name)
    fields: dict[str, list[str]] = {}
    for line in body.decode().split("\r\n")[1:]:
        key, _, value = line.partition(":")
        fields.setdefault(key.lower(), []).append(value.strip())
    return fields


SENT = (
    "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2", "X-Real-Ip: 192.0.2.3",
    "X-Forwarded-Proto: https", "X-Forwarded-Port: 1234", "X-Forwarded-Host: theirs.test",
    "X-Forwarded-Uri: /theirs", "X-Forwarded-Method: PUT", "X-Forwarded-Server: theirs",
    "X_Forwarded_For: 192.0.2.9", "X-Forwarded-Prefix: /kept", "Forwarded: for=192.0.2.1",
)  # fmt: skip
KEPT = {
    "x-forwarded-for": "192.0.2.1, 192.0.2.2, 127.0.0.1",
    "x-real-ip": "192.0.2.3",
    "x-forwarded-proto": "https",
    "x-forwarded-port": "1234",
    "x-forwarded-host": "theirs.test",
    "x-forwarded-uri": "/theirs",
    "x-forwarded-method": "PUT",
    "x-forwarded-prefix": "/kept",
    "forwarded": "for=192.0.2.1",
    "x_forwarded_for": None,
}
OURS = {
    "x-forwarded-for": "127.0.0.1",
    "x-real-ip": "127.0.0.1",
    "x-forwarded-proto": "http",
    "x-forwarded-host": "a.test",
    "x-forwarded-uri": None,
    "x-forwarded-method": None,
}
FORWARDED = [
    # entry point, Host, what the client sends, what the backend sees (features.md 4.2)
    ("http", "a.test", SENT, KEPT),
    ("trusting", "a.test", SENT, KEPT),
    ("distrusting", "a.test", SENT,
     {**OURS, "x-forwarded-port": "80", "x-forwarded-prefix": "/kept",
      "forwarded": "for=192.0.2.1", "x_forwarded_for": None}),
    ("http", "a.test", (), {**OURS, "x-forwarded-port": "80"}),
    ("http", "a.test:8443", (), {**OURS, "x-forwarded-host": "a.test:8443",
                                 "x-forwarded-port": "8443"}),
    ("http", "a.test", ("X-Forwarded-Proto: https",), {"x-forwarded-port": "443"}),
    ("distrusting", "a.test", ("X-Forwarded-Proto: https",), {"x-forwarded-port": "80"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "host", "lines", "expected"), FORWARDED)
def test_forwarding_headers(proxy: Proxy, name, host, lines, expected) -> None:
    fields = arrived(proxy, message("/", *lines, host=host), name)
    found = {key: ", ".join(fields[key]) if key in fields else None for key in expected}
    assert found == expected
    assert fields["x-forwarded-server"] == [socket.gethostname()]


def version_2(command: int, family: int, addresses: bytes) -> bytes:
    start = b"\r\n\r\n\x00\r\nQUIT\n" + bytes([0x20 | command, family])
    return start + struct.pack(">H", len(addresses)) + addresses


FOUR = bytes([192, 0, 2, 7, 127, 0, 0, 1]) + struct.pack(">HH", 5000, 80)
SIX = socket.inet_pton(socket.AF_INET6, "2001:db8::7") * 2 + struct.pack(">HH", 5000, 80)
HEADERS = [
    # what stands before the request, the client's address then (None = closed)
    (b"", "127.0.0.1"),
    (b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 80\r\n", "192.0.2.7"),
    (b"PROXY TCP6 2001:db8::7 ::1 5000 80\r\n", "2001:db8::7"),
    (b"PROXY TCP4 192.0.2.7.8 127.0.0.1 5000 80\r\n", None),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UDP4 192.0.2.7 127.0.0.1 5000 80\r\n", None),
    (b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 80\n", None),
    (b"PROXY TCP4 " + b"1" * 200, None),
    (version_2(1, 0x11, FOUR), "192.0.2.7"),
    (version_2(1, 0x21, SIX), "2001:db8::7"),
    (version_2(1, 0x11, FOUR + b"\x04\x00\x03abc"), "192.0.2.7"),  # with a TLV
    (version_2(0, 0x00, b""), "127.0.0.1"),  # LOCAL: a health check of the balancer
    (version_2(1, 0x11, FOUR[:6]), None),
    (version_2(2, 0x11, FOUR), None),
]


def address_seen(proxy: Proxy, name: str, pieces: Sequence[bytes]) -> str | None:
    with connected(proxy, name) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                connection.sendall(piece)
            _, _, body = response(connection)
        except (AssertionError, ConnectionError):
            return None
        lines = body.decode().lower().split("\r\n")
        return next(line for line in lines if line.startswith("x-real-ip:")).split()[1]


@pytest.mark.parametrize(("header", "address"), HEADERS)
def test_proxy_protocol(proxy: Proxy, header: bytes, address: str | None) -> None:
    whole = header + message()
    assert address_seen(proxy, "proxied", [whole]) == address
    assert address_seen(proxy, "proxied", [bytes([byte]) for byte in whole]) == address
    ignored = "127.0.0.1" if address is not None else None
    assert address_seen(proxy, "unbelieved", [whole]) == ignored


LIMITS = [
    (message("/" + "a" * 300), 414),
    (message("/", "X-A: " + "b" * 1100), 431),
    (message("/", *(f"X-{number}: b" for number in range(20))), 431),
    (message("/", *(f"X-{number}: b" for number in range(19))), 200),
    (message("/", "Content-Length: 1001", method="POST"), 413),
    (message("/", "Transfer-Encoding: chunked", method="POST") + b"3e9\r\n", 413),
]


@pytest.mark.parametrize(("data", "expected"), LIMITS)
def test_limits(proxy: Proxy, data: bytes, expected: int) -> None:
    assert exchange(proxy, data)[0] == expected


TRAILERS = [
    (b"A: b\r\nC: d\r\n", 200),
    (b"A: b\r\nC: d\r\nE: f\r\n", 400),
    (b"A: " + b"b" * 200 + b"\r\n", 400),
]


@pytest.mark.parametrize(("trailers", "expected"), TRAILERS)
def test_limits_of_trailers(proxy: Proxy, trailers: bytes, expected: int) -> None:
    head = message("/", "Transfer-Encoding: chunked", method="POST")
    with connected(proxy) as connection:
        connection.sendall(head + b"0\r\n" + trailers + b"\r\n")
        assert response(connection)[0] == expected


def test_requests_per_connection(proxy: Proxy) -> None:
    with connected(proxy) as connection:
        for number in range(3):
            connection.sendall(message())
            _, fields, _ = response(connection)
            assert (fields.get("connection") == "close") == (number == 2)
        assert connection.recv(1) == b""


def closed_after(connection: socket.socket) -> float:
    start = time.monotonic()
    while connection.recv(65536):
        pass
    return time.monotonic() - start


def test_an_idle_connection_is_closed(proxy: Proxy) -> None:
    with connected(proxy) as connection:
        connection.sendall(message())
        response(connection)
        assert 0.5 < closed_after(connection) < 5


def test_a_request_must_be_read_in_time(proxy: Proxy, echo: Echo) -> None:
    """A body that trickles is cut at readTimeout, however steadily it comes."""
    echo.go.clear()
    received, start = b"", time.monotonic()
    with connected(proxy) as connection:
        connection.sendall(message("/held", "Content-Length: 900", method="POST"))
        connection.settimeout(0.1)
        while not received and time.monotonic() < start + 10:
            connection.sendall(b"x")
            with suppress(TimeoutError):
                received = connection.recv(65536)
    echo.go.set()
    assert received.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - start > 0.9


def test_a_trailing_slash_is_kept(proxy: Proxy) -> None:
    assert [status(proxy, path, "exact.test") for path in ("/p", "/p/")] == [200, 404]


def test_a_weight_of_zero_gets_nothing(proxy: Proxy) -> None:
    bodies = [exchange(proxy, message(host="zero.test"))[2] for _ in range(4)]
    assert b"never" not in bodies


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_refused_connections_are_retried(proxy: Proxy, method: str) -> None:
    """[retry] attempts = 3, one endpoint of three lives: every request reaches it."""
    data = message("/", "Content-Length: 0", host=DEAD, method=method)
    assert [exchange(proxy, data)[0] for _ in range(6)] == [200] * 6


def test_idle_connections_to_an_endpoint_are_few_and_short_lived(proxy: Proxy, echo: Echo) -> None:
    wait_until(lambda: not echo.open, "upstreamIdleTimeout closes what is idle")
    echo.go.clear()
    clients = [connected(proxy) for _ in range(5)]
    for client in clients:
        client.sendall(message("/held"))
    wait_until(lambda: len(echo.open) == 5, "five requests at the endpoint")
    echo.go.set()
    for client in clients:
        assert response(client)[0] == 200
        client.close()
    wait_until(lambda: len(echo.open) <= 2, "maxIdleConnsPerHost = 2")
    wait_until(lambda: not echo.open, "upstreamIdleTimeout closes what is idle")


@pytest.mark.parametrize("length", ["known", "unknown"])
def test_pieces_are_passed_on_at_once(proxy: Proxy, echo: Echo, length: str) -> None:
    """Each piece, and the head before the first, arrives before the endpoint sends the next."""
    echo.go.clear()
    with closing(connected(proxy)) as connection:
        connection.sendall(message(f"/pieces/{length if length == 'known' else ''}"))
        received = connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        for number in range(3):
            echo.go.set()
            while b"data%d" % number not in received:
                part = connection.recv(65536)
                assert part
                received += part
