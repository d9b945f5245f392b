from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastproxy.system.children import CRASHED, BackOff, spawn
from tests.support.processes import wait_until


def test_back_off() -> None:
    """The first restart is immediate; who keeps dying waits longer; who has lived starts anew."""
    back_off = BackOff(first=0.1, largest=0.5, calm=1.0)
    delays = []
    now = 0.0
    for life in (0.2, 0.2, 0.2, 0.2, 0.2, 5.0, 0.2):
        back_off.started(now)
        now += life
        delays.append(back_off.delay(now))
        now += delays[-1]
    assert delays == [0.0, 0.1, 0.2, 0.4, 0.5, 0.0, 0.1]


def crash() -> None:
    raise RuntimeError("a bug")


CODES: list[tuple[Callable[[], object], int]] = [
    (lambda: None, 0),
    (lambda: sys.exit(3), 3),
    (lambda: sys.exit(), 0),
    (lambda: sys.exit("text"), 1),
    (crash, CRASHED),
    (lambda: os.kill(os.getpid(), signal.SIGTERM), -signal.SIGTERM),
    (lambda: os.kill(os.getpid(), signal.SIGHUP), 0),
    (lambda: os.kill(os.getpid(), signal.SIGUSR1), 0),
]


@pytest.mark.parametrize(("main", "code"), CODES)
def test_exit_codes(main: Callable[[], None], code: int) -> None:
    _, status = os.waitpid(spawn(main, ()), 0)
    assert os.waitstatus_to_exitcode(status) == code


def test_only_the_given_descriptors_stay_open(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    other, another = os.pipe()

    def main() -> None:
        entries = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
        found = sorted(
            int(entry.name)
            for entry in entries
            if int(entry.name) > 2
            and Path(f"/proc/self/fd/{entry.name}").exists()
            # the parent, for whose end the child waits
            and str(entry.readlink()) != "anon_inode:[pidfd]"
        )
        os.write(writer, repr(found).encode())

    os.waitpid(spawn(main, [writer]), 0)
    assert os.read(reader, 1000).decode() == repr([writer])
    for descriptor in (reader, writer, other, another):
        os.close(descriptor)


def in_python() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    while True:
        pass


def in_c() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    while True:
        ctypes.PyDLL(None).sleep(1000)  # which keeps the interpreter


@pytest.mark.parametrize("main", [signal.pause, in_python, in_c])
def test_a_child_ends_with_its_parent(main: Callable[[], None]) -> None:
    """Also one that hangs, and so cannot do what SIGTERM asks."""
    reader, writer = os.pipe()

    def parent() -> None:
        os.write(writer, str(spawn(main, [writer], to_leave=1)).encode())
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(spawn(parent, [writer]), 0)
    os.close(writer)
    child = int(os.read(reader, 100))
    # The write end is closed in every process once the grandchild has gone.
    assert os.read(reader, 1) == b""
    os.close(reader)
    wait_until(lambda: not Path(f"/proc/{child}").exists() or _is_zombie(child), "its end")


def _is_zombie(pid: int) -> bool:
    return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
