"""The balancers against the literal algorithms of `features.md` 3.13."""

from __future__ import annotations

from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy._core import WeightedRoundRobin, drr_step
from tests.support import literal_round_robin as literal

small = st.lists(st.integers(0, 12), min_size=1, max_size=8)
multiples = st.tuples(small, st.integers(1, 1000)).map(lambda pair: [w * pair[1] for w in pair[0]])
weights = st.one_of(small, multiples, st.lists(st.integers(1, 60), min_size=1, max_size=25))


@given(weights.filter(any), st.integers(1, 600))
@settings(max_examples=400)
def test_weighted_picks_are_those_of_the_literal_algorithm(weights: list[int], count: int) -> None:
    balancer = WeightedRoundRobin(weights)
    assert [balancer.pick() for _ in range(count)] == list(islice(literal.picks(weights), count))


@given(weights.filter(any), weights.filter(any), st.integers(0, 100))
def test_an_update_starts_anew(before: list[int], after: list[int], count: int) -> None:
    balancer = WeightedRoundRobin(before)
    balancer.pick_many(count)
    balancer.update(after)
    assert [balancer.pick() for _ in range(50)] == list(islice(literal.picks(after), 50))


@given(weights.filter(any))
def test_a_period_serves_everyone_its_weight(weights: list[int]) -> None:
    balancer = WeightedRoundRobin(weights)
    picked = [balancer.pick() for _ in range(sum(weights))]
    assert [picked.count(index) for index in range(len(weights))] == weights


@given(st.data(), st.one_of(st.integers(0, 6), st.sampled_from([128, 129])))
@settings(max_examples=200, deadline=None)
def test_the_dynamic_step_is_the_literal_one(data: st.DataObject, count: int) -> None:
    ratings = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
    steps = st.sampled_from([0, 1, 2, 3, 4, 16, 1024, 1025, 4096])
    rated = data.draw(st.lists(ratings, min_size=count, max_size=count))
    original = data.draw(st.lists(st.integers(0, 6), min_size=count, max_size=count))
    current = data.draw(st.lists(steps, min_size=count, max_size=count))
    assert drr_step(rated, original, current) == literal.drr_step(rated, original, current)
