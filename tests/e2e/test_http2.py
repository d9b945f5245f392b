"""HTTP/2 from clients over real sockets, plain and with TLS, to HTTP/1.1 endpoints."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.counts import times
from tests.support.feature_rows import Ask, Field, Row, answering
from tests.support.h2_client import Answer, Client
from tests.support.users import JOE, USERS_SECRET

BASIC = {"auth-type": "basic", "auth-secret": "users"}
ROWS = [
    plain_row := Row("plain"),
    basic := Row("basic", BASIC),
    closed := Row("white list", {"whitelist-source-range": "10.0.0.0/8"}),
    moved := Row("app-root", {"app-root": "/start"}),
    prefixed := Row("prefix", {"request-modifier": "AddPrefix: /p"}),
    buffered := Row("buffered", service={"buffering": "maxrequestbodybytes: 100000"}),
    paged := Row(
        "pages", {"error-pages": "{a: {status: ['500'], backend: a.test/, query: /page}}"}
    ),
    sticky := Row("sticky", service={"affinity": "true"}, endpoints=2),
    dead := Row("dead", endpoints=0, dead=1),
]
PROTOCOL_ERROR, STREAM_CLOSED, REFUSED_STREAM, ENHANCE_YOUR_CALM = 1, 5, 7, 11
BIG = bytes(range(256)) * 8000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("h2")
    log = f'[accessLog]\nfilePath = "{folder}/access.log"\nformat = "json"\n'
    with Field(
        folder,
        ROWS,
        settings=log + '[accessLog.fields]\nextended = "keep"\n',
        entry_points={
            "https": "compress = true\n[entryPoints.https.tls]",
            "old": "[entryPoints.old.http2]\nenabled = false",
        },
        default_entry_points='["http", "https", "other"]',
        manifests=json.dumps(USERS_SECRET),
    ) as field:
        yield field


@pytest.fixture(params=["h2c", "h2"])
def tls(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "h2")


def client(running: Field, row: Row = plain_row, tls: bool = False) -> Client:
    return Client(running.ports["https" if tls else "http"], running.host(row), tls)


def seen(running: Field) -> Any:
    return running.backend.seen[-1]


# --- messages --------------------------------------------------------------------------------


def test_a_request_and_its_answer(running: Field, tls: bool) -> None:
    with client(running, tls=tls) as it:
        answer = it.ask("/a?b=c", "GET", b"", ("x-one", "1"), ("cookie", "a=1"), ("cookie", "b=2"))
        assert (answer.status, answer.body, answer.ended) == (200, b"server 0", True)
        assert answer.header("content-length") == "8" and answer.header("date")
        found = seen(running)
        assert (found.method, found.target) == ("GET", "/a?b=c")
        assert found.headers["Host"] == it.host
        assert found.headers.get_all("Cookie") == ["a=1; b=2"]
        assert found.headers["X-One"] == "1"
        assert found.headers["X-Forwarded-Proto"] == ("https" if tls else "http")
        assert found.headers["X-Forwarded-For"] == "127.0.0.1"
        assert found.headers["Transfer-Encoding"] is None is found.headers["Content-Length"]


@pytest.mark.parametrize("told", [True, False], ids=["length", "chunked"])
def test_bodies_both_ways(running: Field, tls: bool, told: bool) -> None:
    more = [answering(echo=True)]
    if told:
        more.append(("content-length", str(len(BIG))))
    with client(running, tls=tls) as it:
        answer = it.ask("/", "POST", BIG, *more)
        assert answer.status == 200 and answer.body == BIG
        assert seen(running).headers["Content-Length"] == (str(len(BIG)) if told else None)


def test_head_and_answers_without_body(running: Field, tls: bool) -> None:
    with client(running, tls=tls) as it:
        answer = it.ask("/", "HEAD")
        assert (answer.status, answer.body, answer.header("content-length")) == (200, b"", "8")
        answer = it.ask("/", "GET", b"", answering(status=204))
        assert (answer.status, answer.body) == (204, b"")


def test_many_streams_at_once(running: Field, tls: bool) -> None:
    """Slow ones do not hold up quick ones."""
    with client(running, tls=tls) as it:
        slow = it.begin(it.head("/slow", "GET", answering(delay=1)))
        began = time.monotonic()
        streams = [it.begin(it.head(f"/{n}")) for n in range(5)]
        assert {it.wait(stream).status for stream in streams} == {200}
        assert time.monotonic() - began < 0.9
        assert it.wait(slow).status == 200


def test_chunked_answers_of_endpoints(running: Field, tls: bool) -> None:
    with client(running, tls=tls) as it:
        answer = it.ask("/", "GET", b"", answering(pieces=["ab", "cd"], pause=0.05))
        assert answer.body == b"abcd" and answer.header("transfer-encoding") is None
        assert answer.header("content-length") is None


def test_expect(running: Field, tls: bool) -> None:
    with client(running, tls=tls) as it:
        stream = it.begin(it.head("/", "POST", ("expect", "100-continue")), end=False)
        while not it.answers[stream].interim:
            assert it.receive()
        it.send(stream, b"body")
        answer = it.wait(stream)
        assert (answer.interim, answer.status) == ([100], 200)
        assert seen(running).body == b"body"


def test_trailers_both_ways(tmp_path: Path, tls: bool) -> None:
    """Whoever speaks HTTP/2 takes trailers; towards HTTP/1.1 they need `te: trailers`."""
    server = socket.create_server(("127.0.0.1", 0))
    requests: list[bytes] = []

    def serve() -> None:
        connection, _ = server.accept()
        data = b""
        while not data.endswith(b"x-check: 2\r\n\r\n"):
            data += connection.recv(4096)
        requests.append(data)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"2\r\nab\r\n0\r\nX-Sum: 1\r\nSet-Cookie: no\r\n\r\n"
        )

    threading.Thread(target=serve, daemon=True).start()
    row = Row("trailers")
    points = {"https": "[entryPoints.https.tls]"}
    port = server.getsockname()[1]
    names = '["http", "https"]'
    with Field(
        tmp_path, [row], entry_points=points, default_entry_points=names, only_port=port
    ) as field:
        it = Client(field.ports["https" if tls else "http"], field.host(row), tls)
        stream = it.begin(it.head("/t", "POST", ("te", "trailers")), end=False)
        it.send(stream, b"body", end=False)
        it.connection.send_headers(stream, [("x-check", "2"), ("cookie", "no")], end_stream=True)
        it.flush()
        answer = it.wait(stream)
        assert (answer.body, answer.trailers) == (b"ab", [("x-sum", "1")])
        assert b"\r\nx-check: 2\r\n" in requests[0].lower() and b"cookie" not in requests[0].lower()
        it.socket.close()


# --- features --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "more", "status"),
    [
        (basic, (), 401),
        (basic, (("authorization", JOE.partition(": ")[2]),), 200),
        (closed, (), 403),
        (moved, (), 302),
        (dead, (), 502),
    ],
    ids=["no user", "user", "white list", "redirect", "dead"],
)
def test_features(running: Field, tls: bool, row: Row, more: Any, status: int) -> None:
    """The second time credentials are known without Python."""
    with client(running, row, tls) as it:
        for _ in range(3):
            answer = it.ask("/", "GET", b"", *more)
            assert answer.status == status and answer.ended
        if status == 302:
            assert str(answer.header("location")).endswith("/start")


def test_paths_are_rewritten(running: Field, tls: bool) -> None:
    with client(running, prefixed, tls) as it:
        assert it.ask("/a/../b").status == 200
        assert seen(running).target == "/p/b"


def test_buffering(running: Field, tls: bool) -> None:
    with client(running, buffered, tls) as it:
        assert it.ask("/", "POST", b"a" * 90_000).status == 200
        assert len(seen(running).body) == 90_000
        assert it.ask("/", "POST", b"a" * 100_001).status == 413
        assert it.ask().status == 200


def test_error_pages(running: Field, tls: bool) -> None:
    """The page is fetched with the fields of the request, so it has the same body here."""
    with client(running, paged, tls) as it:
        answer = it.ask("/", "GET", b"", answering(status=500, body="page"))
        assert (answer.status, answer.body) == (500, b"page")
        assert [found.target for found in running.backend.seen[-2:]] == ["/", "/page"]


def test_affinity(running: Field, tls: bool) -> None:
    with client(running, sticky, tls) as it:
        first = it.ask()
        cookie = str(first.header("set-cookie")).partition(";")[0]
        for _ in range(4):
            assert it.ask("/", "GET", b"", ("cookie", cookie)).body == first.body


def test_compression(running: Field) -> None:
    with client(running, tls=True) as it:
        more = (("accept-encoding", "gzip"), answering(body="a" * 10_000))
        answer = it.ask("/", "GET", b"", *more)
        assert answer.header("content-encoding") == "gzip" and len(answer.body) < 500


def test_no_route_and_own_paths(running: Field, tls: bool) -> None:
    with client(running, tls=tls) as it:
        answer = it.ask("/", host="nobody.test")
        assert (answer.status, answer.body) == (404, b"404 page not found\n")
        assert answer.header("content-type") == "text/plain; charset=utf-8"
    with Client(running.ports["traefik"]) as it:
        assert it.ask("/ping").body == b"OK"


def test_the_first_bytes_may_hold_a_whole_request(running: Field) -> None:
    """Whoever knows that it is HTTP/2 sends preface, head and body at once."""
    for size in (0, 1, 20_000, 50_000):
        with client_with_one_write(running, size) as it:
            assert it.wait(1).status == 200
            assert len(seen(running).body) == size


def client_with_one_write(running: Field, size: int) -> Client:
    it = Client(running.ports["http"], running.host(plain_row), wait=True)
    it.answers[1] = Answer()
    it.connection.send_headers(1, it.head("/one", "POST", ("content-length", str(size))))
    for start in range(0, size, 16384):
        it.connection.send_data(1, b"x" * min(16384, size - start))
    it.connection.end_stream(1)
    it.flush()
    return it


def test_it_can_be_switched_off(running: Field) -> None:
    with socket.create_connection(("127.0.0.1", running.ports["old"]), 5) as raw:
        raw.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 505")


def test_the_preface_may_come_in_pieces(running: Field) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    with socket.create_connection(("127.0.0.1", running.ports["http"]), 5) as raw:
        for byte in preface:
            raw.sendall(bytes([byte]))
            time.sleep(0.002)
        assert raw.recv(9)[3] == 4  # SETTINGS


def test_http_1_is_unharmed(running: Field) -> None:
    for method in ("POST", "PUT", "PATCH"):
        ask = Ask("/", method if method != "PATCH" else "POST", body=b"x")
        assert running.ask(ask, running.host(plain_row)).status == 200


# --- what breaks the rules -------------------------------------------------------------------

MALFORMED: list[tuple[str, list[tuple[str, str]]]] = [
    ("connection", [("connection", "close")]),
    ("transfer-encoding", [("transfer-encoding", "chunked")]),
    ("upgrade", [("upgrade", "websocket")]),
    ("keep-alive", [("keep-alive", "1")]),
    ("te", [("te", "gzip")]),
    ("upper case", [("X-Big", "1")]),
    ("LF in a value", [("x-a", "a\nb: c")]),
    ("CR in a value", [("x-a", "a\rb")]),
    ("NUL in a value", [("x-a", "a\0b")]),
    ("colon in a name", [("x:a", "1")]),
    ("blank in a name", [("transfer-encoding ", "chunked")]),
    ("two content-lengths", [("content-length", "0"), ("content-length", "0")]),
    ("content-length with sign", [("content-length", "+0")]),
    ("content-length without body", [("content-length", "5")]),
    ("another host", [("host", "b.test")]),
    ("unknown pseudo-header", [(":status", "200")]),
]  # fmt: skip
HEADS: list[tuple[str, list[tuple[str, str]]]] = [
    ("two paths", [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":path", "/")]),
    ("no path", [(":method", "GET"), (":scheme", "http"), (":authority", "a.test")]),
    ("empty path", [(":method", "GET"), (":scheme", "http"), (":path", "")]),
    ("no method", [(":scheme", "http"), (":path", "/"), (":authority", "a.test")]),
    ("no scheme", [(":method", "GET"), (":path", "/"), (":authority", "a.test")]),
    ("pseudo-header behind fields",
     [(":method", "GET"), (":scheme", "http"), ("a", "b"), (":path", "/")]),
    ("LF in the path", [(":method", "GET"), (":scheme", "http"), (":path", "/\r\nx: y")]),
    ("LF in the authority",
     [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a\nb")]),
    ("blank in the method", [(":method", "GET /x"), (":scheme", "http"), (":path", "/")]),
    ("extended CONNECT with a length",
     [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/"),
      (":authority", "a.test"), ("content-length", "0")]),
    (":protocol without CONNECT",
     [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":protocol", "websocket"),
      (":authority", "a.test")]),
]  # fmt: skip


def reset_of(it: Client, headers: list[tuple[str, str]]) -> Answer:
    """The library encodes whatever it is given."""
    return it.wait(it.begin(headers))


@pytest.mark.parametrize(("title", "more"), MALFORMED, ids=[row[0] for row in MALFORMED])
def test_malformed_fields(running: Field, title: str, more: list[tuple[str, str]]) -> None:
    running.backend.seen.clear()
    with client(running) as it:
        answer = reset_of(it, [*it.head(), *more])
        assert answer.reset == PROTOCOL_ERROR, title
        assert running.backend.seen == []
        assert it.ask().status == 200  # the connection lives


@pytest.mark.parametrize(("title", "head"), HEADS, ids=[row[0] for row in HEADS])
def test_malformed_heads(running: Field, title: str, head: list[tuple[str, str]]) -> None:
    running.backend.seen.clear()
    with client(running) as it:
        answer = reset_of(it, head)
        assert answer.reset == PROTOCOL_ERROR, title
        assert running.backend.seen == []


STATUSES: list[tuple[str, str, str, str, int]] = [
    ("no slash", "GET", "x", "a.test", 400),
    ("absolute form", "GET", "http://other/", "a.test", 400),
    ("fragment", "GET", "/a#b", "a.test", 400),
    ("blank in the path", "GET", "/x HTTP/1.1", "a.test", 400),
    ("userinfo", "GET", "/", "a@b.test", 400),
    ("port", "GET", "/", "a.test:99999", 400),
    ("unknown method", "BREW", "/", "a.test", 501),
    ("CONNECT", "CONNECT", "/", "a.test", 501),
    ("too long", "GET", "/" + "a" * 9000, "a.test", 414),
]


@pytest.mark.parametrize("case", STATUSES, ids=[row[0] for row in STATUSES])
def test_refused_with_a_status(running: Field, case: tuple[str, str, str, str, int]) -> None:
    _, method, path, host, status = case
    running.backend.seen.clear()
    with client(running) as it:
        assert it.ask(path, method, host=host).status == status
        assert running.backend.seen == []
        assert it.ask().status == 200


def test_heads_that_are_too_large(running: Field) -> None:
    with client(running) as it:
        many = [(f"x-{n}", "a") for n in range(200)]
        assert it.ask("/", "GET", b"", *many).status == 431
        assert it.ask("/", "GET", b"", ("x-large", "a" * 40_000)).status == 431
        crumbs = [("cookie", f"c{n}={'a' * 100}") for n in range(90)]
        assert it.ask("/", "GET", b"", *crumbs).status == 200
        assert len(seen(running).headers["Cookie"]) > 9000


@pytest.mark.parametrize("sent", [b"123", b"1234567"], ids=["less", "more"])
def test_content_length_is_not_true(running: Field, sent: bytes) -> None:
    """The endpoint sees an aborted request, never a second one."""
    with client(running) as it:
        stream = it.begin(it.head("/cl", "POST", ("content-length", "5")), end=False)
        it.connection.send_data(stream, sent, end_stream=True)
        it.flush()
        assert it.wait(stream).reset == PROTOCOL_ERROR
        assert it.ask("/after").status == 200
        assert "/after" in [found.target for found in running.backend.seen]


# --- floods ----------------------------------------------------------------------------------


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


FLOODS = {
    "PING": frame(6, 0, 0, bytes(8)),
    "SETTINGS": frame(4, 0, 0),
    "PRIORITY": frame(2, 0, 1, bytes([0, 0, 0, 3, 1])),
    "unknown frames": frame(77, 0, 0, b"x"),
    "WINDOW_UPDATE": frame(8, 0, 0, bytes([0, 0, 0, 1])),
}


@pytest.mark.parametrize("name", FLOODS)
def test_useless_frames(running: Field, name: str) -> None:
    with client(running) as it, client(running) as other:
        for _ in range(100):
            it.raw(FLOODS[name] * 1000)
            if it.closed:
                break
        while it.receive(1):
            pass
        assert it.closed and it.goaway == [ENHANCE_YOUR_CALM]
        assert other.ask().status == 200


def test_rapid_reset(running: Field) -> None:
    """CVE-2023-44487: HEADERS and RST_STREAM, again and again."""
    running.backend.seen.clear()
    with client(running) as it, client(running) as other:
        for _ in range(2000):
            if it.closed:
                break
            stream = it.connection.get_next_available_stream_id()
            it.connection.send_headers(stream, it.head("/reset"), end_stream=True)
            it.connection.reset_stream(stream)
            it.flush()
        while it.receive(1):
            pass
        assert it.goaway == [ENHANCE_YOUR_CALM]
        assert len(running.backend.seen) < 400
        assert other.ask().status == 200


def test_continuation_flood(running: Field) -> None:
    """VU#421644: a header block that does not end."""
    with client(running) as it:
        it.raw(frame(1, 0, 1, b"\x82" * 100))
        for _ in range(200):
            it.raw(frame(9, 0, 1, b"\x82" * 10_000))
            if it.closed:
                break
        while it.receive(1):
            pass
        assert it.closed and it.goaway == [ENHANCE_YOUR_CALM]


def test_more_streams_than_allowed(running: Field) -> None:
    with client(running) as it:
        it.connection.remote_settings._settings = {}  # the library would keep to them
        slow = answering(delay=1)
        for number in range(130):
            stream = 1 + 2 * number
            block = it.connection.encoder.encode(it.head("/many", "GET", slow))
            it.raw(frame(1, 5, stream, block))
        refused: set[int] = set()
        it.socket.settimeout(3)
        data = b""
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline and not refused:
            data += it.socket.recv(65536)
            refused = {
                int.from_bytes(data[m.start() + 5 : m.start() + 9], "big")
                for m in re.finditer(rb"\x00\x00\x04\x03\x00", data)
            }
        assert refused == {257, 259}


def test_a_window_that_stays_shut(running: Field) -> None:
    """The answer waits at its endpoint, and comes when there is room."""
    running.backend.always["/large"] = {"body": "a" * 3_000_000}
    with client(running) as it:
        it.credit = False
        stream = it.begin(it.head("/large"))
        while it.receive(0.5):
            pass
        assert len(it.answers[stream].body) == 65_535
        assert it.ask().status == 200
        it.credit = True
        it.connection.increment_flow_control_window(3_000_000, stream)
        it.flush()
        assert len(it.wait(stream).body) == 3_000_000


# --- ends ------------------------------------------------------------------------------------


def test_a_client_that_cancels(running: Field) -> None:
    with client(running) as it:
        stream = it.begin(it.head("/", "GET", answering(delay=1)))
        time.sleep(0.2)
        it.connection.reset_stream(stream, 8)
        it.flush()
        assert it.ask().status == 200


def lines(running: Field) -> list[dict[str, Any]]:
    file = running.folder / "access.log"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_each_stream_has_its_line(running: Field, tls: bool) -> None:
    time.sleep(0.3)
    before = len(lines(running))
    with client(running, tls=tls) as it:
        for number in range(5):
            it.ask(f"/line/{number}", "POST", b"12345", ("user-agent", "me"))
        stream = it.begin(it.head("/left", "GET", answering(delay=1)))
        time.sleep(0.1)
        it.connection.reset_stream(stream, 8)
        it.flush()
        time.sleep(0.3)
    found = lines(running)[before:]
    assert [line["RequestPath"] for line in found] == [*(f"/line/{n}" for n in range(5)), "/left"]
    assert {line["RequestProtocol"] for line in found} == {"HTTP/2.0"}
    assert [line["DownstreamStatus"] for line in found] == [200] * 5 + [499]
    assert {line["Flags"] for line in found[:5]} == {""} and found[5]["Flags"] == "DC"
    assert {line["RequestContentSize"] for line in found[:5]} == {5}
    assert found[0]["downstream_Content-Length"] == "8"
    assert found[0]["request_User-Agent"] == "me"


def frames(raw: socket.socket, until: float) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, stream and payload of what comes."""
    data = b""
    while time.monotonic() < until:
        while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
            size = int.from_bytes(data[:3], "big")
            yield data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + size]
            data = data[9 + size :]
        raw.settimeout(max(0.01, until - time.monotonic()))
        part = raw.recv(65536)
        if not part:
            return
        data += part


def test_an_end_in_two_steps(tmp_path: Path) -> None:
    """SIGTERM: GOAWAY which names no last stream, so that none on its way is lost; then one that
    does (RFC 9113 6.8). What has begun is answered."""
    for number in range(times(2, 20)):
        folder = tmp_path / str(number)
        folder.mkdir()
        row = Row("ends")
        with Field(folder, [row], settings='[lifeCycle]\ngraceTimeOut = "5s"') as field:
            it = Client(field.ports["http"], field.host(row))
            assert it.ask().status == 200
            slow = it.begin(it.head("/", "GET", answering(delay=0.6)))
            time.sleep(0.1)
            assert field.proxy.process is not None
            field.proxy.process.send_signal(signal.SIGTERM)
            found = []
            for kind, flags, stream, payload in frames(it.socket, time.monotonic() + 10):
                found.append((kind, flags & 1, stream, payload))
                if kind == 6 and not flags:
                    it.raw(frame(6, 1, 0, payload))
            goaways = [payload for kind, _, _, payload in found if kind == 7]
            none, last = b"\x7f\xff\xff\xff", slow.to_bytes(4, "big")
            assert goaways == [none + bytes(4), last + bytes(4)]
            assert (0, 1, slow, b"server 0") in found
            it.socket.close()


# --- WebSocket (RFC 8441) --------------------------------------------------------------------


def test_websocket(tmp_path: Path, tls: bool) -> None:
    """Extended CONNECT becomes the handshake of HTTP/1.1; DATA is what follows it."""
    server = socket.create_server(("127.0.0.1", 0))
    heads: list[bytes] = []

    def serve() -> None:
        connection, _ = server.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        heads.append(head)
        key = re.search(rb"(?i)sec-websocket-key: (\S+)", head)[1]  # type: ignore[index]
        accept = base64.b64encode(
            hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        )
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\nhello"
        )
        while data := connection.recv(65536):
            connection.sendall(data)
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    row = Row("websocket")
    points = {"https": "[entryPoints.https.tls]"}
    with Field(
        tmp_path,
        [row],
        entry_points=points,
        default_entry_points='["http", "https"]',
        only_port=server.getsockname()[1],
    ) as field:
        it = Client(field.ports["https" if tls else "http"], field.host(row), tls)
        assert it.connection.remote_settings is not None
        head = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            *(pair for pair in it.head("/chat") if pair[0] != ":method"),
            ("sec-websocket-version", "13"),
        ]
        stream = it.begin(head, end=False)
        answer = it.answers[stream]
        while answer.body != b"hello":
            assert it.receive()
        assert answer.status == 200 and answer.header("sec-websocket-accept") is None
        assert b"GET /chat HTTP/1.1" in heads[0] and b"Upgrade: websocket" in heads[0]
        it.send(stream, BIG[:200_000], end=False)
        while len(answer.body) < 5 + 200_000:
            assert it.receive()
        assert answer.body[5:] == BIG[:200_000]
        it.connection.end_stream(stream)
        it.flush()
        assert it.wait(stream).ended
        it.socket.close()


# --- other clients ---------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl(running: Field, tls: bool) -> None:
    port = running.ports["https" if tls else "http"]
    host = running.host(plain_row)
    url = f"{'https' if tls else 'http'}://{host}:{port}/curl"
    how = "--http2" if tls else "--http2-prior-knowledge"
    command = ["curl", "-sSk", "--noproxy", "*", how, "--resolve", f"{host}:{port}:127.0.0.1"]
    done = subprocess.run(
        [*command, "-w", " %{http_version} %{http_code}", "-d", "x" * 100_000, url],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stdout == "server 0 2 200", done.stderr
