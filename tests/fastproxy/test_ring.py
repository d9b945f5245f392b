"""The ring between workers and observer, beside a queue; and what a killed producer leaves."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.system.ring import SharedRing, create_ring

PAGE = 4096
steps = st.lists(st.one_of(st.binary(min_size=1, max_size=3000), st.none()), max_size=40)


@given(steps)
def test_what_is_put_is_taken_in_order(steps: list[bytes | None]) -> None:
    """`None` takes. What has no room is lost whole, and counted."""
    descriptor = create_ring(PAGE)
    producer, consumer = SharedRing(descriptor), SharedRing(descriptor)
    os.close(descriptor)
    waiting, lost = b"", 0
    for step in steps:
        if step is None:
            assert consumer.take() == waiting
            waiting = b""
            continue
        fits = len(waiting) + len(step) <= PAGE
        assert producer.put(step) is fits
        waiting += step if fits else b""
        lost += not fits
    assert consumer.take() == waiting
    assert producer.counts["lost"] == lost
    assert producer.counts["lines"] == sum(step is not None for step in steps) - lost


def test_a_killed_producer_leaves_whole_pieces() -> None:
    descriptor = create_ring(1 << 20)
    for _ in range(5):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            ring = SharedRing(descriptor)
            os.write(writer, b"x")
            while True:
                ring.put(b"a" * 99 + b"\n")
        os.read(reader, 1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
    ring = SharedRing(descriptor)
    os.close(descriptor)
    data = ring.take()
    assert data == (b"a" * 99 + b"\n") * (len(data) // 100)


def test_no_ring() -> None:
    descriptor = os.memfd_create("x")
    with pytest.raises(OSError, match="cannot map"):
        SharedRing(descriptor)
    os.close(descriptor)
