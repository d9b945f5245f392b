"""Heads without a socket: the canonical form, and the same for any pieces a head arrives in."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.head_probe import Incomplete, Probe, Refused
from tests.support.heads import fields, forwarded, message

# first line as sent, as forwarded
REQUEST_LINES = [
    ("GET /a?b HTTP/1.1", "GET /a?b HTTP/1.1"),
    ("GET /a? HTTP/1.1", "GET /a HTTP/1.1"),
    ("GET /a HTTP/1.0", "GET /a HTTP/1.1"),
    ("GET http://a.test/b?c HTTP/1.1", "GET /b?c HTTP/1.1"),
    ("GET http://a.test HTTP/1.1", "GET / HTTP/1.1"),
    ("GET /a/../b//c/%7e%2f HTTP/1.1", "GET /b//c/~%2F HTTP/1.1"),
    ("GET /?a=/../b//%7e HTTP/1.1", "GET /?a=/../b//%7e HTTP/1.1"),
    ("OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1"),
    ("PROPFIND /a HTTP/1.1", "PROPFIND /a HTTP/1.1"),
]


@pytest.mark.parametrize(("sent", "expected"), REQUEST_LINES)
def test_request_line(sent: str, expected: str) -> None:
    assert forwarded([], sent)[0] == expected


# --- any pieces ---

TOKENS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)
NAMED = st.lists(st.tuples(TOKENS.map("X-T-".__add__), VALUES), max_size=20)


@given(NAMED, TOKENS, st.lists(st.integers(1, 900), max_size=12))
def test_a_head_in_pieces_is_the_same_head(
    named: list[tuple[str, str]], path: str, cuts: list[int]
) -> None:
    lines = ["Host: a.test", *(f"{name}: {value}" for name, value in named)]
    data = message(f"GET /{path} HTTP/1.1", lines)
    whole, pieces = Probe(), Probe()
    assert whole.parse(data) == len(data)
    places = sorted({cut for cut in cuts if cut < len(data)})
    bounds = [0, *places, len(data)]
    parts = [data[a:b] for a, b in itertools.pairwise(bounds)]
    assert pieces.feed(parts) == len(data)
    assert pieces.write_request() == whole.write_request()
    _, found = fields(whole.write_request())
    assert [row for row in found if row[0].startswith("X-T-")] == named


@given(st.binary(max_size=200))
def test_noise_is_refused_or_waited_for(noise: bytes) -> None:
    try:
        size = Probe().parse(noise)
    except (Refused, Incomplete):
        return
    assert b"\r\n\r\n" in noise[:size]
