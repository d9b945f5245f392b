"""The client side through real sockets: order, versions, half-closed and slow clients."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running import Proxy
from tests.support.scripted import OK, Client, Origin, Peer, joined, proxied, request

LARGE = 50 * 1024 * 1024


def content(size: int) -> bytes:
    return random.Random(7).randbytes(1 << 16) * (size >> 16)


def large(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
    peer.send(content(LARGE))


def large_chunked(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    data = content(LARGE)
    for start in range(0, LARGE, 1 << 20):
        peer.send(b"%x\r\n%b\r\n" % (1 << 20, data[start : start + (1 << 20)]))
    peer.send(b"0\r\n\r\n")


def until_close(peer: Peer) -> bool:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    return False


def without_body(peer: Peer) -> None:
    status = peer.read_request().target.partition("?")[2]
    peer.send(f"HTTP/1.1 {status} X\r\nETag: x\r\n\r\n".encode())


def head(peer: Peer) -> None:
    peer.read_request()
    length = b"Content-Length: 1000\r\n" if b"length" in peer.head.target.encode() else b""
    chunked = b"Transfer-Encoding: chunked\r\n" if b"chunked" in peer.head.target.encode() else b""
    peer.send(b"HTTP/1.1 200 OK\r\n" + length + chunked + b"\r\n")


def early(peer: Peer) -> bool:
    """Answers at the head and reads nothing of the body."""
    peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    time.sleep(0.3)
    return False


def early_and_reads(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n")
    body = peer.read_request().body
    text = b"%d" % len(body)
    peer.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text))


def trailers(peer: Peer) -> None:
    message = peer.read_request()
    seen = ",".join(f"{n}={v}" for n, v in message.trailers).encode()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    peer.send(b"1\r\n.\r\n0\r\nX-Seen: %b\r\n\r\n" % seen)


def interim(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    time.sleep(0.02)
    peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)


def slow(peer: Peer) -> None:
    peer.read_request()
    time.sleep(0.3)
    peer.send(OK)


ABANDONED = threading.Event()


def hanging(peer: Peer) -> bool:
    """Never answers, and tells when nobody waits any more."""
    peer.read_request()
    if peer.head.target.endswith("?begun"):
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    assert peer.socket.recv(1) == b""
    ABANDONED.set()
    return False


def dripping(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    for _ in range(5):
        time.sleep(1)
        peer.send(b"x")


SCRIPTS = {
    "/shop/hanging": hanging,
    "/shop/dripping": dripping,
    "/shop/large": large,
    "/shop/large-chunked": large_chunked,
    "/shop/until-close": until_close,
    "/shop/without-body": without_body,
    "/shop/head": head,
    "/shop/early": early,
    "/shop/early-and-reads": early_and_reads,
    "/shop/trailers": trailers,
    "/shop/interim": interim,
    "/shop/slow": slow,
}


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    origin = Origin(dict(SCRIPTS))
    yield origin
    origin.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("downstream")
    with proxied(folder, {"shop": [("127.0.0.1", origin.port)]}) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[Client]:
    with Client(proxy.address[1]) as client:
        yield client


# --- order ---


def test_100_pipelined_requests_are_answered_in_order(client: Client) -> None:
    sent, expected = b"", []
    for number in range(100):
        text = f"body {number}"
        kind = number % 5
        if kind == 0:
            sent += request("/nowhere")
            expected.append(("GET", 404, b"404 page not found\n"))
        elif kind == 1:
            sent += request(f"/shop/{number}", method="POST", body=text.encode())
            expected.append(("POST", 200, text.encode()))
        elif kind == 2:
            sent += request(f"/shop/{number}", "Transfer-Encoding: chunked", method="POST")
            sent += f"{len(text):x}\r\n{text}\r\n0\r\n\r\n".encode()
            expected.append(("POST", 200, text.encode()))
        elif kind == 3:
            sent += request("/shop/head?length", method="HEAD")
            expected.append(("HEAD", 200, b""))
        else:
            sent += request(f"/shop/{number}")
            expected.append(("GET", 200, b""))
    client.send(sent)
    answers = [client.response(method) for method, _, _ in expected]
    assert [(a.status, a.body) for a in answers] == [(s, b) for _, s, b in expected]
    assert not client.closed
    assert client.data == b""


@pytest.mark.parametrize("size", [1, 70_000, 140_000, 270_000])
def test_many_requests_pipelined_behind_a_body(client: Client, size: int) -> None:
    """More of them than a window for heads holds are read together with the end of the body."""
    body = content(1 << 19)[:size]
    count = 5000
    sent = request("/shop/x", method="POST", body=body) + request("/nowhere") * count
    writer = threading.Thread(target=client.send, args=(sent,))
    writer.start()
    assert client.response().body == body
    assert {client.response().status for _ in range(count)} == {404}
    writer.join()


def test_pipelined_behind_a_slow_one(client: Client) -> None:
    client.send(request("/shop/slow") + request("/nowhere") + request("/shop/x", body=b"last"))
    assert [client.response().status for _ in range(3)] == [200, 404, 200]


def test_many_requests_on_one_connection(client: Client, origin: Origin) -> None:
    before = origin.connections
    for number in range(300):
        body = b"x" * number
        assert client.ask("/shop/x", method="POST", body=body).body == body
    assert origin.connections <= before + 1


# --- versions ---


def raw(client: Client) -> bytes:
    return client.drain()


@pytest.mark.parametrize("path", ["/shop/until-close", "/shop/x"])
def test_http_1_0_ends_with_the_connection(client: Client, path: str) -> None:
    client.send(request(path, version="1.0", body=b"all of it"))
    head, _, body = raw(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"chunked" not in head
    assert b"Connection: close" in head
    assert body == b"all of it"


def test_http_1_0_gets_no_chunks(client: Client) -> None:
    client.send(request("/shop/large-chunked", "Connection: keep-alive", version="1.0"))
    head, _, body = raw(client).partition(b"\r\n\r\n")
    assert b"chunked" not in head and b"Content-Length" not in head
    assert body == content(LARGE)


def test_http_1_0_keep_alive(client: Client) -> None:
    for _ in range(3):
        client.send(request("/shop/x", "Connection: keep-alive", version="1.0", body=b"abc"))
        answer = client.response()
        assert answer.body == b"abc"
        assert [v.lower() for v in answer.values("Connection")] == ["keep-alive"]


def test_the_endpoint_hears_1_1(client: Client, origin: Origin) -> None:
    client.send(request("/shop/heard", version="1.0"))
    raw(client)
    assert origin.seen[-1].start == "GET /shop/heard HTTP/1.1"
    assert origin.seen[-1].values("Connection") == []


# --- bodies ---


@pytest.mark.parametrize("how", ["", "?length", "?chunked"])
def test_head(client: Client, how: str) -> None:
    answer = client.ask("/shop/head" + how, method="HEAD")
    assert answer.status == 200
    assert answer.values("Content-Length") == (["1000"] if how == "?length" else [])
    assert client.ask("/shop/x", body=b"next").body == b"next"


@pytest.mark.parametrize("status", [204, 304])
def test_no_body(client: Client, status: int) -> None:
    answer = client.ask(f"/shop/without-body?{status}")
    assert (answer.status, answer.values("ETag")) == (status, ["x"])
    assert client.ask("/shop/x", body=b"next").body == b"next"


def test_until_close_becomes_chunked(client: Client) -> None:
    answer = client.ask("/shop/until-close")
    assert (answer.body, answer.chunked) == (b"all of it", True)
    assert client.ask("/shop/x", body=b"next").body == b"next"


def test_trailers_when_negotiated(client: Client) -> None:
    lines = ["Transfer-Encoding: chunked", "TE: trailers", "Connection: TE", "Trailer: X-Sum"]
    client.send(request("/shop/trailers", *lines, method="POST"))
    client.send(b"2\r\nab\r\n0\r\nX-Sum: 5\r\n\r\n")
    assert client.response("POST").trailers == [("X-Seen", "X-Sum=5")]


def test_trailers_when_not_negotiated(client: Client) -> None:
    client.send(request("/shop/trailers", "Transfer-Encoding: chunked", method="POST"))
    client.send(b"2\r\nab\r\n0\r\nX-Sum: 5\r\n\r\n")
    assert client.response("POST").trailers == []
    assert client.ask("/shop/x", body=b"next").body == b"next"


def test_interim_answers_are_dropped(client: Client) -> None:
    assert client.ask("/shop/interim").body == b"ok"
    assert client.ask("/shop/interim", method="POST", body=b"x").body == b"ok"


def test_absolute_form(client: Client, origin: Origin) -> None:
    assert client.ask("http://a.test/shop/absolute?x").status == 200
    assert origin.seen[-1].target == "/shop/absolute?x"


# --- clients that end early, or are slow ---


@pytest.mark.parametrize("size", [0, 10, 300_000])
def test_half_closed_clients_get_their_answer(client: Client, size: int) -> None:

    client.send(request("/shop/slow" if not size else "/shop/x", method="POST", body=b"x" * size))
    client.socket.shutdown(socket.SHUT_WR)
    answer = client.response("POST")
    assert answer.body == (b"x" * size if size else b"ok")


LEAVING = [
    # what comes, how the client ends, at most how many seconds later its request is given up
    ("/shop/hanging", "closed", 12),
    ("/shop/hanging", "half", 12),
    ("/shop/hanging", "reset", 2),
    ("/shop/hanging?begun", "closed", 12),
    ("/shop/hanging?begun", "half", 12),
]


@pytest.mark.parametrize(("target", "how", "seconds"), LEAVING)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_client_that_leaves_takes_its_request_along(
    client: Client, target: str, how: str, seconds: float, method: str
) -> None:
    """Nothing tells an end of what is sent from an end of the client, so the endpoint may still
    take three seconds for each part of its answer."""
    ABANDONED.clear()
    client.send(request(target, method=method, body=b"x" if method == "POST" else b""))
    if target.endswith("begun"):
        while b"data: 1" not in client.data:
            assert client.more()
    time.sleep(0.1)
    if how == "half":
        client.socket.shutdown(socket.SHUT_WR)
    else:
        if how == "reset":
            option = struct.pack("ii", 1, 0)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        client.socket.close()
    assert ABANDONED.wait(seconds)


@pytest.mark.parametrize("together", [False, True])
def test_a_half_closed_client_gets_an_answer_that_takes_long(
    client: Client, together: bool
) -> None:
    """Five seconds, but never three without a byte; also when its end came with the request."""
    client.send(request("/shop/dripping"))
    if not together:
        time.sleep(0.2)
    client.socket.shutdown(socket.SHUT_WR)
    assert client.response().body == b"xxxxx"


def test_half_closed_within_a_body(client: Client) -> None:

    client.send(request("/shop/x", "Content-Length: 10", method="POST", body=b"abc"))
    client.socket.shutdown(socket.SHUT_WR)
    assert client.ends() or client.data.startswith(b"HTTP/1.1 400")


def test_an_answer_before_the_body(client: Client) -> None:
    client.send(request("/shop/early", "Content-Length: 100000000", method="POST"))
    answer = client.response("POST")
    assert (answer.status, answer.body) == (413, b"no")
    assert answer.values("Connection") == ["close"]


def test_an_answer_while_the_body_is_sent(client: Client) -> None:
    """The client goes on sending without a look at the answer; it is still there to be read."""
    client.send(request("/shop/early", "Content-Length: 40000", method="POST", body=b"x" * 20000))
    time.sleep(0.1)
    client.send(b"x" * 20000)
    assert client.response("POST").status == 413


def test_an_answer_that_begins_before_the_body_ends(client: Client) -> None:
    client.send(request("/shop/early-and-reads", "Content-Length: 6", method="POST", body=b"abc"))
    while b"early" not in client.data:
        assert client.more()
    client.send(b"def")
    assert client.response("POST").body == b"early6"


def resident(proxy: Proxy) -> int:
    """Memory of all workers, in bytes."""
    total = 0
    for child in proxy.children():
        text = Path(f"/proc/{child}/statm").read_text()
        total += int(text.split()[1]) * 4096
    return total


@pytest.mark.parametrize("path", ["/shop/large", "/shop/large-chunked"])
def test_a_slow_client_gets_every_byte(proxy: Proxy, path: str) -> None:
    with Client(proxy.address[1], receive_buffer=65536) as client:
        before = resident(proxy)
        client.send(request(path, "Connection: close"))
        time.sleep(0.5)
        pieces = []
        for _ in range(100):
            pieces.append(client.drain(1))
            time.sleep(0.002)
        assert resident(proxy) < before + 4 * 1024 * 1024
        pieces.append(client.drain())
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    assert (joined(body) if b"chunked" in head else body) == content(LARGE)


def test_a_large_upload_comes_back(client: Client) -> None:
    body = content(4 << 20)
    assert client.ask("/shop/x", method="POST", body=body).body == body
