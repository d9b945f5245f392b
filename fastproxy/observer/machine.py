"""What the processes of one fastproxy take from the machine, from proc(5)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_START, _PARENT, _USER, _SYSTEM = 19, 1, 11, 12  # fields of stat behind the name


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def family(parent: int) -> Iterator[int]:
    """The parent and its children."""
    yield parent
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                if int(_stat(int(entry.name))[_PARENT]) == parent:
                    yield int(entry.name)


def _started(pid: int) -> float:
    """Unix seconds."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1]) + int(_stat(pid)[_START]) / _TICKS
    return 0.0


def _resident(pid: int) -> int:
    """Bytes, pages that several processes have in proportion."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def facts(parent: int) -> Iterator[tuple[str, str, str, float]]:
    """Name, type, help and value of the metrics `process_*`, summed over all processes."""
    seconds, resident, descriptors = 0.0, 0, 0
    for pid in family(parent):
        with contextlib.suppress(OSError, IndexError):
            fields = _stat(pid)
            seconds += (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS
            resident += _resident(pid)
            descriptors += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    text = "of all processes"
    yield "process_cpu_seconds_total", "counter", f"Processor time {text} in seconds.", seconds
    yield "process_resident_memory_bytes", "gauge", f"Memory {text} in bytes.", resident
    yield "process_open_fds", "gauge", f"Open file descriptors {text}.", descriptors
    started = _started(parent)
    yield "process_start_time_seconds", "gauge", "Start of the parent in unix seconds.", started
