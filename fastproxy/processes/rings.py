"""The shared memory through which the observer learns what the workers have seen.

The parent makes it, so that it outlives every other process: what a killed worker had finished is
still written and counted, and the next observer goes on where the last one stopped.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass

from fastproxy.counters.requests import create_requests, forget_open
from fastproxy.settings.options import Settings
from fastproxy.system.ring import create_ring

LONGEST_LINE = 16 * 1024  # bytes; longer ones are cut


@dataclass(frozen=True, slots=True)
class Observed:
    """What one worker is given; descriptors, -1 for nothing."""

    ring: int = -1  # for lines of the access log
    wake: int = -1  # an eventfd, which the observer waits for
    requests: int = -1  # its counters of requests
    address: str = ""  # of the observer's socket


@dataclass(frozen=True, slots=True)
class Rings:
    """Descriptors by the number of the worker, the eventfd that wakes the observer, and where it
    answers: an abstract Unix socket, whose name only our processes know."""

    rings: tuple[int, ...]
    wake: int
    requests: tuple[int, ...] = ()
    address: str = ""

    @property
    def descriptors(self) -> tuple[int, ...]:
        return (*self.rings, *self.requests, self.wake)

    def of(self, worker: int) -> Observed:
        return Observed(
            self.rings[worker] if self.rings else -1,
            self.wake,
            self.requests[worker] if self.requests else -1,
            self.address,
        )

    def forget(self, worker: int) -> None:
        """A worker has died: what it had open is not any more."""
        if self.requests:
            forget_open(self.requests[worker])


def make_rings(settings: Settings, workers: int) -> Rings | None:
    """None when nothing is to be observed. Raises OSError."""
    access = settings.access_log
    with_metrics = settings.metrics is not None and settings.metrics.prometheus is not None
    if access is None and not with_metrics:
        return None
    rings: tuple[int, ...] = ()
    if access is not None:
        lines = access.buffering_size * LONGEST_LINE // 16
        size = max(access.buffer_bytes, lines, 4 * LONGEST_LINE)
        rings = tuple(create_ring(size) for _ in range(workers))
    requests = tuple(create_requests() for _ in range(workers if with_metrics else 0))
    return Rings(rings, os.eventfd(0), requests, f"\0fastproxy-{secrets.token_hex(16)}")
