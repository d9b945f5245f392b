"""Deadlines: every wait of a client and of an endpoint ends when its setting says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripted import OK, Client, Origin, Peer, proxied, request

SETTINGS = """
[respondingTimeouts]
readTimeout = "1500ms"
writeTimeout = "2500ms"
idleTimeout = "600ms"
[forwardingTimeouts]
dialTimeout = "500ms"
responseHeaderTimeout = "4s"
[limits]
headTimeout = "500ms"
bodyTimeout = "700ms"
continueTimeout = "300ms"
websocketHandshakeTimeout = "1200ms"
"""


def silent(peer: Peer) -> bool:
    peer.read_request()
    time.sleep(6)
    return False


def dripping(peer: Peer) -> None:
    """A body that never pauses for long, for four seconds."""
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n")
    for _ in range(40):
        peer.send(b"x")
        time.sleep(0.1)


def late(peer: Peer) -> None:
    peer.read_request()
    time.sleep(1)
    peer.send(OK)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    origin = Origin({"/shop/silent": silent, "/shop/dripping": dripping, "/shop/late": late})
    folder = tmp_path_factory.mktemp("reactor")
    with proxied(folder, {"shop": [("127.0.0.1", origin.port)]}, SETTINGS) as proxy:
        yield proxy.address[1]
    origin.close()


HEAD = b"POST /shop/x HTTP/1.1\r\nHost: a.test\r\n"
LONG = HEAD + b"Content-Length: 1000\r\n\r\n"

WEBSOCKET = (
    "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip

# what, sent at first, then again and again, status (0 = closed without a word), seconds
WAITS = [
    ("nothing at all", b"", b"", 0, 0.5),
    ("part of a head", HEAD, b"", 408, 0.5),
    ("a head byte by byte", HEAD + b"X: ", b"x", 408, 0.5),
    ("no body", LONG, b"", 408, 0.7),
    ("part of a body", LONG + b"x", b"", 408, 0.7),
    ("a body byte by byte: readTimeout", LONG, b"x", 408, 1.5),
    ("chunks byte by byte: readTimeout", HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
     b"1\r\nx\r\n", 408, 1.5),
    ("no answer to a handshake", request("/shop/silent", *WEBSOCKET), b"", 504, 1.2),
    ("no answer: writeTimeout", request("/shop/silent"), b"", 0, 2.5),
    ("no end of an answer: writeTimeout", request("/shop/dripping"), b"", 200, 2.5),
]  # fmt: skip


@pytest.mark.parametrize(("what", "first", "again", "status", "seconds"), WAITS)
def test_waits_end(
    port: int, what: str, first: bytes, again: bytes, status: int, seconds: float
) -> None:
    start = time.monotonic()
    with Client(port) as client:
        client.send(first)
        client.socket.settimeout(0.1)
        while not client.closed and time.monotonic() < start + 10:
            try:
                client.more()
            except TimeoutError:
                if again and not client.data:
                    client.send(again)
            except ConnectionResetError:
                break
        took = time.monotonic() - start
    assert seconds - 0.15 < took < seconds + 4, client.data
    if status:
        assert client.data.startswith(b"HTTP/1.1 %d" % status)
    else:
        assert client.data == b""


def test_idle_connections_close(port: int) -> None:
    with Client(port) as client:
        assert client.ask("/shop/x").status == 200
        start = time.monotonic()
        assert client.ends()
        assert 0.5 < time.monotonic() - start < 5


def test_a_connection_in_use_is_not_idle(port: int) -> None:
    with Client(port) as client:
        for _ in range(6):
            assert client.ask("/shop/x").status == 200
            time.sleep(0.2)
        assert client.ask("/shop/late").status == 200
        assert client.ask("/shop/x").status == 200


def test_timeouts_begin_anew_with_each_request(port: int) -> None:
    """Three requests of a second each: together longer than readTimeout and writeTimeout."""
    with Client(port) as client:
        for _ in range(3):
            assert client.ask("/shop/late").status == 200


def test_an_endpoint_that_never_asks_for_the_body(port: int) -> None:
    """After continueTimeout we ask for it ourselves."""
    with Client(port) as client:
        client.send(request("/shop/x", "Expect: 100-continue", "Content-Length: 2", method="POST"))
        start = time.monotonic()
        assert client.response().status == 100
        assert 0.2 < time.monotonic() - start < 5
        client.send(b"ab")
        assert client.response("POST").body == b"ab"


# --- without libuv's functions ---


def test_traffic_flows_through_a_reader_of_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way for a uvloop that does not export libuv: slower, and the same to clients."""
    monkeypatch.setenv("FASTPROXY_EVENTS", "reader")
    origin = Origin({})
    try:
        services = {"shop": [("127.0.0.1", origin.port)]}
        with proxied(tmp_path, services, SETTINGS) as proxy:
            with Client(proxy.address[1]) as client:
                for number in range(50):
                    body = b"x" * 1000 * number
                    assert client.ask("/shop/x", method="POST", body=body).body == body
                client.send(request("/shop/x", body=b"a") * 20)
                assert [client.response().body for _ in range(20)] == [b"a"] * 20
            assert proxy.stop() == 0
    finally:
        origin.close()
