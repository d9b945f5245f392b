"""Heads that wait: saved, edited, saved again, copied; never a byte of what they were read from.

A head that was saved at any points between its edits is written as one that never was. The probe
overwrites the read buffer and the scratch memory after each save, so a pointer left behind shows.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.native.parts_probe import SavedProbe

HEAD = (
    b"POST /a%2fb/../c/./d?q=1&r=%20 HTTP/1.1\r\nHost: Shop.Example:8080\r\nX-One: 1\r\n"
    b"X-Two: two\r\nX-One: again\r\nX-Empty:\r\nCookie: a=b\r\nContent-Length: 3\r\n\r\n"
)
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, X-One\r\nUpgrade: foo\r\n"
    b"X-One: 1\r\n\r\n"
)
ABSOLUTE = b"GET http://a.test/x/%41?y HTTP/1.1\r\nHost: a.test\r\n\r\n"
WIDE = b"GET / HTTP/1.1\r\nHost: a.test\r\n" + b"".join(
    b"X-%d: %b\r\n" % (i, b"v" * i) for i in range(100)
)
HEADS = [HEAD, UPGRADE, ABSOLUTE, WIDE + b"\r\n"]

Step = tuple[str, bytes, bytes]
NAMES = st.sampled_from([b"X-One", b"x-two", b"X-New", b"Cookie", b"X-Replaced-Path"])
PATHS = st.sampled_from([b"/", b"/new/path", b"/" + b"p" * 500])
STEPS = st.one_of(
    st.tuples(st.just("edit"), NAMES, st.binary(max_size=40).map(lambda b: b.hex().encode())),
    st.tuples(st.just("path"), PATHS, st.just(b"")),
    st.just(("save", b"", b"")),
)  # fmt: skip


def follow(probe: SavedProbe, steps: Sequence[Step], saving: bool) -> None:
    for what, one, other in steps:
        if what == "edit":
            probe.edit(one, other)
        elif what == "path":
            probe.set_path(one)
        elif saving:
            probe.save()


@given(st.sampled_from(HEADS), st.lists(STEPS, max_size=8))
@settings(deadline=None)
def test_saving_changes_nothing(head: bytes, steps: list[Step]) -> None:
    straight, saved = SavedProbe(head), SavedProbe(head)
    follow(straight, steps, False)
    follow(saved, steps, True)
    assert saved.write() == straight.write()
    assert straight.write() is not None


def test_edited_twice_between_three_waits() -> None:
    probe = SavedProbe(HEAD)
    probe.edit(b"X-One", b"first")
    probe.save(b"abc")
    probe.edit(b"X-Two", b"second")
    probe.set_path(b"/second")
    probe.save()
    probe.edit(b"X-One", b"third")
    probe.save()
    written = probe.write()
    assert written is not None
    lines = written.split(b"\r\n")
    assert lines[0] == b"POST /second?q=1&r=%20 HTTP/1.1"
    assert [line for line in lines if line.lower().startswith((b"x-one", b"x-two"))] == [
        b"X-Two: second",
        b"X-One: third",
    ]
    assert b"Host: Shop.Example:8080" in lines
    assert probe.body == b"abc"


@pytest.mark.parametrize("size", [0, 1, 15_000])
def test_the_first_piece_of_the_body_comes_along(size: int) -> None:
    probe = SavedProbe(HEAD)
    body = bytes(range(256)) * (size // 256 + 1)
    probe.save(body[:size])
    probe.save()
    assert probe.body == body[:size]


def test_as_many_values_as_scratch_memory_holds() -> None:
    probe, straight = SavedProbe(HEAD), SavedProbe(HEAD)
    for made in (probe, straight):
        for number in range(100):
            made.edit(b"X-%d" % number, b"v" * 150)
    probe.save()
    probe.save()
    assert probe.write() == straight.write()
