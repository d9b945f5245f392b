"""Time the controller: a full translation, one endpoint change, one Ingress change.

The last two must not depend on the size of the cluster.
"""

from __future__ import annotations

from itertools import count

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.cluster import PODS, cluster, endpoints, ingress
from controller.snapshot.snapshot import Snapshot
from controller.translate.contributors import contributors
from controller.translate.translator import Translation, Translator
from fastproxy.settings.options import EntryPoint, Settings

SIZES = (100, 5_000)
SETTINGS = Settings(entry_points={"http": EntryPoint(":80")})


@pytest.mark.parametrize("size", SIZES)
def test_full(benchmark: BenchmarkFixture, size: int) -> None:
    snapshot = Snapshot.of(cluster(size))
    found = benchmark(lambda: Translator(contributors(SETTINGS)).update(snapshot))
    assert len(found.desired.routes) == size
    assert sum(len(backend.endpoints) for backend in found.desired.backends) == size * PODS
    assert not found.findings


@pytest.mark.parametrize("size", SIZES)
def test_one_endpoint_change(benchmark: BenchmarkFixture, size: int) -> None:
    snapshot = Snapshot.of(cluster(size))
    translator = Translator(contributors(SETTINGS))
    translator.update(snapshot)
    numbers = count(1)

    def change() -> Translation:
        nonlocal snapshot
        snapshot = snapshot.with_object(endpoints(7, next(numbers) % 200))
        return translator.update(snapshot)

    found = benchmark(change)
    assert found.moved is not None
    assert list(found.moved) == ["h7.example.com/p7"]


@pytest.mark.parametrize("size", SIZES)
def test_one_ingress_change(benchmark: BenchmarkFixture, size: int) -> None:
    snapshot = Snapshot.of(cluster(size))
    translator = Translator(contributors(SETTINGS))
    translator.update(snapshot)
    numbers = count(1)

    def change() -> Translation:
        nonlocal snapshot
        snapshot = snapshot.with_object(ingress(7, f"/q{next(numbers)}"))
        return translator.update(snapshot)

    found = benchmark(change)
    assert found.moved is None
