"""Weighted and dynamic round robin as Python sees them (`features.md` 3.13)."""

from collections.abc import Iterable, Sequence
from typing import Self, final

@final
class WeightedRoundRobin:
    """The interleaved weighted round robin of Traefik 1.7; an endpoint of weight 0 gets nothing."""

    def __new__(cls, weights: Iterable[int]) -> Self: ...
    def pick(self) -> int:
        """Return the index of an endpoint, -1 without endpoints, -2 when all weights are 0."""
    def pick_many(self, times: int) -> int:
        """Pick that often, return the last one. For benchmarks."""
    def update(self, weights: Iterable[int]) -> None:
        """Replace the endpoints and start anew."""

def drr_step(
    ratings: Sequence[float], original: Sequence[int], weights: Sequence[int]
) -> tuple[bool, tuple[int, ...]]:
    """Take one step of dynamic round robin: (weights are to be applied, the weights).

    A rating is an endpoint's share of bad answers, 0 to 1. Raises ValueError when the sequences
    differ in length.
    """

class DynamicRoundRobin:
    """Weighted round robin whose weights follow the answers; time is given, in seconds.

    A model of the whole algorithm in one process: the engine feeds the same step with the
    statistics of all workers.
    """

    BACK_OFF: float
    original: tuple[int, ...]
    weights: tuple[int, ...]

    def __init__(self, weights: Iterable[int], now: float = 0.0) -> None: ...
    def update(self, weights: Iterable[int], now: float = 0.0) -> None:
        """Replace the endpoints: original weights, no answers, timer expired."""
    def pick(self) -> int: ...
    def record(self, index: int, status: int, now: float) -> bool:
        """Count an answer; True when it changed the weights."""
