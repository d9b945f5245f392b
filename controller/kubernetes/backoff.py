"""How long to wait before asking a failing API server again (`provider.md` 3.5)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

INITIAL = 0.5  # seconds
FACTOR = 1.5
JITTER = 0.5  # of the interval, either way
LIMIT = 60.0  # seconds
CALM = 30.0  # seconds since the last restart of the sequence after which it restarts
FIRST_PAUSE = 0.1  # seconds after something that should have lasted and did not, then twice ...
LONGEST_PAUSE = 5.0  # ... as long up to these
PROBE = 2.0  # seconds between looks at a port that refuses connections


class Backoff:
    """Exponential and jittered; starts over once `CALM` seconds have passed since it last did."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock = clock
        self._uniform = uniform
        self.restart()

    def restart(self) -> None:
        self._interval = INITIAL
        self._since = self._clock()

    def next(self) -> float:
        """Give the seconds to wait now."""
        if self._clock() - self._since >= CALM:
            self.restart()
        interval = self._interval
        self._interval = min(interval * FACTOR, LIMIT)
        return self._uniform(interval * (1 - JITTER), interval * (1 + JITTER))


class Pacing:
    """Pauses between streams that end too soon, jittered; only one that lasted ends them.

    However they end, and whatever was heard of them: something between us and the server may end
    each one after its first word, and many clients must not come back at once.
    """

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._pause = FIRST_PAUSE

    def after(self, lasted: float, enough: float) -> float:
        """Give the seconds to wait after one that lasted so long."""
        if lasted >= enough:
            self._pause = FIRST_PAUSE
            return 0.0
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        return self._uniform(pause * (1 - JITTER), pause * (1 + JITTER))


class Availability:
    """Notices that a dead server is back, so that nobody sleeps through its return.

    Traefik waits out its interval; we promise to converge within 5 s of the return. One cheap TCP
    connect per `PROBE` seconds is shared by all reflectors; it only ends a wait if an earlier one
    in the same wait failed, so a server that accepts and then misbehaves still sees the full
    back-off.
    """

    def __init__(self, reachable: Callable[[], bool], stop: threading.Event) -> None:
        self._reachable = reachable
        self._stop = stop
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._answer = True

    def wait(self, seconds: float, *, watch_port: bool) -> None:
        """Sleep; return early on stop, or when the port comes back."""
        until = time.monotonic() + seconds
        down = False
        while (left := until - time.monotonic()) > 0:
            if self._stop.wait(min(left, PROBE if watch_port else left)):
                return
            if watch_port:
                up = self._look()
                if up and down:
                    return
                down = down or not up

    def _look(self) -> bool:
        with self._lock:
            if time.monotonic() - self._looked_at > PROBE / 2:
                self._answer = self._reachable()
                self._looked_at = time.monotonic()
            return self._answer
