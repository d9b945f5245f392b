"""Balancing and retries through real sockets: whom the requests reach."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.feature_rows import Ask, Field, Row, answering, ingress, running
from tests.support.running import backend_manifest

THREE = Row("three", endpoints=3)
ONE_DEAD = Row("one dead", dead=1)
PAIR = Row("pair", {}, {"load-balancer-method": "drr"}, endpoints=2)
BUFFERED = Row("buffered", {}, {"buffering": "{}"}, dead=1)


def limited(title: str, burst: int, key: str = "client.ip", **more: int) -> Row:
    rate = f"{{a: {{period: 1h, average: 1, burst: {burst}}}}}"
    return Row(title, {"rate-limit": f"{{extractorfunc: {key}, rateset: {rate}}}"}, **more)


LIMITED = limited("limited", 6, dead=1)
BY_HEADER = limited("by header", 6, "request.header.X-Key", dead=1)
ALL_DEAD = limited("all dead", 5, endpoints=0, dead=1)
CROWDED = Row(
    "crowded", {}, {"max-conn-amount": "1", "max-conn-extractor-func": "client.ip"}, dead=1
)
ROWS = [THREE, ONE_DEAD, PAIR, BUFFERED, LIMITED, BY_HEADER, ALL_DEAD, CROWDED]


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


@pytest.mark.parametrize("body", [b"", b"x" * 300_000])
def test_retry_asks_the_next_endpoint_behind_a_buffer(retrying: Field, body: bytes) -> None:
    host = retrying.host(BUFFERED)
    answers = [retrying.ask(Ask("/", "POST", (), body), host) for _ in range(10)]
    assert Counter(answer.status for answer in answers) == {200: 10}
    assert retrying.backend.seen[-1].body == body


def test_every_retry_takes_a_token(retrying: Field) -> None:
    """Six tokens. One of two endpoints is dead: two requests take four, the third one or two; what
    is left is taken by the fourth, whose retry finds none."""
    retrying.backend.seen.clear()
    answers = [retrying.send(LIMITED) for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[3].body == b"max rate reached: retry-in 1h0m0s"
    assert answers[3].headers["Retry-After"] == "3600"
    assert len(retrying.backend.seen) == 3


def test_a_retry_takes_the_token_of_its_own_key(retrying: Field) -> None:
    for key in ("one", "another", ""):
        headers = (("x-key", key),) if key else ()
        ask = Ask("/", headers=headers)
        statuses = [retrying.ask(ask, retrying.host(BY_HEADER)).status for _ in range(5)]
        # keys take turns at the endpoints: the first request may meet the dead one or not
        assert statuses == [200, 200, 200, 429, 429]


def test_what_a_limit_refuses_is_the_result_of_a_retry(retrying: Field) -> None:
    """Five tokens, two attempts: 502 takes two, and the third request's retry finds none."""
    statuses = [retrying.send(ALL_DEAD).status for _ in range(4)]
    assert statuses == [502, 502, 429, 429]


def test_without_retry_a_request_takes_one_token(proxy: Field) -> None:
    statuses = Counter(proxy.send(LIMITED).status for _ in range(8))
    assert statuses == {200: 3, 502: 3, 429: 2}


def test_a_retry_keeps_its_place_among_the_connections(retrying: Field) -> None:
    assert [retrying.send(CROWDED).status for _ in range(6)] == [200] * 6


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


@contextmanager
def weights_of(proxy: Field, weights: dict[str, str]) -> Iterator[None]:
    services = "\n---\n".join(
        backend_manifest(name, [port])
        for name, port in zip(("one", "two"), proxy.backend.ports[:2], strict=True)
    )
    file = proxy.folder / "manifests" / "weights.yaml"
    file.write_text(f"{services}\n---\n{weighted('weights', weights)}")
    try:
        wait(proxy, "weights.test", 200)
        # A new set of weights starts a new round; begin counting when the last one is live.
        time.sleep(0.5)
        yield
    finally:
        file.unlink()
        wait(proxy, "weights.test", 404)


@pytest.mark.parametrize(("weights", "count", "expected"), SHARES)
def test_service_weights(proxy: Field, weights, count, expected) -> None:
    with weights_of(proxy, weights):
        seen = Counter(proxy.ask(Ask("/"), "weights.test").body for _ in range(count))
        assert seen == expected


# of two endpoints, from wherever the first request meets it (features.md 3.13)
SEQUENCES = [
    ({"one": "60%", "two": "40%"}, "aabab"),
    ({"one": "40%", "two": "60%"}, "bbaba"),
    ({"one": "25%", "two": "75%"}, "bbba"),
]


@pytest.mark.parametrize(("weights", "expected"), SEQUENCES)
def test_the_order_of_weighted_endpoints(proxy: Field, weights, expected) -> None:
    with weights_of(proxy, weights):
        bodies = [proxy.ask(Ask("/"), "weights.test").body for _ in range(3 * len(expected))]
        found = "".join("ab"[int(body[-1:])] for body in bodies)
        assert found in expected * 5


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
