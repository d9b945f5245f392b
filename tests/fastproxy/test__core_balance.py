"""Weighted and dynamic round robin: the worked sequences of `features.md` 3.13."""

from __future__ import annotations

import time

import pytest

from fastproxy._core import DynamicRoundRobin, WeightedRoundRobin, drr_step

SEQUENCES = [
    # weights, the first picks
    ([3, 2], "aabab aabab"),
    ([1, 1, 1], "abc abc"),
    ([5, 2, 2], "aaa abc abc aaa"),
    ([10, 20], "bab bab"),
    ([0, 1, 0, 1], "bd bd"),
    ([7], "aaa"),
    ([1, 3, 2], "b bc abc b bc abc"),
    ([100000, 1], "a" * 100),
]


@pytest.mark.parametrize(("weights", "expected"), SEQUENCES)
def test_sequences(weights: list[int], expected: str) -> None:
    balancer = WeightedRoundRobin(weights)
    expected = expected.replace(" ", "")
    assert "".join("abcd"[balancer.pick()] for _ in expected) == expected


@pytest.mark.parametrize(("weights", "answer"), [([], -1), ([0], -2), ([0, 0], -2)])
def test_nothing_to_pick(weights: list[int], answer: int) -> None:
    assert WeightedRoundRobin(weights).pick() == answer


def test_update_starts_anew_even_with_equal_weights() -> None:
    balancer = WeightedRoundRobin([3, 2])
    balancer.pick_many(4)
    balancer.update([3, 2])
    assert [balancer.pick() for _ in range(5)] == [0, 0, 1, 0, 1]
    balancer.update([])
    assert balancer.pick() == -1


@pytest.mark.parametrize("weights", [[2**62, 1], [100_000, 99_999, 1], list(range(1, 5001))])
def test_large_weights_and_many_endpoints_cost_nothing(weights: list[int]) -> None:
    started = time.process_time()
    WeightedRoundRobin(weights).pick_many(200_000)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("weights", [[2**63], ["1"], [None]])
def test_weights_are_numbers_of_64_bits(weights: list[int]) -> None:
    with pytest.raises((OverflowError, TypeError)):
        WeightedRoundRobin(weights)


STEPS = [
    # ratings, original, weights, expected
    ([0.0, 1.0], [1, 1], [1, 1], (True, (4, 1))),
    ([0.0, 1.0], [1, 1], [1024, 1], (True, (4096, 1))),
    ([0.0, 1.0], [1, 1], [4096, 1], (False, (4096, 1))),
    ([0.0, 0.0], [1, 1], [4096, 1], (True, (1024, 1))),
    ([1.0, 1.0], [1, 1], [4, 1], (True, (1, 1))),
    ([0.0, 0.0], [1, 1], [1, 1], (False, (1, 1))),
    ([0.0, 0.0, 1.0], [1, 1, 1], [1, 1, 1], (True, (4, 4, 1))),
    ([0.3, 0.3, 0.3], [1, 1, 1], [1, 1, 1], (False, (1, 1, 1))),
    ([0.0, 1.0], [2, 2], [2, 8], (True, (1, 1))),
    ([0.0], [1], [4], (False, (4,))),
    ([], [], [], (False, ())),
]


@pytest.mark.parametrize(("ratings", "original", "weights", "expected"), STEPS)
def test_drr_step(
    ratings: list[float],
    original: list[int],
    weights: list[int],
    expected: tuple[bool, tuple[int, ...]],
) -> None:
    assert drr_step(ratings, original, weights) == expected


def test_drr_step_wants_equal_lengths() -> None:
    with pytest.raises(ValueError, match="length"):
        drr_step([0.0], [1, 1], [1, 1])


def test_an_endpoint_that_fails_is_left_step_by_step_and_recovers() -> None:
    balancer = DynamicRoundRobin([1, 1])
    seen = []
    now = 0
    while now < 100:
        for index, status in enumerate((200, 503)):
            if balancer.record(index, status, now):
                seen.append((now, balancer.weights))
        now += 1
    # Ready after ten seconds with answers, then one step per ten seconds, until 4096.
    assert [weights for _, weights in seen] == [(4**n, 1) for n in range(1, 7)]
    assert [at for at, _ in seen] == [9, 19, 29, 39, 49, 59]
    picks = [balancer.pick() for _ in range(4097)]
    assert picks.count(1) == 1
    recovered = []
    while now < 200:
        for index in (0, 1):
            if balancer.record(index, 200, now):
                recovered.append(balancer.weights)
        now += 1
    assert recovered[0] == (1024, 1)
    assert recovered[-1] == (1, 1)


def test_too_few_answers_change_nothing() -> None:
    balancer = DynamicRoundRobin([1, 1])
    changed = [balancer.record(i % 2, 503 if i % 2 else 200, now=0.5) for i in range(1000)]
    assert not any(changed)


def test_only_500_to_504_are_bad() -> None:
    balancer = DynamicRoundRobin([1, 1])
    for now in range(30):
        balancer.record(0, 200, now)
        assert not balancer.record(1, [404, 499, 505, 101][now % 4], now)


def test_an_update_restores_the_original_weights() -> None:
    balancer = DynamicRoundRobin([1, 1])
    for now in range(10):
        balancer.record(0, 200, now)
        balancer.record(1, 500, now)
    assert list(balancer.weights) == [4, 1]
    balancer.update([2, 1, 1], now=10)
    assert list(balancer.weights) == [2, 1, 1]
