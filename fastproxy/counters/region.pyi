"""Counters that hold for the whole proxy: limits, circuit breakers and drr statistics.

One region of shared memory, made by the parent and mapped by every process. Only atomics touch it,
so nobody waits for anybody, and the death of a process leaves it usable.
"""

from collections.abc import Sequence
from typing import Final, final

KINDS: Final[tuple[str, ...]]
"""The kinds of slots: "rate", "connections", "breaker", "quality"."""

STATE_NAMES: Final[tuple[str, ...]]
"""The states of a circuit breaker, by number."""

MAXIMUM_WORKERS: Final[int]
NO_WORKER: Final[int]
"""The worker number of a process that takes no connections: the parent, the controller."""

def create_region() -> int:
    """A new region; returns its descriptor (a memfd, inherited by children when passed on).

    Its virtual size is about 48 GiB, but only touched pages cost memory: about 4 KiB for a slot in
    use with few keys. Raises OSError.
    """

def slot_count(kind: str) -> int:
    """How many slots there are of a kind; slots are numbers from 0. Raises KeyError."""

def slot_size(kind: str) -> int:
    """Virtual bytes of one slot, an upper bound of its memory. Raises KeyError."""

def beats_of(worker: int) -> int:
    """Where in the region the two words of `heartbeat.py` stand; NO_WORKER is the controller."""

def clear_slot(descriptor: int, kind: str, slot: int) -> None:
    """Empty a slot and give its memory back, before it is used for something else.

    Only for slots that no live generation uses. Raises KeyError, ValueError, OSError.
    """

@final
class SharedRegion:
    """The region as Python sees it (parent, tests); the engine calls the C functions directly.

    Times are nanoseconds of one monotonic clock. Raises OSError when it cannot be mapped.
    """

    def __init__(self, descriptor: int, worker: int = ...) -> None: ...
    def close(self) -> None: ...
    def forget_worker(self, worker: int) -> None:
        """Give back the connections a dead worker held; call it before a successor starts."""
    def connections_take(self, slot: int, key: bytes, amount: int) -> tuple[int, int]:
        """(1, ticket) taken, (0, 0) refused, (-1, 0) not counted."""
    def connections_release(self, ticket: int) -> None: ...
    def rate_take(
        self, slot: int, key: bytes, buckets: Sequence[tuple[int, int]], lifetime: int, now: int
    ) -> int:
        """0 or the delay in nanoseconds; a bucket is (nanoseconds per token, burst)."""
    def breaker_admit(self, slot: int, now: int) -> bool: ...
    def breaker_record(
        self, slot: int, status: int, latency: int, program: bytes, now: int
    ) -> None: ...
    def breaker_state(self, slot: int) -> str:
        """ "standby", "tripped" or "recovering"."""
    def quality_reset(self, slot: int, fingerprint: int) -> None: ...
    def quality_record(self, slot: int, endpoint: int, status: int, now: int) -> None: ...
    def quality_weights(
        self, slot: int, original: Sequence[int], now: int
    ) -> tuple[int, ...] | None:
        """New weights, or None when nothing changed since this object was last asked."""

    def nonce_advance(self, nonce: bytes, count: int, issued: int, lifetime: int, now: int) -> bool:
        """Whether this count of a digest nonce is above all it has come with; times in seconds
        of one clock."""
