"""The writer of the access log over real files and pipes: whole lines, whatever the output does."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy.observer.writer import Writer
from fastproxy.system.ring import SharedRing, create_ring
from tests.support.processes import wait_until

PIPE_BUF = 4096


class Running:
    def __init__(self, rings: int = 2, size: int = 1 << 16) -> None:
        self.descriptors = [create_ring(size) for _ in range(rings)]
        self.wake = os.eventfd(0)
        self.rings = [SharedRing(descriptor, self.wake) for descriptor in self.descriptors]
        self.writer = Writer(self.descriptors, self.wake, "the access log x")
        self.thread = threading.Thread(target=self.writer.run, daemon=True)

    def start(self, output: int) -> None:
        self.writer.set_output(output)
        self.thread.start()

    def end(self) -> None:
        self.writer.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def running(**given: int) -> Iterator[Running]:
    made = Running(**given)
    yield made
    for descriptor in (*made.descriptors, made.wake):
        os.close(descriptor)


def opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def line(number: int, size: int = 100) -> bytes:
    return b"%08d" % number + b"x" * (size - 9) + b"\n"


def test_lines_are_written_within_milliseconds(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with running() as it:
        it.start(opened(file))
        for number in range(20):
            time.sleep(0.01)
            it.rings[number % 2].put(line(number))
            wait_until(lambda number=number: len(file.read_bytes()) == 100 * (number + 1), "it", 1)
        it.end()
        assert it.rings[0].counts["written"] == 10


def test_the_order_of_each_ring_holds(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with running() as it:
        it.start(opened(file))
        put = [0, 0]
        for number in range(20_000):
            while not it.rings[number % 2].put(line(number)):
                time.sleep(0.001)
            put[number % 2] += 1
        it.end()
        numbers = [int(text[:8]) for text in file.read_bytes().splitlines()]
        assert len(numbers) == 20_000
        for odd in (0, 1):
            own = [number for number in numbers if number % 2 == odd]
            assert own == sorted(own)


def test_rotation_loses_and_tears_nothing(tmp_path: Path) -> None:
    with running() as it:
        it.start(opened(tmp_path / "0"))
        for number in range(3000):
            while not it.rings[0].put(line(number)):
                time.sleep(0.001)
            if number % 300 == 299:
                it.writer.set_output(opened(tmp_path / str(number)))
        it.end()
        data = b"".join(
            path.read_bytes() for path in sorted(tmp_path.iterdir(), key=lambda p: int(p.name))
        )
        assert data == b"".join(map(line, range(3000)))


def test_a_pipe_gets_whole_lines_and_never_blocks_the_thread() -> None:
    """Others write to the same pipe; a reader which is slow makes the ring the backlog."""
    reader, writer = os.pipe()
    with running(rings=1) as it:
        it.start(os.dup(writer))
        for number in range(1000):
            assert it.rings[0].put(line(number))
            time.sleep(0.2 if number == 600 else 0)
        time.sleep(0.2)
        assert it.rings[0].counts["waiting"] > 0
        assert not it.rings[0].put(b"y" * (1 << 16))
        data = b""
        while data.count(b"\n") < 1000:
            data += os.read(reader, 1 << 16)
        assert data == b"".join(map(line, range(1000)))
        it.end()
    os.close(reader)
    os.close(writer)


def test_pieces_for_a_pipe_are_atomic() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with running(rings=1) as it:
        it.rings[0].put(b"".join(line(number) for number in range(100)))
        filling = b"z" * (65536 - PIPE_BUF)
        os.write(writer, filling)
        it.start(os.dup(writer))
        time.sleep(0.3)
        data = os.read(reader, 1 << 17)[len(filling) :]
        assert data == b"".join(map(line, range(40)))  # the largest number of lines in PIPE_BUF
        wait_until(lambda: it.rings[0].counts["waiting"] == 0, "the rest", 2)
        it.end()
    os.close(reader)
    os.close(writer)


def test_what_a_failing_output_does_not_take_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """/dev/full fails as a full disk does. Told once when it begins and once when it ends."""
    caplog.set_level(logging.INFO)
    file = tmp_path / "log"
    with running(rings=1) as it:
        it.start(os.open("/dev/full", os.O_WRONLY))
        it.rings[0].put(line(1))
        wait_until(lambda: "cannot be written" in caplog.text, "the failure", 2)
        it.rings[0].put(line(2))
        time.sleep(1.2)
        assert caplog.text.count("cannot be written (No space left on device)") == 1
        it.writer.set_output(opened(file))
        wait_until(lambda: file.read_bytes() == line(1) + line(2), "both lines", 3)
        wait_until(lambda: caplog.text.count("is written again") == 1, "the end of it", 2)
        it.end()


def test_a_reader_that_has_gone_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with running(rings=1) as it:
        it.start(writer)
        it.rings[0].put(line(1))
        wait_until(lambda: "Broken pipe" in caplog.text, "the failure", 2)
        it.end()


def test_an_end_writes_what_is_left(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with running(rings=1, size=1 << 20) as it:
        for number in range(9000):
            it.rings[0].put(line(number))
        it.start(opened(file))
        it.end()
        assert file.read_bytes() == b"".join(map(line, range(9000)))
