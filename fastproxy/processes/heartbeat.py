"""Whether the children still turn: each counts in shared memory, the parent looks twice a second.

A child may hang instead of die: stopped by a signal, in an endless loop, in a call that does not
return. Its listening sockets then keep a share of all new connections. So a worker's engine counts
each of its ticks (ten a second, in C, without the interpreter), the controller each turn of its
loop, and who counts no more is killed and replaced with the same sockets.

Silence alone proves nothing. What counts against a child is only the time in which it could have
turned, by the parent's own looks:

* The parent was stopped, or the whole machine was: however long that took, it is one look.
* The child waits for a processor: it is runnable, and only processor time that it used counts.
* It waits for memory to come back from the disk: counts a quarter.
* A debugger holds it: never.
* It said that it is about something long (a large generation): it has `BUSY` seconds.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from fastproxy.counters import region

LOOK = 0.5  # seconds between two looks
SILENT = 2.5  # seconds after which a worker hangs
BUSY = 30.0  # seconds after which one that is about something long does
CONTROLLER = 120.0  # seconds; it waits for workers that prepare a generation
CONTROLLER_NUMBER = -1
_WORDS = struct.Struct("=QQ")  # ticks so far, whether it is about something long
_TICKS = os.sysconf("SC_CLK_TCK")


class Child(Protocol):
    @property
    def number(self) -> int: ...  # of a worker, or -1
    @property
    def pid(self) -> int: ...  # 0: it does not run


def _place(number: int) -> int:
    return region.beats_of(number if number >= 0 else region.NO_WORKER)


class Pulse:
    """The child's side."""

    def __init__(self, shared: int, number: int) -> None:
        """`shared` is the region's descriptor; a negative one makes nobody listen."""
        self._shared = shared
        self._place = _place(number)
        self._count = 0

    def beat(self) -> None:
        """Count a turn; for the controller, since the engine of a worker does so by itself."""
        self._count += 1
        self._write(self._place, self._count)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """While something long is done, which the parent should wait for."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def begin(self) -> None:
        self._write(self._place + 8, 1)

    def end(self) -> None:
        self._write(self._place + 8, 0)

    def _write(self, place: int, value: int) -> None:
        if self._shared >= 0:
            os.pwrite(self._shared, struct.pack("=Q", value), place)


class Process(NamedTuple):
    """The main thread of a process."""

    state: str  # a letter, see proc(5)
    used: float  # seconds of processor time


def process_of(pid: int) -> Process | None:
    """None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name may hold anything
    return Process(fields[0], (int(fields[11]) + int(fields[12])) / _TICKS)


def is_traced(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "TracerPid:\t" in status and "TracerPid:\t0\n" not in status


def counted(state: str, elapsed: float, used: float) -> float:
    """Seconds of a silent look that count, of those that went by and those of processor time."""
    if state in "tXZ":  # held by a debugger; dead already
        return 0.0
    if state == "R":
        return min(used, elapsed)
    return elapsed / 4 if state == "D" else elapsed


@dataclass(slots=True)
class _Seen:
    pid: int
    beats: int = 0
    used: float | None = None
    silent: float = 0.0
    stopped: float = 0.0
    told: bool = False


class Heartbeats:
    """The parent's side."""

    def __init__(self, shared: int) -> None:
        self._shared = shared
        self._seen: dict[int, _Seen] = {}

    def forget(self, number: int) -> None:
        """Before a child of this number is started."""
        self._seen.pop(number, None)
        os.pwrite(self._shared, bytes(_WORDS.size), _place(number))

    def hanging(self, children: Iterable[Child], elapsed: float) -> Iterator[tuple[int, str]]:
        """Give the numbers of those that hang, and how; `elapsed` seconds after the last look."""
        elapsed = min(elapsed, 2 * LOOK)
        for child in children:
            how = self._look(child, elapsed) if child.pid else ""
            if how:
                yield child.number, how

    def _look(self, child: Child, elapsed: float) -> str:
        seen = self._seen.get(child.number)
        if seen is None or seen.pid != child.pid:
            seen = self._seen[child.number] = _Seen(child.pid)
        data = os.pread(self._shared, _WORDS.size, _place(child.number))
        beats, busy = _WORDS.unpack(data)
        if beats != seen.beats:
            self._seen[child.number] = _Seen(child.pid, beats)
            return ""
        process = process_of(child.pid)
        if process is None or seen.told:
            return ""
        used = process.used - seen.used if seen.used is not None else 0.0
        seen.used = process.used
        seen.silent += counted(process.state, elapsed, used)
        seen.stopped += elapsed if process.state == "T" else 0.0
        how = self._how(child, seen, busy != 0)
        if how and is_traced(child.pid):
            return ""
        seen.told = bool(how)
        return how

    def _how(self, child: Child, seen: _Seen, busy: bool) -> str:
        if seen.stopped >= SILENT:
            return f"it has been stopped for {seen.stopped:g} s"
        limit = BUSY if busy else SILENT
        if child.number == CONTROLLER_NUMBER:
            limit = CONTROLLER
        # Who never counted has not begun, or has nothing that turns (tests).
        if seen.beats and seen.silent >= limit:
            return f"it has not turned for {seen.silent:.1f} s"
        return ""
