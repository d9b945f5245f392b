"""Balancing and retries through real sockets: whom the requests reach."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.feature_rows import Ask, Field, Row, answering, ingress, running
from tests.support.running import backend_manifest

THREE = Row("three", endpoints=3)
ONE_DEAD = Row("one dead", dead=1)
PAIR = Row("pair", {}, {"load-balancer-method": "drr"}, endpoints=2)
ROWS = [THREE, ONE_DEAD, PAIR]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    yield from running(tmp_path_factory.mktemp("balancing"), ROWS)


@pytest.fixture(scope="module")
def retrying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    settings = "[retry]\nattempts = 2\n"
    yield from running(tmp_path_factory.mktemp("retry"), ROWS, settings=settings)


def test_round_robin_is_exact(proxy: Field) -> None:
    bodies = [proxy.send(THREE).body for _ in range(9)]
    assert Counter(bodies) == {b"server 0": 3, b"server 1": 3, b"server 2": 3}
    assert bodies[:3] == bodies[3:6] == bodies[6:]


def test_without_retry_a_dead_endpoint_keeps_its_share(proxy: Field) -> None:
    answers = [proxy.send(ONE_DEAD) for _ in range(10)]
    assert Counter(answer.status for answer in answers) == {200: 5, 502: 5}
    assert {answer.body for answer in answers} == {b"server 0", b"Bad Gateway"}


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("POST", b"x" * 100_000)])
def test_retry_asks_the_next_endpoint(retrying: Field, method: str, body: bytes) -> None:
    answers = [retrying.ask(Ask("/", method, (), body), retrying.host(ONE_DEAD)) for _ in range(10)]
    assert Counter(answer.status for answer in answers) == {200: 10}


def test_an_answer_is_never_retried(retrying: Field) -> None:
    retrying.backend.seen.clear()
    headers = (answering(status=502),)
    statuses = [retrying.ask(Ask("/", headers=headers), retrying.host(THREE)).status for _ in "ab"]
    assert statuses == [502, 502]
    assert len(retrying.backend.seen) == 2


def weighted(name: str, weights: dict[str, str]) -> str:
    """An Ingress whose path has the Services `one` and `two`."""
    made = json.loads(ingress(name, "weights.test", "/", "one", {}))
    paths = made["spec"]["rules"][0]["http"]["paths"]
    other = json.loads(json.dumps(paths[0]))
    other["backend"]["service"]["name"] = "two"
    paths.append(other)
    text = "".join(f"{service}: {share}\n" for service, share in weights.items())
    made["metadata"]["annotations"] = {"ingress.kubernetes.io/service-weights": text}
    return json.dumps(made)


SHARES = [
    ({"one": "25%"}, 40, {b"server 0": 10, b"server 1": 30}),
    ({"one": "10"}, 20, {b"server 0": 2, b"server 1": 18}),
    ({"one": "50", "two": "50"}, 10, {b"server 0": 5, b"server 1": 5}),
]


@pytest.mark.parametrize(("weights", "count", "expected"), SHARES)
def test_service_weights(proxy: Field, weights, count, expected) -> None:
    services = "\n---\n".join(
        backend_manifest(name, [port])
        for name, port in zip(("one", "two"), proxy.backend.ports[:2], strict=True)
    )
    file = proxy.folder / "manifests" / "weights.yaml"
    file.write_text(f"{services}\n---\n{weighted('weights', weights)}")
    try:
        wait(proxy, "weights.test", 200)
        # A new set of weights starts a new round; begin counting at its start.
        time.sleep(2.5)
        seen = Counter(proxy.ask(Ask("/"), "weights.test").body for _ in range(count))
        assert seen == expected
    finally:
        file.unlink()
        wait(proxy, "weights.test", 404)


def wait(proxy: Field, host: str, status: int) -> None:
    deadline = time.monotonic() + 15
    while proxy.ask(Ask("/"), host).status != status:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_dynamic_weights_leave_a_failing_endpoint(proxy: Field) -> None:
    """1:1 for the first ten seconds, then 4:1 at least."""
    headers = (answering(bad=[1]),)

    def ask_for(seconds: float) -> Counter[int]:
        end = time.monotonic() + seconds
        found: Counter[int] = Counter()
        while time.monotonic() < end:
            found[proxy.ask(Ask("/", headers=headers), proxy.host(PAIR)).status] += 1
            time.sleep(0.03)
        return found

    early = ask_for(6)
    assert abs(early[200] - early[503]) <= 1
    ask_for(8)
    late = ask_for(3)
    assert late[200] >= 3.5 * late[503] > 0
