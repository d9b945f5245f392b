"""Damaged messages, paths, rules and tables against the parsers alone, without sockets.

Quick enough for thousands of examples; with `make test-sanitize` every access outside of its memory
ends the run. What must hold besides: a message in pieces means the same as in one, what is written
is strictly correct, and refusals are refusals, never exceptions of another kind.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fastproxy._core import MatchEntry, build_matcher, check, match
from fastproxy.model import matchers as rules
from tests.native.head_probe import Incomplete, Probe, Refused
from tests.safety.messages import (
    REQUEST_LINE,
    STATUS_LINE,
    Malformed,
    Message,
    read_chunks,
    read_head,
)
from tests.safety.messages import Incomplete as NotWhole
from tests.safety.test_fuzz import ANSWERS, SHORT, SPICE, edits, mutate
from tests.safety.test_path_twin import PARTS, forwarded
from tests.support.sanitized import fuzz

STATUSES = {400, 413, 414, 417, 426, 431, 501, 502, 505}
CUTS = st.lists(st.integers(1, 700), max_size=8)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted({place for place in places if place < len(data)}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(bounds)]


def outcome(call: Callable[[], object]) -> object:
    """What a parser says, as a value."""
    try:
        return call()
    except Incomplete:
        return "incomplete"
    except Refused as refusal:
        assert refusal.status in STATUSES
        return "refused"


def read(response: bool, pieces: list[bytes]) -> tuple[object, Probe]:
    probe = Probe(response)
    return outcome(lambda: probe.feed(pieces)), probe


@fuzz(400)
@given(st.sampled_from(SHORT), edits, CUTS)
def test_request_heads(
    message: bytes, changes: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    sent = mutate(message, changes)
    found, probe = read(False, [sent])
    assert read(False, cut(sent, cuts))[0] == found
    if isinstance(found, int):
        written = probe.write_request(client=b"192.0.2.1", server=b"proxy")
        assert written is None or read_head(written, REQUEST_LINE).values("Host")


@fuzz(400)
@given(st.sampled_from(ANSWERS), edits, CUTS)
def test_response_heads(
    answer: bytes, changes: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    sent = mutate(answer, changes)
    found, probe = read(True, [sent])
    assert read(True, cut(sent, cuts))[0] == found
    if isinstance(found, int):
        written = probe.write_response()
        assert written is None or read_head(written, STATUS_LINE).fields is not None


CHUNKED = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
BODIES = [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"a;x=y\r\n0123456789\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"000000000000000f\r\n" + b"x" * 15 + b"\r\n0;last\r\n\r\n",
]
NOISE = [
    b"0",
    b"f",
    b"\r\n",
    b"\n",
    b"\r",
    b";",
    b'"',
    b" ",
    b"-",
    b"x",
    b"\0",
    b"ffffffffffffffff",
]
damage = st.lists(
    st.tuples(st.integers(0, 80), st.integers(0, 4), st.sampled_from([*NOISE, *SPICE])), max_size=3
)


def whole_body(data: bytes) -> bytes | None:
    """What the strict reader makes of it; None: broken or not at its end."""
    message = Message("", [])
    try:
        read_chunks(message, data)
    except (Malformed, NotWhole):
        return None
    return message.body


@fuzz(400)
@given(st.sampled_from(BODIES), damage, CUTS)
def test_chunks(body: bytes, changes: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    sent = mutate(body, changes)

    def decoded(pieces: list[bytes]) -> object:
        probe = Probe()
        probe.parse(CHUNKED)
        return outcome(lambda: probe.body(pieces))

    found = decoded([sent])
    in_pieces = decoded(cut(sent, cuts))
    # Some bytes may have been handed on before the damage was met.
    assert in_pieces == found or not isinstance(found, tuple)
    strictly = whole_body(sent)
    if isinstance(found, tuple) and found[1] and strictly is not None:
        assert found[0] == strictly


ROUGH = st.lists(
    st.sampled_from([*PARTS, "%", "%0", "%00", "%zz", "#", "?", "\\", "a" * 300, "%2e%2e"]),
    max_size=12,
).map(lambda parts: "/" + "".join(parts))


@fuzz(400)
@given(ROUGH)
def test_paths(path: str) -> None:
    """The engine and RFC 3986 step by step agree, or the engine refuses."""
    found, probe = read(False, [f"GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode()])
    assume(isinstance(found, int))
    written = probe.write_request(client=b"192.0.2.1", server=b"proxy")
    assert written is not None
    target = read_head(written, REQUEST_LINE).target
    asked, _, query = path.partition("?")
    assert target == forwarded(asked) + ("?" + query if query else "")


TEXTS = ["a.test", "{x:[a-z]+}.test", "/a", "/b/{x:[0-9]+}", "/a/{x}", "GET", "^1|2$", "*.test"]
RULE_NOISE = [
    *"{}[]()|:,;=^$*+?/ .",
    "\\",
    "\0",
    "é",
    "{x:",
    "(?i)",
    "\\C",
    "a{99}",
    "Host:",
    "Path:",
]


@st.composite
def damaged(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(RULE_NOISE)) + text[at + draw(st.integers(0, 3)) :]
    return text


several = st.lists(damaged(), min_size=1, max_size=2).map(tuple)
pairs = st.lists(st.tuples(damaged(), damaged()), min_size=1, max_size=2).map(tuple)
ANY_TEXT = (
    *(rules.Host, rules.HostWildcard, rules.HostRegexp, rules.Method),
    *(rules.Path, rules.PathPrefix, rules.PathExact, rules.PathElements),
)
matchers = st.one_of(
    *(st.builds(kind, several) for kind in ANY_TEXT),
    *(st.builds(kind, pairs) for kind in (rules.Headers, rules.HeadersRegexp, rules.Query)),
)
demands = st.lists(matchers, max_size=3).map(tuple)


@fuzz(200)
@given(st.lists(demands, min_size=1, max_size=4), st.text("ab/.test{}%", max_size=12))
def test_rules(routes: list[tuple[rules.Matcher, ...]], path: str) -> None:
    """Whatever text a matcher holds: the table is whole, and a request is answered."""
    entries = [MatchEntry(n, 0, demanded, 1, f"r{n}") for n, demanded in enumerate(routes)]
    section = build_matcher(entries)
    assert check(section)
    for host in ("a.test", "", "x" * 300):
        found = match(section, 0, host, "/" + path, headers=[("X-A", "1")], query="k=v")
        assert found is None or 0 <= found[0] < len(routes)


EXAMPLES: tuple[rules.Matcher, ...] = (
    rules.Host(("a.test", "b.test")),
    rules.HostRegexp(("{x:[a-z]+}.test",)),
    rules.PathPrefix(("/a", "/b/{x:[0-9]+}")),
    rules.Path(("/a/{x}",)),
    rules.Method(("GET", "POST")),
    rules.Headers((("X-A", "1"),)),
    rules.HeadersRegexp((("X-A", "^1|2$"),)),
    rules.Query((("k", "v"), ("l", "w"))),
)
SECTION = bytearray(
    build_matcher(
        [MatchEntry(index, 0, (matcher,), 1, f"r{index}") for index, matcher in enumerate(EXAMPLES)]
    )
)


@fuzz(300)
@given(st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_tables(changes: list[tuple[int, int]]) -> None:
    """A worker asks `check` before it maps a table: what passes is never read outside of it."""
    section = bytearray(SECTION)
    for place, value in changes:
        section[place % len(section)] = value
    if not check(section):
        with pytest.raises(ValueError, match="damaged"):
            match(section, 0, "a.test", "/a")
        return
    for host, path in (("a.test", "/a/x"), ("z.test", "/b/12"), ("", "/")):
        match(section, 0, host, path, headers=[("X-A", "1")], query="k=v")
