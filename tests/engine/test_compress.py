"""gzip piece by piece, and the type of a body that does not say its own.

Which responses are compressed stands in tests/e2e/test_compress.py.
"""

from __future__ import annotations

import gzip as library
import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.native.parts_probe import gzip, sniff

SIZES = st.one_of(
    st.integers(0, 20), st.integers(0, 70_000), st.sampled_from([16383, 16384, 65535])
)


def noise(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


@given(st.lists(st.tuples(SIZES, st.booleans()), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_each_piece_can_be_read_when_it_came(pieces: list[tuple[int, bool]]) -> None:
    """Text and what cannot be made smaller, in turns; nothing waits for the next piece."""
    whole = [
        noise(size, i) if hard else b"ab" * (size // 2) for i, (size, hard) in enumerate(pieces)
    ]
    reader = zlib.decompressobj(31)
    for piece, compressed in zip(whole, gzip(whole), strict=True):
        assert reader.decompress(compressed) == piece
    assert reader.eof and reader.unused_data == b""


def test_an_empty_body_is_a_whole_stream() -> None:
    assert library.decompress(b"".join(gzip([b""]))) == b""
    assert gzip([b"a", b"", b"b"])[1] == b""


TYPES = [
    (b"", "text/plain; charset=utf-8"),
    (b"hello", "text/plain; charset=utf-8"),
    ("grüße".encode(), "text/plain; charset=utf-8"),
    (b"\x00", "application/octet-stream"),
    (b"text\x01", "application/octet-stream"),
    (b"t" * 512 + b"\x00", "text/plain; charset=utf-8"),
    (b"t" * 511 + b"\x00", "application/octet-stream"),
    (b"\x1b[1m", "text/plain; charset=utf-8"),
    (b"<html>", "text/html; charset=utf-8"),
    (b" \r\n\t<HTML lang=en>", "text/html; charset=utf-8"),
    (b"<!DOCTYPE html>", "text/html; charset=utf-8"),
    (b"<!-- c", "text/html; charset=utf-8"),
    (b"<html", "text/html; charset=utf-8"),
    (b"<htm", "text/plain; charset=utf-8"),
    (b"\n<?xml version", "text/xml; charset=utf-8"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\x89PNG\r\n\x1a", "application/octet-stream"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"GIF88a", "text/plain; charset=utf-8"),
    (b"%PDF-1.7", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"   ", "text/plain; charset=utf-8"),
]


@pytest.mark.parametrize(("data", "kind"), TYPES)
def test_types(data: bytes, kind: str) -> None:
    assert sniff(data) == kind
