"""An exchange does not know what its client speaks: a second codec, with many streams at once.

The codec is `tests/native/codec_probe.pyx`. What has to hold for it has to hold for HTTP/2.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, TypeVar

import pytest

from tests.native.codec_probe import StreamProbe
from tests.support.records import Recording, flags_of, recording
from tests.support.running import dead_port
from tests.support.scripted import Origin, Peer, until
from tests.support.users import JOE, USERS_SECRET
from tests.support.whole import ingress, service

SETTINGS = """
defaultEntryPoints = ["http"]

[entryPoints.http]
address = "127.0.0.1:0"
compress = true

[entryPoints.https]
address = "127.0.0.1:0"
[entryPoints.https.tls]
"""
LARGE = 3_000_000
HIGH_WATER = 65536

Result = TypeVar("Result")


class Scripts:
    """What the origin does by path."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.left = threading.Event()

    def echo(self, peer: Peer) -> None:
        body = peer.read_request().body
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def named(self, peer: Peer) -> None:
        target = peer.read_request().start.split(" ")[1].encode()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(target), target))

    def large(self, peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE + bytes(LARGE))

    def unsized(self, peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/a\r\n\r\n")
        peer.send(b"5\r\nhello\r\n")
        assert self.go_on.wait(10)
        peer.send(b"6\r\n world\r\n0\r\n\r\n")

    def cut(self, peer: Peer) -> bool:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        return False

    def silent(self, peer: Peer) -> bool:
        peer.read_request()
        peer.socket.recv(1)
        self.left.set()
        return False

    def deaf(self, peer: Peer) -> bool:
        """Does not read the body."""
        assert self.go_on.wait(10)
        return False


class Place:
    def __init__(self, records: Recording, scripts: Scripts) -> None:
        self.records, self.scripts = records, scripts

    def do(self, function: Callable[[], Result]) -> Result:
        """In the engine's thread."""
        return self.records.plane.call(function)

    def stream(self) -> StreamProbe:
        return self.do(StreamProbe)

    def ask(self, head: bytes, body: bytes = b"") -> StreamProbe:
        stream = self.stream()
        self.do(lambda: stream.ask(head, body))
        return stream

    def events(self, stream: StreamProbe) -> list[tuple[Any, ...]]:
        return self.do(lambda: list(stream.events))


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    scripts = Scripts()
    paths = ("named", "large", "unsized", "cut", "silent", "echo", "deaf")
    with closing(Origin({f"/{path}": getattr(scripts, path) for path in paths})) as origin:
        buffered = service("buffered", origin.port)
        buffered[0]["metadata"]["annotations"] = {
            "ingress.kubernetes.io/buffering": "{memrequestbodybytes: 1000}"
        }
        objects = [
            *service("good", origin.port),
            *service("dead", dead_port()),
            *buffered,
            USERS_SECRET,
            ingress("a", "a.test", "good"),
            ingress("dead", "dead.test", "dead"),
            ingress("buffered", "buffered.test", "buffered"),
            ingress("basic", "basic.test", "good", auth_type="basic", auth_secret="users"),
        ]
        with recording(SETTINGS, objects) as records:
            yield Place(records, scripts)


def head(path: str, *lines: str, host: str = "a.test", method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


def test_many_streams_at_once(place: Place) -> None:
    place.records.settled()
    streams = [place.ask(head(f"/named?{number}")) for number in range(100)]
    until(lambda: all(stream.over for stream in streams))
    for number, stream in enumerate(streams):
        assert stream.body == f"/named?{number}".encode()
        assert [event[0] for event in stream.events] == ["head", "end"]
    assert [row["status"] for row in place.records.settled()] == [200] * 100


def test_one_stream_after_the_other(place: Place) -> None:
    """A codec may use a stream again."""
    place.records.settled()
    stream = place.stream()
    for number in range(3):
        place.do(lambda n=number: stream.ask(head(f"/named?{n}")))  # type: ignore[misc]
        until(lambda: stream.over)
    assert stream.body == b"/named?0/named?1/named?2"
    assert len(place.records.settled()) == 3


def test_a_head_of_unknown_length(place: Place) -> None:
    place.scripts.go_on.clear()
    stream = place.ask(head("/unsized"))
    until(lambda: stream.body == b"hello")
    assert not stream.over
    place.scripts.go_on.set()
    until(lambda: stream.over)
    (_, status, fields, length), *_ = stream.events
    assert (status, fields.get("Transfer-Encoding"), length) == (200, None, -1)
    assert stream.body == b"hello world"


def test_a_client_that_takes_little(place: Place) -> None:
    """What comes meanwhile stays with the endpoint."""
    stream = place.stream()
    stream.room = HIGH_WATER
    place.do(lambda: stream.ask(head("/large")))
    until(lambda: len(stream.body) > HIGH_WATER)
    rounds = 0
    while not stream.over:
        before = len(stream.body)
        place.do(stream.drain)
        until(lambda n=before: stream.over or len(stream.body) >= n + HIGH_WATER)  # type: ignore[misc]
        assert len(stream.body) - before <= HIGH_WATER + 2 * 131072
        rounds += 1
    assert len(stream.body) == LARGE
    assert rounds > 5


def test_a_body_in_pieces(place: Place) -> None:
    place.records.settled()
    stream = place.stream()
    place.do(lambda: stream.ask(head("/echo", "Content-Length: 10", method="POST"), b"01", False))
    place.do(lambda: stream.send(b"2345", False))
    place.do(lambda: stream.send(b"6789", True))
    until(lambda: stream.over)
    assert stream.body == b"0123456789"
    (row,) = place.records.settled()
    assert (row["request_body"], row["response_body"]) == (10, 10)


def test_an_endpoint_that_takes_little(place: Place) -> None:
    """Nothing more is wanted of the client, until the endpoint has gone."""
    place.scripts.go_on.clear()
    stream = place.stream()
    length = f"Content-Length: {1 << 30}"
    place.do(lambda: stream.ask(head("/deaf", length, method="POST"), b"", False))
    sent = 0
    while not place.do(lambda: stream.send(bytes(65536), False)):
        sent += 65536
        assert sent < 1024 * 65536
    assert place.events(stream) == []
    place.scripts.go_on.set()
    until(lambda: stream.over)
    assert stream.events[-2][:2] == ("reply", 502)


@pytest.mark.parametrize(
    ("host", "status", "flag"),
    [("no.test", 404, "NR"), ("dead.test", 502, "UF"), ("basic.test", 401, "UA")],
)
def test_own_answers(place: Place, host: str, status: int, flag: str) -> None:
    place.records.settled()
    stream = place.ask(head("/named", host=host))
    until(lambda: stream.over)
    assert [event[:2] for event in stream.events] == [("reply", status), ("end",)]
    (row,) = place.records.settled()
    assert (row["status"], flags_of(row)) == (status, flag)


def test_a_filter_that_waits(place: Place) -> None:
    """The password is checked beside the loop, and the exchange goes on through the table."""
    stream = place.ask(head("/named?joe", JOE, host="basic.test"))
    until(lambda: stream.over)
    assert stream.body == b"/named?joe"


def test_buffering_asks_for_the_body(place: Place) -> None:
    stream = place.stream()
    place.do(
        lambda: stream.ask(
            head("/echo", "Transfer-Encoding: chunked", host="buffered.test", method="POST"),
            b"a" * 800,
            False,
        )
    )
    assert place.events(stream) == [("ask body",)]
    place.do(lambda: stream.send(b"b" * 800, True))
    until(lambda: stream.over)
    assert stream.body == b"a" * 800 + b"b" * 800
    assert [event[0] for event in stream.events] == ["ask body", "resume", "head", "end"]
    assert stream.events[2][3] == 1600


def test_gzip_is_the_exchanges(place: Place) -> None:
    place.scripts.go_on.clear()
    stream = place.ask(head("/unsized", "Accept-Encoding: gzip"))
    until(lambda: stream.body != b"")
    place.scripts.go_on.set()
    until(lambda: stream.over)
    assert stream.events[0][2]["Content-Encoding"] == "gzip"
    assert stream.body.startswith(b"\x1f\x8b")


def test_a_cut_response_is_reset(place: Place) -> None:
    place.records.settled()
    stream = place.ask(head("/cut"))
    until(lambda: stream.over)
    assert stream.events[-1] == ("reset",)
    (row,) = place.records.settled()
    assert (row["status"], flags_of(row)) == (200, "UTR")


def test_a_client_that_leaves(place: Place) -> None:
    place.records.settled()
    place.scripts.left.clear()
    stream = place.ask(head("/silent"))
    place.do(stream.leave)
    assert place.scripts.left.wait(10)
    (row,) = place.records.settled()
    assert (row["status"], flags_of(row)) == (499, "DC")


def test_a_message_that_cannot_be_understood(place: Place) -> None:
    place.records.settled()
    stream = place.stream()
    place.do(lambda: stream.refuse(400))
    assert stream.events == [("reply", 400, b"", 11), ("end",)]
    (row,) = place.records.settled()
    assert (row["status"], row["head"], flags_of(row)) == (400, 0, "DPE")
