"""Weighted and dynamic round robin, word for word from `features.md` 3.13."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd
from statistics import median


def picks(weights: Sequence[int]) -> Iterator[int]:
    """The literal algorithm; weights must not all be 0."""
    step = gcd(*weights)
    index, current = -1, 0
    while True:
        index = (index + 1) % len(weights)
        if index == 0:
            current -= step
            if current <= 0:
                current = max(weights)
        if weights[index] >= current:
            yield index


def drr_step(
    ratings: Sequence[float], original: Sequence[int], weights: Sequence[int]
) -> tuple[bool, tuple[int, ...]]:
    if len(weights) < 2:
        return False, tuple(weights)
    values = [*ratings, 0.0] if len(ratings) % 2 == 0 else [*ratings]
    middle = median(values)
    deviation = median(abs(value - middle) for value in values)
    bad = [rating > 1.5 * (middle + deviation) for rating in ratings]
    new = list(weights)
    changed = False
    if any(bad) and not all(bad):
        for index, weight in enumerate(weights):
            if not bad[index] and weight * 4 <= 4096:
                new[index] = weight * 4
                changed = True
    else:
        for index, weight in enumerate(weights):
            if weight != original[index]:
                new[index] = max(original[index], weight // 4)
                changed = True
    common = gcd(*new)
    if changed and common > 1:
        new = [weight // common for weight in new]
    return changed, tuple(new)
