"""Who hangs is found; who is only late, held or far from a processor is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fastproxy.counters import region
from fastproxy.processes import heartbeat
from fastproxy.processes.heartbeat import (
    BUSY,
    CONTROLLER,
    LOOK,
    SILENT,
    Heartbeats,
    Process,
    Pulse,
    counted,
    process_of,
)
from tests.support.processes import wait_until


@dataclass
class Child:
    number: int
    pid: int


@pytest.fixture
def shared() -> Iterator[int]:
    descriptor = region.create_region()
    yield descriptor
    os.close(descriptor)


# state of the process, seconds gone by and used -> seconds that count
COUNTED = [
    ("S", 0.5, 0.0, 0.5),
    ("T", 0.5, 0.0, 0.5),
    ("R", 0.5, 0.5, 0.5),
    ("R", 0.5, 0.1, 0.1),
    ("R", 0.5, 0.0, 0.0),  # it waits for a processor
    ("R", 0.5, 9.0, 0.5),
    ("D", 0.4, 0.0, 0.1),
    ("t", 0.5, 0.0, 0.0),
    ("Z", 0.5, 0.0, 0.0),
]


@pytest.mark.parametrize(("state", "elapsed", "used", "seconds"), COUNTED)
def test_what_counts(state: str, elapsed: float, used: float, seconds: float) -> None:
    assert counted(state, elapsed, used) == seconds


class Watched:
    """A child whose process is what the test says."""

    def __init__(self, shared: int, monkeypatch: pytest.MonkeyPatch, number: int = 0) -> None:
        self.child = Child(number, os.getpid())
        self.pulse = Pulse(shared, number)
        self.heartbeats = Heartbeats(shared)
        self.heartbeats.forget(number)
        self.process = Process("S", 0.0)
        self.traced = False
        monkeypatch.setattr(heartbeat, "process_of", lambda pid: self.process)
        monkeypatch.setattr(heartbeat, "is_traced", lambda pid: self.traced)

    def look(self, elapsed: float = LOOK) -> list[str]:
        return [how for _, how in self.heartbeats.hanging([self.child], elapsed)]

    def looks_until_found(self, most: int = 1000) -> int:
        for count in range(1, most + 1):
            if self.look():
                return count
        return 0


@pytest.fixture
def watched(shared: int, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(shared, monkeypatch)


LOOKS = int(SILENT / LOOK)


def test_one_that_counts_is_left_alone(watched: Watched) -> None:
    for _ in range(5 * LOOKS):
        watched.pulse.beat()
        assert watched.look() == []


def test_one_that_counts_no_more_is_found_once(watched: Watched) -> None:
    watched.pulse.beat()
    assert watched.look() == []
    assert watched.looks_until_found() == LOOKS
    assert watched.looks_until_found(20) == 0


def test_a_single_late_tick_starts_over(watched: Watched) -> None:
    for _ in range(5):
        watched.pulse.beat()
        assert watched.looks_until_found(LOOKS) == 0


def test_a_parent_that_was_stopped_finds_nobody(watched: Watched) -> None:
    watched.pulse.beat()
    watched.look()
    assert watched.look(3600.0) == []  # the children have had no time yet to turn again
    watched.pulse.beat()
    assert watched.look() == []


def test_one_without_a_processor_is_left_alone(watched: Watched) -> None:
    watched.pulse.beat()
    watched.process = Process("R", 0.0)
    assert watched.looks_until_found(100) == 0


def test_one_that_loops_is_found_by_what_it_uses(watched: Watched) -> None:
    watched.pulse.beat()
    watched.look()
    found = 0
    for number in range(1, 100):
        watched.process = Process("R", number * LOOK / 2)  # it has half a processor
        if watched.look():
            found = number
            break
    assert 2 * LOOKS <= found <= 2 * LOOKS + 2


def test_one_that_a_debugger_holds_is_left_alone(watched: Watched) -> None:
    watched.pulse.beat()
    watched.traced = True
    assert watched.looks_until_found(100) == 0
    watched.traced = False
    assert watched.looks_until_found(1) == 1


def test_one_that_is_about_something_long_has_longer(watched: Watched) -> None:
    watched.pulse.beat()
    watched.pulse.begin()
    watched.look()
    assert watched.looks_until_found() == int(BUSY / LOOK)


def test_stopped_is_stopped_whatever_it_was_about(watched: Watched) -> None:
    watched.process = Process("T", 0.0)
    watched.pulse.begin()  # and before it first counted
    assert watched.looks_until_found() == LOOKS


def test_one_that_never_counted_is_left_to_other_deadlines(watched: Watched) -> None:
    assert watched.looks_until_found(100) == 0


def test_the_controller_has_longer(shared: int, monkeypatch: pytest.MonkeyPatch) -> None:
    controller = Watched(shared, monkeypatch, heartbeat.CONTROLLER_NUMBER)
    controller.pulse.beat()
    controller.look()
    assert controller.looks_until_found() == int(CONTROLLER / LOOK)


def test_a_successor_begins_anew(watched: Watched) -> None:
    watched.pulse.beat()
    watched.look()
    assert watched.looks_until_found(LOOKS - 1) == 0
    watched.heartbeats.forget(0)
    watched.child.pid += 1
    assert watched.looks_until_found(LOOKS) == 0  # it has not counted yet


def test_the_words_of_children_are_apart(shared: int) -> None:
    numbers = [heartbeat.CONTROLLER_NUMBER, 0, 1, region.MAXIMUM_WORKERS - 1]
    places = {heartbeat._place(number) for number in numbers}
    assert len(places) == len(numbers)
    for number in numbers:
        with Pulse(shared, number).busy():
            others = [n for n in numbers if n != number]
            assert all(os.pread(shared, 16, heartbeat._place(n)) == bytes(16) for n in others)


def test_real_states() -> None:
    code = "import sys; print(flush=True)\nwhile sys.argv[1:]: pass\ninput()"
    with (
        subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as waits,
        subprocess.Popen([sys.executable, "-c", code, "loop"], stdout=-1) as loops,
    ):
        try:
            assert waits.stdout is not None and loops.stdout is not None
            waits.stdout.read(1), loops.stdout.read(1)

            def state(process: subprocess.Popen[bytes]) -> str:
                found = process_of(process.pid)
                return found.state if found is not None else ""

            wait_until(lambda: state(waits) == "S", "it waits")
            wait_until(lambda: state(loops) == "R", "it runs")
            before = process_of(loops.pid)
            time.sleep(0.3)
            after = process_of(loops.pid)
            assert before is not None and after is not None and after.used > before.used
            os.kill(waits.pid, signal.SIGSTOP)
            wait_until(lambda: state(waits) == "T", "it is stopped")
            assert not heartbeat.is_traced(waits.pid)
        finally:
            waits.kill()
            loops.kill()
    assert process_of(waits.pid) is None
