from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fastproxy.system.channel import Channel, channel_pair, close_all, read_memory, sealed_memory


def test_messages_with_descriptors() -> None:
    first, second = channel_pair()
    memory = sealed_memory("test", b"content")
    first.send("hello", [memory, memory], number=3, text="ä")
    os.close(memory)
    message = second.receive()
    assert message is not None
    assert (message.kind, message.values) == ("hello", {"number": 3, "text": "ä"})
    assert [read_memory(d) for d in message.descriptors] == [b"content", b"content"]
    assert not any(os.get_inheritable(d) for d in message.descriptors)
    close_all(message.descriptors)
    first.close()
    assert second.receive() is None
    with pytest.raises(BrokenPipeError):
        second.send("too late")
    second.close()


def test_a_full_channel_does_not_block() -> None:
    first, second = channel_pair()
    first.set_timeout(0)
    with pytest.raises(BlockingIOError):
        for _ in range(100_000):
            first.send("more", text="x" * 1000)
    first.close()
    second.close()


def test_sealed_memory_cannot_be_changed() -> None:
    memory = sealed_memory("test", b"x" * 100)
    for change in (
        lambda: os.pwrite(memory, b"y", 0),
        lambda: os.ftruncate(memory, 0),
        lambda: os.ftruncate(memory, 200),
    ):
        with pytest.raises(PermissionError):
            change()
    assert read_memory(memory) == b"x" * 100
    os.close(memory)


def test_a_message_that_was_cut_off_is_an_error() -> None:
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    first.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    first.send(b"x" * 100_000)
    with pytest.raises(OSError, match="cut off"):
        Channel(second).receive()
    first.close()
    second.close()


@pytest.mark.parametrize(
    "data", [b"{", b"null", b"[]", b'"x"', b"{}", b"\xff\xfe", b'{"kind"'], ids=repr
)
def test_a_message_that_is_nonsense_is_an_error(data: bytes) -> None:
    """The parent ends the child it came from, and starts another one."""
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with first, second, Path(os.devnull).open() as file:
        before = len(list(Path("/proc/self/fd").iterdir()))
        socket.send_fds(first, [data], [file.fileno()])
        with pytest.raises(OSError, match="cannot be read"):
            Channel(second).receive()
        assert len(list(Path("/proc/self/fd").iterdir())) == before


@contextmanager
def full_table(leaving: int) -> Iterator[None]:
    """Room for so many descriptors of this process and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(0)]
    try:
        top = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (top + 50, hard))
        with suppress(OSError):
            while True:
                taken.append(os.dup(taken[0]))
        for _ in range(leaving):
            os.close(taken.pop())
        yield
    finally:
        close_all(taken)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(("leaving", "cut"), [(0, True), (2, True), (3, False)])
def test_a_message_for_which_there_is_no_room(leaving: int, cut: bool) -> None:
    """What it says arrives, and that its descriptors did not; none of them stays open."""
    first, second = channel_pair()
    memory = sealed_memory("test", b"content")
    first.send("hello", [memory] * 3, number=3)
    with full_table(leaving):
        message = second.receive()
        assert message is not None
        assert (message.kind, message.values, message.cut) == ("hello", {"number": 3}, cut)
        assert len(message.descriptors) == (0 if cut else 3)
        close_all(message.descriptors)
        free = [os.dup(0) for _ in range(leaving)]
    close_all(free)
    os.close(memory)
    first.close()
    second.close()


def test_room_that_is_kept_for_messages() -> None:
    first, second = channel_pair()
    second.keep_room(8)
    memory = sealed_memory("test", b"content")
    with full_table(0):
        for _ in range(3):
            first.send("hello", [memory] * 8)
            message = second.receive()
            assert message is not None
            assert [read_memory(d) for d in message.descriptors] == [b"content"] * 8
            assert not second.hold_room()  # they are still open
            close_all(message.descriptors)
            assert second.hold_room()
            with pytest.raises(OSError, match="Too many open files"):
                os.dup(0)
    second.close()
    first.close()
    os.close(memory)
