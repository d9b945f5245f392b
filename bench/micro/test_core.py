"""Time matching, building, checking and picking. Run with `make bench-micro`.

`match` and `pick` time a thousand or more operations per round; `extra_info` holds the rate.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.tables import entries, requests
from fastproxy._core import WeightedRoundRobin, build_matcher, check, match_many

SIZES = (100, 10_000, 100_000)
PICKS = 100_000


@pytest.mark.parametrize("routes", SIZES)
def test_match(benchmark: BenchmarkFixture, routes: int) -> None:
    section = build_matcher(entries(routes))
    asked = requests(routes)
    rounds = max(1, 100_000 // len(asked))
    found = benchmark(match_many, section, asked, rounds)
    assert found == rounds * len(asked)
    operations_per_second(benchmark, found)
    benchmark.extra_info["section_bytes"] = len(section)


@pytest.mark.parametrize("routes", SIZES)
def test_build(benchmark: BenchmarkFixture, routes: int) -> None:
    table = entries(routes)
    assert check(benchmark(build_matcher, table))


@pytest.mark.parametrize("routes", SIZES)
def test_check(benchmark: BenchmarkFixture, routes: int) -> None:
    assert benchmark(check, build_matcher(entries(routes)))


@pytest.mark.parametrize(
    "weights",
    [[1] * 3, [1] * 1000, [100_000, 1], list(range(1, 1001))],
    ids=["3 equal", "1000 equal", "100000:1", "1 to 1000"],
)
def test_pick(benchmark: BenchmarkFixture, weights: list[int]) -> None:
    balancer = WeightedRoundRobin(weights)
    assert benchmark(balancer.pick_many, PICKS) in range(len(weights))
    operations_per_second(benchmark, PICKS)


def operations_per_second(benchmark: BenchmarkFixture, operations: int) -> None:
    if benchmark.stats is not None:  # None under --benchmark-disable
        best = benchmark.stats.stats.min
        benchmark.extra_info["millions_per_second"] = round(operations / best / 1e6, 1)
