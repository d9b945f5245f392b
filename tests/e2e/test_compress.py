"""The entry point option `compress`: request -> response at the client (`features.md` 5.1)."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest

from tests.support.feature_rows import Ask, Field, Row, answering, running

PLAIN = Row("plain", {"custom-response-headers": "X-A: 1"})
BUFFERED = Row("buffered", {}, {"buffering": "{}"})
FORBIDDEN = Row("forbidden", {"whitelist-source-range": "10.0.0.0/8"})
PAGED = Row("paged", {"error-pages": "a: {status: ['500'], backend: row0.test/, query: /page}"})
LONG = "a long text " * 100
GZIP = ("Accept-Encoding", "deflate, gzip;q=0.5")


@dataclass(frozen=True)
class Case:
    title: str
    answer: dict
    headers: tuple[tuple[str, str], ...] = (GZIP,)
    compressed: bool = True
    vary: bool = True
    row: Row = PLAIN
    method: str = "GET"
    kind: str | None = None  # Content-Type at the client
    status: int = 200

    def __str__(self) -> str:
        return self.title


def typed(kind: str, body: str = LONG, **more) -> dict:
    return {"headers": [["Content-Type", kind], *more.pop("headers", [])], "body": body, **more}


TEXT = typed("text/plain")
CASES = [
    Case("long", TEXT, kind="text/plain"),
    Case("chunked", {**TEXT, "chunked": True}),
    Case("any type", typed("image/png")),
    Case("511 bytes", typed("text/plain", "x" * 511), compressed=False),
    Case("512 bytes", typed("text/plain", "x" * 512)),
    Case("short and chunked", typed("text/plain", "short", chunked=True), compressed=False),
    Case("not accepted", TEXT, (), compressed=False),
    Case("star does not count", TEXT, (("Accept-Encoding", "*"),), compressed=False),
    Case("refused", TEXT, (("Accept-Encoding", "gzip;q=0.0, br"),), compressed=False),
    Case("any case", TEXT, (("accept-encoding", " GZIP ; q=1"),)),
    Case("second line", TEXT, (("Accept-Encoding", "br"), ("Accept-Encoding", "gzip"))),
    Case("another word", TEXT, (("Accept-Encoding", "xgzip, gzipx"),), compressed=False),
    Case("grpc", TEXT, (GZIP, ("Content-Type", "application/grpc+proto")), False, False),
    Case("encoded", typed("a/b", headers=[["Content-Encoding", "br"]]), compressed=False),
    Case("partial", typed("a/b", status=206, headers=[["Content-Range", "bytes 0-9/99"]]),
         compressed=False, status=206),
    Case("no-transform", typed("a/b", headers=[["Cache-Control", "public, No-Transform"]]),
         compressed=False),
    Case("errors too", typed("text/plain", status=500), status=500),
    Case("no-transform in a second line", typed("a/b", headers=[
        ["Cache-Control", "max-age=60"], ["Cache-Control", "no-transform"]]), compressed=False),
    Case("another directive", typed("a/b", headers=[["Cache-Control", "x-no-transform"]])),
    Case("the other name of gzip", TEXT, (("Accept-Encoding", "x-gzip"),)),
    Case("grpc in any case", TEXT, (GZIP, ("Content-Type", "Application/gRPC")), False, False),
    Case("html is recognised", {"body": "\n <!DOCTYPE html>" + LONG},
         kind="text/html; charset=utf-8"),
    Case("text is recognised", {"body": LONG}, kind="text/plain; charset=utf-8"),
    Case("binary is recognised", {"body": "\x01" * 600}, kind="application/octet-stream"),
    Case("a buffered answer", TEXT, row=BUFFERED, kind="text/plain"),
    Case("a buffered answer, encoded", typed("a/b", headers=[["Content-Encoding", "br"]]),
         compressed=False, row=BUFFERED),
    Case("an own answer", TEXT, row=FORBIDDEN, compressed=False, status=403),
]  # fmt: skip


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    yield from running(
        tmp_path_factory.mktemp("compress"),
        [PLAIN, BUFFERED, FORBIDDEN, PAGED],
        entry_points={"http": "compress = true\n"},
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_responses(proxy: Field, case: Case) -> None:
    headers = (*case.headers, answering(**case.answer))
    answer = proxy.ask(Ask("/", case.method, headers), proxy.host(case.row))
    assert answer.status == case.status
    assert answer.headers.get_all("Vary") == (["Accept-Encoding"] if case.vary else None)
    if case.kind is not None:
        assert answer.headers.get_all("Content-Type") == [case.kind]
    if case.row is PLAIN:
        assert answer.headers["X-A"] == "1"
    if not case.compressed:
        assert answer.headers["Content-Encoding"] != "gzip"
        if case.status != 403 and case.method != "HEAD":
            assert answer.body == case.answer["body"].encode()
        return
    assert answer.headers.get_all("Content-Encoding") == ["gzip"]
    assert gzip.decompress(answer.body) == case.answer["body"].encode()
    assert len(answer.body) < len(case.answer["body"])


STRONG = [["ETag", '"v1"'], ["Accept-Ranges", "bytes"], ["Content-MD5", "x"], ["Digest", "y"],
          ["Repr-Digest", "z"], ["Content-Digest", "z"], ["Last-Modified", "then"]]  # fmt: skip
ALIKE = ["Content-Type", "Content-Encoding", "ETag", "Accept-Ranges", "Content-MD5", "Digest",
         "Repr-Digest", "Content-Digest", "Last-Modified", "Vary"]  # fmt: skip
SHORT = typed("text/plain", "short", headers=STRONG)
# title, what the endpoint answers, Accept-Encoding, ETag, whether the other fields stay
METADATA = [
    ("plain", typed("text/plain", headers=STRONG), "br", '"v1"', True),
    ("compressed", typed("text/plain", headers=STRONG), "gzip", 'W/"v1"', False),
    ("chunked", typed("text/plain", headers=STRONG, chunked=True), "gzip", 'W/"v1"', False),
    ("weak", typed("text/plain", headers=[["ETag", 'W/"v1"']]), "gzip", 'W/"v1"', False),
    ("empty", typed("text/plain", headers=[["ETag", '""']]), "gzip", 'W/""', False),
    ("no tag", typed("text/plain", headers=[["ETag", "v1"]]), "gzip", "v1", False),
    ("endless", typed("text/plain", headers=[["ETag", f'"{"x" * 2000}"']]), "gzip", None, False),
    ("too short", SHORT, "gzip", '"v1"', True),
    ("encoded", typed("a/b", headers=[*STRONG, ["Content-Encoding", "br"]]), "gzip", '"v1"', True),
]


@pytest.mark.parametrize(("title", "answer", "accepted", "tag", "stays"), METADATA)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_speaks_of_the_other_encoding(
    proxy: Field, method: str, title: str, answer: dict, accepted: str, tag: str | None, stays: bool
) -> None:
    """RFC 9110 8.8.3.3: one encoding, one strong ETag; and HEAD says what GET says."""
    headers = (("Accept-Encoding", accepted), answering(**answer))
    found = proxy.ask(Ask("/", method, headers), proxy.host(PLAIN))
    assert found.headers["ETag"] == tag
    for name in ("Accept-Ranges", "Content-MD5", "Digest", "Repr-Digest", "Content-Digest"):
        assert (found.headers[name] is not None) == stays, name
    if found.headers["Content-Encoding"] == "gzip":
        assert found.headers["Content-Length"] is None


# Without a length GET decides by its first bytes, which HEAD does not have.
@pytest.mark.parametrize(
    ("title", "answer", "accepted"), [row[:3] for row in METADATA if "chunked" not in row[1]]
)
def test_head_and_get_are_alike(proxy: Field, title: str, answer: dict, accepted: str) -> None:
    headers = (("Accept-Encoding", accepted), answering(**answer))
    get, head = (
        proxy.ask(Ask("/", method, headers), proxy.host(PLAIN)) for method in ("GET", "HEAD")
    )
    assert [get.headers.get_all(n) for n in ALIKE] == [head.headers.get_all(n) for n in ALIKE]


def test_304_names_the_tag_that_200_has(proxy: Field) -> None:
    answer = answering(status=304, headers=[["ETag", '"v1"']])
    for accepted, tag in (("gzip", 'W/"v1"'), ("br", '"v1"')):
        headers = (("Accept-Encoding", accepted), answer)
        found = proxy.ask(Ask("/", headers=headers), proxy.host(PLAIN))
        assert (found.status, found.headers["ETag"]) == (304, tag)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("more", "compressed"),
    [
        ([], True),
        ([["Cache-Control", "max-age=1"], ["Cache-Control", "no-transform"]], False),
        ([["Content-Encoding", "br"]], False),
        ([["Content-Range", "bytes 0-9/99"]], False),
    ],
)
def test_a_page_is_decided_about_as_any_response(
    proxy: Field, method: str, more: list[list[str]], compressed: bool
) -> None:
    headers = (GZIP, answering(**typed("text/html", headers=[*STRONG, *more], status=500)))
    found = proxy.ask(Ask("/", method, headers), proxy.host(PAGED))
    assert found.status == 500
    assert found.headers["ETag"] == ('W/"v1"' if compressed else '"v1"')
    assert (found.headers["Accept-Ranges"] is None) == compressed
    encodings = [v for n, v in more if n == "Content-Encoding"]
    assert (found.headers.get_all("Content-Encoding") or []) == (
        ["gzip"] if compressed else encodings
    )
    assert found.headers.get_all("Vary") == ["Accept-Encoding"]
    if method == "GET":
        assert (gzip.decompress(found.body) if compressed else found.body) == LONG.encode()
        assert int(found.headers["Content-Length"]) == len(found.body)


def test_other_entry_points_do_not_compress(proxy: Field) -> None:
    headers = (GZIP, answering(**TEXT))
    answer = proxy.ask(Ask("/", headers=headers, entry_point="other"), proxy.host(PLAIN))
    assert answer.headers["Vary"] is None
    assert answer.body == LONG.encode()


def test_a_connection_serves_compressed_and_plain_responses_in_turn(proxy: Field) -> None:
    with socket.create_connection(("127.0.0.1", proxy.ports["http"]), 10) as client:
        stream = client.makefile("rb")
        for turn in range(20):
            encoding = "Accept-Encoding: gzip\r\n" if turn % 2 else ""
            wanted = {**TEXT, "body": LONG * turn + str(turn)}
            client.sendall(
                f"GET / HTTP/1.1\r\nHost: {proxy.host(PLAIN)}\r\n{encoding}"
                f"X-Answer: {json.dumps(wanted)}\r\n\r\n".encode()
            )
            head = b"".join(iter(stream.readline, b"\r\n")).decode()
            body = b""
            if "Transfer-Encoding: chunked" in head:
                while size := int(stream.readline(), 16):
                    body += stream.read(size)
                    stream.readline()
                stream.readline()
            else:
                length = next(x for x in head.splitlines() if x.startswith("Content-Length"))
                body = stream.read(int(length.partition(":")[2]))
            if "Content-Encoding: gzip" in head:
                body = gzip.decompress(body)
            assert body == wanted["body"].encode(), (turn, head)


def test_pieces_of_a_stream_arrive_as_they_come(proxy: Field) -> None:
    """A piece can be read before the next one is sent (FIX 31)."""
    wanted = typed("text/event-stream", pieces=["one", "two", "three"], pause=0.5)
    with socket.create_connection(("127.0.0.1", proxy.ports["http"]), 10) as client:
        client.sendall(
            f"GET / HTTP/1.1\r\nHost: {proxy.host(PLAIN)}\r\nAccept-Encoding: gzip\r\n"
            f"X-Answer: {json.dumps(wanted)}\r\nConnection: close\r\n\r\n".encode()
        )
        stream = client.makefile("rb")
        head = b"".join(iter(stream.readline, b"\r\n")).decode()
        assert "Content-Encoding: gzip" in head
        unzip = zlib.decompressobj(31)
        times = []
        for expected in (b"one", b"two", b"three", b""):
            data = stream.read(int(stream.readline(), 16))
            times.append(time.monotonic())
            assert stream.readline() == b"\r\n"
            assert unzip.decompress(data) == expected
    assert all(later - earlier > 0.25 for earlier, later in pairwise(times))
