"""RE2 by its symbols: what it finds is what google-re2's own classes find."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.engine.operations.re2 import Regex

FOUND = [
    (b"b+(c)?", b"abbd", 0, 2, [(1, 3), (-1, -1)]),
    (b"b+(c)?", b"abbd", 2, 2, [(2, 3), (-1, -1)]),
    (b"", b"", 0, 1, [(0, 0)]),
    (b"^b", b"ab", 1, 1, None),
    (b"\\bb", b"ab", 1, 1, None),
    (b"$", b"ab\n", 0, 1, [(3, 3)]),
    (b"a", b"b", 0, 0, None),
    (b"a", b"a", 0, 0, []),
    (b"a", b"a", 2, 1, None),
    ("é".encode(), "né".encode(), 0, 1, [(1, 3)]),
    (b".", b"\xff", 0, 1, None),
]


@pytest.mark.parametrize(("pattern", "text", "start", "groups", "spans"), FOUND)
def test_searching(pattern, text, start, groups, spans):
    assert Regex(pattern).search(text, start, groups) == spans


@pytest.mark.parametrize("pattern", [b"(", b"(?=a)", b"\xff", b"a{1001}", b"((a{100}){100}){100}"])
def test_what_re2_refuses(pattern):
    with pytest.raises(ValueError, match="RE2"):
        Regex(pattern)


@pytest.mark.parametrize("groups", [-1, 514])
def test_no_more_groups_than_a_pattern_can_have(groups):
    with pytest.raises(ValueError, match="groups"):
        Regex(b"a").search(b"a", 0, groups)


patterns = st.lists(
    st.sampled_from(["a", "b", "(", ")", "|", "*", "^", "$", ".", "(?i)", "[^a]", "\\b", "?"]),
    max_size=8,
).map("".join)


@given(patterns, st.text("abAB/é\n", max_size=12), st.integers(0, 4))
def test_the_classes_of_google_re2_find_the_same(pattern, text, start):
    options = re2.Options()
    options.log_errors = False
    try:
        theirs = re2.compile(pattern.encode(), options)
    except re2.error:
        with pytest.raises(ValueError):
            Regex(pattern.encode())
        return
    data = text.encode()
    groups = theirs.groups + 1
    found = Regex(pattern.encode()).search(data, start, groups)
    match = theirs.search(data, start) if start <= len(data) else None
    assert found == (None if match is None else [match.span(i) for i in range(groups)])
