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
    Case("head", TEXT, method="HEAD", compressed=False),
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
        [PLAIN, BUFFERED, FORBIDDEN],
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
