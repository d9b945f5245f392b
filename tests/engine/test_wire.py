"""Bodies in any pieces give the same bytes, and end where they end."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.head_probe import Probe, Refused

POST = b"POST / HTTP/1.1\r\nHost: a.test\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CUTS = st.lists(st.integers(1, 3000), max_size=30)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted({place for place in places if place < len(data)}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(bounds)]


def read(head: bytes, pieces: list[bytes]) -> tuple[bytes, bool]:
    probe = Probe()
    probe.parse(head)
    return probe.body(pieces)


@given(st.binary(max_size=3000), CUTS)
def test_content_length(body: bytes, places: list[int]) -> None:
    head = POST + b"Content-Length: %d\r\n\r\n" % len(body)
    assert read(head, cut(body, places)) == (body, True)
    if body:
        assert read(head, cut(body[:-1], places)) == (body[:-1], False)


@st.composite
def chunks(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A chunked body as bytes on the wire, and what it says."""
    parts = draw(st.lists(st.binary(min_size=1, max_size=300), max_size=12))
    sent = b""
    for part in parts:
        size = draw(st.sampled_from(["%x", "%X", "%04x", "%016x"])) % len(part)
        extension = draw(st.sampled_from(["", ";a", ";a=b", ';name="quoted; value"']))
        sent += f"{size}{extension}\r\n".encode() + part + b"\r\n"
    trailer = draw(st.sampled_from([b"", b"X-Sum: 1\r\n", b"X-A: 1\r\nX-B:\r\n"]))
    return sent + b"0\r\n" + trailer + b"\r\n", b"".join(parts)


@given(chunks(), CUTS)
def test_chunked(both: tuple[bytes, bytes], places: list[int]) -> None:
    sent, body = both
    assert read(CHUNKED, cut(sent, places)) == (body, True)
    found, ended = read(CHUNKED, cut(sent[:-1], places))
    assert (found, ended) == (body, False)


@given(chunks())
def test_byte_by_byte(both: tuple[bytes, bytes]) -> None:
    sent, body = both
    assert read(CHUNKED, [bytes([byte]) for byte in sent]) == (body, True)


@given(chunks(), st.binary(max_size=50))
def test_what_follows_is_not_body(both: tuple[bytes, bytes], following: bytes) -> None:
    sent, body = both
    assert read(CHUNKED, [sent + following]) == (body, True)


BAD = [
    b"0x3\r\nabc\r\n0\r\n\r\n",
    b"+3\r\nabc\r\n0\r\n\r\n",
    b"3 \r\nabc\r\n0\r\n\r\n",
    b"\r\nabc\r\n0\r\n\r\n",
    b"3\nabc\r\n0\r\n\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"3\r\nabc0\r\n\r\n",
    b"00000000000000003\r\nabc\r\n0\r\n\r\n",
    b"10000000000000000\r\n",
    b"8000000000000000\r\n",
    b"3;a\x01\r\nabc\r\n0\r\n\r\n",
    b"3;" + b"a" * 5000 + b"\r\nabc\r\n0\r\n\r\n",
    b"1;a=" + b"b" * 100 + b"\r\nx\r\n" + (b"1;a=" + b"b" * 100 + b"\r\nx\r\n") * 50 + b"0\r\n\r\n",
    b"0\r\nContent-Length: 3\r\n\r\n",
    b"0\r\ntransfer_encoding: chunked\r\n\r\n",
    b"0\r\n" + b"X: 1\r\n" * 40 + b"\r\n",
    b"0\r\nX: " + b"1" * 9000 + b"\r\n\r\n",
]


@pytest.mark.parametrize("sent", BAD, ids=lambda sent: repr(sent[:30]))
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_bad_chunks(sent: bytes, size: int) -> None:
    with pytest.raises(Refused):
        read(CHUNKED, [sent[at : at + size] for at in range(0, len(sent), size)])
