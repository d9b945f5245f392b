from __future__ import annotations

import os
import socket

import pytest

from fastproxy.channel import Channel, channel_pair, close_all, read_memory, sealed_memory


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
