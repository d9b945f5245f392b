"""Do at once, then pause: both throttles of Traefik 1.7 (`provider.md` 3.3, 3.4)."""

from __future__ import annotations

import time
from collections.abc import Callable


class Throttle:
    """The first is immediate; what arrives during the pause after it waits for its end."""

    def __init__(self, duration: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._duration = duration
        self._clock = clock
        self._until = float("-inf")

    def left(self) -> float:
        """Seconds until the next may be done; 0 or less is now."""
        return self._until - self._clock()

    def done(self, at_least: float = 0.0) -> None:
        """Start the pause, after the work as Traefik does."""
        self._until = self._clock() + max(self._duration, at_least)
