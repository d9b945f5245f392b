"""Output queues: what comes out is what went in, whatever the sizes, compared with plain bytes."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.native.parts_probe import QueueProbe

# Around what decides: the smallest chunk (4,064 bytes), nothing, one byte.
SIZES = st.one_of(
    st.integers(0, 3), st.sampled_from([4063, 4064, 4065, 8128, 70_000]), st.integers(0, 9000)
)


def data(size: int, start: int) -> bytes:
    """Bytes that tell where they stood."""
    return bytes((start + i) % 251 for i in range(size))


class Queues(RuleBasedStateMachine):
    """Every order of appending and consuming."""

    def __init__(self) -> None:
        super().__init__()
        self.queue, self.twin, self.written = QueueProbe(), b"", 0

    def fresh(self, size: int) -> bytes:
        made = data(size, self.written)
        self.written += size
        return made

    @rule(size=SIZES)
    def append(self, size: int) -> None:
        piece = self.fresh(size)
        self.queue.append(piece)
        self.twin += piece

    @rule(sizes=st.lists(SIZES, max_size=8), share=st.floats(0, 1))
    def append_rest(self, sizes: list[int], share: float) -> None:
        pieces = [self.fresh(size) for size in sizes]
        skip = int(share * sum(sizes))
        self.queue.append_rest(pieces, skip)
        self.twin += b"".join(pieces)[skip:]

    @rule(share=st.floats(0, 1))
    def consume(self, share: float) -> None:
        size = int(share * len(self.twin))
        self.queue.consume(size)
        self.twin = self.twin[size:]

    @rule()
    def clear(self) -> None:
        self.queue.clear()
        self.twin = b""

    @invariant()
    def same(self) -> None:
        assert self.queue.size == len(self.twin)
        pieces = self.queue.vector(64)
        joined = b"".join(pieces)
        assert joined == self.twin if len(pieces) < 64 else self.twin.startswith(joined)
        assert self.queue.vector(1) == pieces[:1]


TestQueues = Queues.TestCase
TestQueues.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def pair(buffer: int) -> tuple[socket.socket, socket.socket]:
    """Ours, which does not block and takes little, and theirs."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    ours.setblocking(False)
    return ours, theirs


@given(st.lists(st.integers(1, 6000), min_size=1, max_size=120), st.integers(1, 9000))
@settings(max_examples=30, deadline=None)
def test_partial_writes_of_many_pieces(sizes: list[int], read: int) -> None:
    """More pieces than one write takes, through a socket that takes a few KiB at a time."""
    ours, theirs = pair(4096)
    with ours, theirs:
        queue, sent, received = QueueProbe(), b"", b""
        for size in sizes:
            sent += (piece := data(size, len(sent)))
            queue.append(piece)
        while len(received) < len(sent):
            while queue.size and queue.write(ours.fileno()) is not None:
                pass
            received += theirs.recv(read)
        assert queue.size == 0 and received == sent


def test_appending_while_the_first_chunk_is_half_written() -> None:
    ours, theirs = pair(4096)
    with ours, theirs:
        queue, sent, received, full = QueueProbe(), b"", b"", 0
        for number in range(200):
            queue.append(piece := data(777, number))
            sent += piece
            if queue.write(ours.fileno()) is None:
                full += 1
                received += theirs.recv(1000)
        ours.setblocking(True)
        while queue.size:
            received += theirs.recv(100_000)
            queue.write(ours.fileno())
        ours.close()
        while part := theirs.recv(100_000):
            received += part
    assert full and received == sent


def test_the_peer_has_gone() -> None:
    ours, theirs = pair(4096)
    with ours:
        theirs.close()
        queue = QueueProbe()
        queue.append(b"lost")
        with pytest.raises(ConnectionError):
            queue.write(ours.fileno())
        assert queue.size == 4
