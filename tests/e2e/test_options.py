"""What options of the settings file do, seen from outside: trust, limits, timeouts, connections."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator, Sequence

import pytest

from tests.safety.messages import Message
from tests.support.load import NamedBackend
from tests.support.processes import wait_until
from tests.support.running import backend_manifest, ingress_manifest
from tests.support.scripted import PATIENCE, Client, Origin, Peer, until
from tests.support.whole_program import Proxy

SETTINGS = """
logLevel = "INFO"
workers = 1
providersThrottleDuration = "20ms"
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
[limits]
requestLine = 256
headerBlock = 1024
headerLines = 20
trailerLines = 2
trailerBlock = 128
requestBody = 1000
requestsPerConnection = 3
"""


ONE_PER_HOUR = """{ingress.kubernetes.io/rate-limit:
  "{extractorfunc: client.ip, rateset: {a: {period: 1h, average: 1, burst: 1}}}"}"""


def head(peer: Peer) -> None:
    """The head of the request is the body of the response."""
    lines = [f"{name}: {value}" for name, value in peer.read_request().fields]
    text = "\r\n".join(lines).encode("latin-1")
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))


class Pieces:
    """Three pieces of a body, each when `go` is set."""

    def __init__(self, framing: bytes, piece: bytes, end: bytes = b"") -> None:
        self.go = threading.Event()
        self._head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + framing
        self._piece, self._end = piece, end

    def __call__(self, peer: Peer) -> None:
        peer.read_request()
        peer.send(self._head + b"\r\n\r\n")
        for number in range(3):
            assert self.go.wait(PATIENCE)
            self.go.clear()
            peer.send(self._piece % number)
        peer.send(self._end)


KNOWN = Pieces(b"Content-Length: 15", b"data%d")
UNKNOWN = Pieces(b"Transfer-Encoding: chunked", b"5\r\ndata%d\r\n", b"0\r\n\r\n")


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    it = Origin({"/": head, "/p": head, "/known": KNOWN, "/unknown": UNKNOWN})
    yield it
    it.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> Iterator[Proxy]:
    never = NamedBackend("never")
    it = Proxy(tmp_path_factory.mktemp("options"), SETTINGS)
    exact = '{ingress.kubernetes.io/rule-type: "Path"}'
    it.write("one.yaml", "---".join([
        backend_manifest("origin", [origin.port]),
        ingress_manifest("exact", [("exact.test", "/p", "origin")], exact),
        backend_manifest("never", [never.port]),
        ingress_manifest("zero", [("zero.test", "/", "never"), ("zero.test", "/", "origin")],
                         '{ingress.kubernetes.io/service-weights: "origin: 100%\\nnever: 0"}'),
        ingress_manifest("origin", [("a.test", "/", "origin")]),
        ingress_manifest("rate", [("rate.test", "/", "origin")], ONE_PER_HOUR),
    ]))  # fmt: skip
    wait_until(lambda: it.is_ready() and exchange(it, message()).status == 200, "the routes")
    yield it
    it.close()
    never.close()


def message(path: str = "/", *lines: str, host: str = "a.test", method: str = "GET") -> bytes:
    text = [f"{method} {path} HTTP/1.1", f"Host: {host}", *lines]
    return "".join(f"{line}\r\n" for line in text).encode() + b"\r\n"


def exchange(proxy: Proxy, data: bytes, name: str = "http") -> Message:
    with Client(proxy.port_of(name)) as client:
        client.send(data)
        return client.response()


def arrived(proxy: Proxy, data: bytes, name: str = "http") -> dict[str, list[str]]:
    """The fields the endpoint has seen, by lower-case name."""
    fields: dict[str, list[str]] = {}
    for line in exchange(proxy, data, name).body.decode().split("\r\n"):
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
     {**OURS, "x-forwarded-port": "80", "x-forwarded-prefix": None,
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
    (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
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
    with Client(proxy.port_of(name)) as client:
        try:
            for piece in pieces:
                client.send(piece)
            lines = client.response().body.decode().lower().split("\r\n")
        except ConnectionError:
            return None
        return next(line for line in lines if line.startswith("x-real-ip:")).split()[1]


@pytest.mark.parametrize(("header", "address"), HEADERS)
def test_proxy_protocol(proxy: Proxy, header: bytes, address: str | None) -> None:
    whole = header + message()
    assert address_seen(proxy, "proxied", [whole]) == address
    assert address_seen(proxy, "proxied", [bytes([byte]) for byte in whole]) == address
    ignored = "127.0.0.1" if address is not None else None
    assert address_seen(proxy, "unbelieved", [whole]) == ignored


# clients, as the balancer tells, one after the other; FIX 18: the whole address counts
CLIENTS = [
    ("TCP6 2001:db8::1 ::1 5000 80", 200),
    ("TCP6 2001:db8::1 ::1 5001 80", 429),
    ("TCP6 2001:db8::2 ::1 5000 80", 200),
    ("TCP6 2001:db8:0:0:0:0:0:2 ::1 5000 80", 429),
    ("TCP4 192.0.2.7 127.0.0.1 5000 80", 200),
    ("TCP6 ::ffff:192.0.2.7 ::1 5000 80", 429),
    ("TCP4 192.0.2.8 127.0.0.1 5000 80", 200),
]


def test_every_address_is_a_client_of_its_own(proxy: Proxy) -> None:
    forged = message("/", "X-Forwarded-For: 198.51.100.1", host="rate.test")
    for line, status in CLIENTS:
        sent = f"PROXY {line}\r\n".encode() + forged
        assert exchange(proxy, sent, "proxied").status == status, line


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
    assert exchange(proxy, data).status == expected


TRAILERS = [
    (b"A: b\r\nC: d\r\n", 200),
    (b"A: b\r\nC: d\r\nE: f\r\n", 400),
    (b"A: " + b"b" * 200 + b"\r\n", 400),
]


@pytest.mark.parametrize(("trailers", "expected"), TRAILERS)
def test_limits_of_trailers(proxy: Proxy, trailers: bytes, expected: int) -> None:
    head = message("/", "Transfer-Encoding: chunked", method="POST")
    assert exchange(proxy, head + b"0\r\n" + trailers + b"\r\n").status == expected


def test_requests_per_connection(proxy: Proxy) -> None:
    with Client(proxy.port) as client:
        closing = [("Connection", "close") in client.ask("/").fields for _ in range(3)]
        assert closing == [False, False, True]
        assert client.ends()


def test_a_trailing_slash_is_kept(proxy: Proxy) -> None:
    found = [exchange(proxy, message(path, host="exact.test")).status for path in ("/p", "/p/")]
    assert found == [200, 404]


def test_a_weight_of_zero_gets_nothing(proxy: Proxy) -> None:
    bodies = [exchange(proxy, message(host="zero.test")).body for _ in range(4)]
    assert b"never" not in bodies


@pytest.mark.parametrize(("path", "pieces"), [("/known", KNOWN), ("/unknown", UNKNOWN)])
def test_pieces_are_passed_on_at_once(proxy: Proxy, path: str, pieces: Pieces) -> None:
    """Each piece, and the head before the first, arrives before the endpoint sends the next."""
    with Client(proxy.port) as client:
        client.send(message(path))
        assert client.more()
        assert client.data.startswith(b"HTTP/1.1 200 OK\r\n")
        for number in range(3):
            pieces.go.set()
            until(lambda number=number: b"data%d" % number in client.data or not client.more())
            assert b"data%d" % number in client.data
