"""Starting child processes from the parent, which is single-threaded and holds no feature code.

Children are forked, not executed anew: the parent has imported almost nothing, so a fork carries
no state worth fearing, and it needs no way to hand over settings, sockets and shared memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fastproxy.system import logs
from fastproxy.system.orphan import end_after_parent

log = logging.getLogger(__name__)

CRASHED = 70  # EX_SOFTWARE
_PR_SET_PDEATHSIG = 1
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_IGNORED = (signal.SIGHUP, signal.SIGUSR1)  # until the child says what they mean to it

_libc = ctypes.CDLL(None, use_errno=True)


def spawn(
    main: Callable[[], None], keep: Collection[int], role: str = "", to_leave: float = 60
) -> int:
    """Run `main` in a new process and return its id; `role` says which one it is, in the log.

    Only the descriptors in `keep` and the standard ones stay open there. It gets SIGTERM when the
    parent dies, and is killed when it is still there `to_leave` seconds later.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = CRASHED
    try:
        logs.set_role(role)
        _prepare(parent, keep, to_leave)
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        log.critical("a bug ended this process", exc_info=True)
    finally:
        # Never return into the parent's stack, its finally blocks and its exit handlers.
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _prepare(parent: int, keep: Collection[int], to_leave: float) -> None:
    signal.set_wakeup_fd(-1)
    for number in _HANDLED:
        signal.signal(number, signal.SIG_DFL)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(0)
    logs.reopen()  # a closed descriptor that it still believed its own would soon be another's
    kept = {0, 1, 2, *keep}
    for descriptor in _open_descriptors():
        if descriptor not in kept:
            with contextlib.suppress(OSError):  # the one that listed the directory is gone
                os.close(descriptor)
    end_after_parent(parent, math.ceil(to_leave))


def _open_descriptors() -> Iterable[int]:
    try:
        return [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:  # listing them takes one, and there is none left
        return range(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


@dataclass(slots=True)
class BackOff:
    """How long to wait before the next start of something that keeps dying."""

    first: float = 0.05
    largest: float = 2.0
    calm: float = 1.0  # seconds of life after which a death counts as the first again
    _next: float = field(default=0.0)
    _started: float = field(default=0.0)

    def started(self, now: float) -> None:
        self._started = now

    def delay(self, now: float) -> float:
        """Return the seconds to wait after a death at `now`; the first restart is immediate."""
        if now - self._started >= self.calm:
            self._next = 0.0
        delay = self._next
        self._next = min(self.largest, max(self.first, self._next * 2))
        return delay
