"""The shared memory through which the observer learns what the workers have seen.

The parent makes it, so that it outlives every other process: what a killed worker had finished is
still written, and the next observer goes on where the last one stopped.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from fastproxy.settings.options import Settings
from fastproxy.system.ring import create_ring

LONGEST_LINE = 16 * 1024  # bytes; longer ones are cut


@dataclass(frozen=True, slots=True)
class Rings:
    """Descriptors: each worker's ring, by its number, and what wakes the observer (an eventfd)."""

    rings: tuple[int, ...]
    wake: int

    @property
    def descriptors(self) -> tuple[int, ...]:
        return (*self.rings, self.wake)


def make_rings(settings: Settings, workers: int) -> Rings | None:
    """None when nothing is to be observed. Raises OSError."""
    access = settings.access_log
    if access is None:
        return None
    size = max(access.buffer_bytes, access.buffering_size * LONGEST_LINE // 16, 4 * LONGEST_LINE)
    return Rings(tuple(create_ring(size) for _ in range(workers)), os.eventfd(0))
