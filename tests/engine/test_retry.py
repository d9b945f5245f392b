"""`[retry]`: the chain from the connection limit on, run again, beside a literal twin."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.counters.region import SharedRegion, create_region
from fastproxy.engine.operations.writer import Extractor
from fastproxy.features.max_conn import MaxConn
from fastproxy.features.rate_limit import Rate, RateLimit
from fastproxy.model.configuration import Backend, Desired, Endpoint, Route
from fastproxy.model.matchers import PathPrefix
from fastproxy.settings.options import EntryPoint, Retry, Settings
from tests.support.limits import RateLimiter
from tests.support.literal_round_robin import picks
from tests.support.plane import Plane
from tests.support.running import dead_port
from tests.support.scripted import Client, Origin, Peer, request, until

HOUR = 3600 * 1_000_000_000
SECOND = 1_000_000_000
POINTS = {"http": EntryPoint("127.0.0.1:0")}
NUMBERS = itertools.count()
ALL = 0  # attempts: as many as there are endpoints


def settings_for(attempts: int | None) -> Settings:
    retry = None if attempts is None else Retry(attempts)
    return Settings(entry_points=POINTS, retry=retry)


@pytest.fixture(scope="module")
def shared() -> Iterator[int]:
    descriptor = create_region()
    yield descriptor
    os.close(descriptor)


@pytest.fixture(scope="module")
def planes(shared: int) -> Iterator[dict[int | None, Plane]]:
    made = {n: Plane(settings_for(n), shared=shared) for n in (None, ALL, 1, 2, 3, 5)}
    yield made
    for plane in made.values():
        plane.close()


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with closing(Origin(address="0.0.0.0")) as made:
        yield made


@pytest.fixture(scope="module")
def dead() -> int:
    return dead_port()


def publish(plane: Plane, ports: Sequence[int], *configs: object, method: str = "wrr") -> None:
    name = f"r{next(NUMBERS)}"  # whose balancer begins anew
    route = Route(name, ("http",), (PathPrefix(("/",)),), 1, name, configs)  # type: ignore[arg-type]
    endpoints = tuple(
        # each its own URL, in this order
        Endpoint("http", f"127.0.0.{1 + number}", port)
        for number, port in enumerate(ports)
    )
    plane.prepare(Desired((route,), (Backend(name, endpoints, method=method),)))
    plane.activate()


def literal(
    attempts: int, limiter: RateLimiter, turns: Iterator[int], alive: Sequence[bool]
) -> tuple[int, int, int]:
    """Status, how often an endpoint answered, and how often the chain was run again."""
    for attempt in range(1, max(attempts, 1) + 1):
        if limiter.take(b"client", SECOND):
            status = 429
        elif not alive:
            return 503, 0, attempt - 1
        elif alive[next(turns)]:
            return 200, 1, attempt - 1
        else:
            status = 502
    return status, 0, attempt - 1


@settings(deadline=None, max_examples=120)
@given(
    attempts=st.sampled_from((None, ALL, 1, 2, 3, 5)),
    alive=st.lists(st.booleans(), max_size=3),
    bursts=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    count=st.integers(1, 6),
)
def test_attempts_are_those_of_the_literal_chain(
    planes, origin, dead, attempts, alive, bursts, count
):
    plane = planes[attempts]
    rates = tuple(Rate(HOUR * (i + 1), 1, burst) for i, burst in enumerate(bursts))
    ports = [origin.port if one else dead for one in alive]
    publish(plane, ports, RateLimit(Extractor.REQUEST_HEADER, "X-Key", rates))
    key = f"X-Key: {next(NUMBERS)}"
    limiter = RateLimiter([(HOUR * (i + 1), burst) for i, burst in enumerate(bursts)], 10**9)
    turns = picks([1] * len(alive)) if alive else iter(())
    number = len(alive) if attempts == ALL else attempts or 1
    before = plane.engine.statistics()["retries"]
    expected = 0
    origin.seen.clear()
    with Client(plane.port) as client:
        for _ in range(count):
            status, answered, again = literal(number, limiter, turns, alive)
            expected += again
            reached = len(origin.seen)
            assert client.ask("/", key).status == status
            assert len(origin.seen) - reached == answered
    assert plane.engine.statistics()["retries"] - before == expected


@pytest.mark.parametrize(("attempts", "other"), [(None, 429), (1, 429), (2, 503)])
def test_a_token_that_comes_between_two_attempts_is_found(planes, attempts, other):
    """Two requests in one turn, a token each nanosecond: the clock stands still for both, and only
    another attempt looks at it again."""
    plane = planes[attempts]
    publish(plane, [], RateLimit(Extractor.CLIENT_IP, "", (Rate(SECOND, SECOND, 1),)))
    with Client(plane.port) as one, Client(plane.port) as two:
        until(lambda: plane.call(lambda: plane.engine.active) == 2)
        busy = threading.Thread(target=plane.call, args=(lambda: time.sleep(0.2),))
        busy.start()
        time.sleep(0.05)
        one.send(request("/"))
        two.send(request("/"))
        assert sorted([one.response().status, two.response().status]) == sorted([503, other])
        busy.join()


@pytest.mark.parametrize(("attempts", "again"), [(None, 0), (3, 2)])
def test_a_refused_connection_counts_as_an_attempt(planes, origin, attempts, again):
    plane = planes[attempts]
    held: list[Peer] = []

    def hold(peer: Peer) -> None:
        held.append(peer)
        until(lambda: not held)
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    origin.scripts["/hold"] = hold
    publish(plane, [origin.port], MaxConn(1, Extractor.CLIENT_IP))
    before = plane.engine.statistics()["retries"]
    with Client(plane.port) as first, Client(plane.port) as second:
        first.send(request("/hold"))
        until(lambda: held)
        refused = second.ask("/")
        assert (refused.status, refused.body) == (429, b"max connections reached: 1")
        assert plane.engine.statistics()["retries"] - before == again
        held.clear()
        assert first.response().status == 200
        assert second.ask("/").status == 200


def test_a_failed_attempt_counts_for_dynamic_weights(shared, planes, origin, dead):
    """Ten good seconds of both endpoints, then one attempt at the dead one, whose answer the client
    never sees: it is the outlier."""
    plane = planes[2]
    publish(plane, [origin.port, dead], method="drr")
    region = SharedRegion(shared)
    slot = 0  # no other test has such a backend
    now = time.monotonic_ns()
    for endpoint in (0, 1):
        for seconds in range(11, 0, -1):
            region.quality_record(slot, endpoint, 200, now - seconds * SECOND)
    assert region.quality_weights(slot, [1, 1], now) == (1, 1)
    with Client(plane.port) as client:
        assert [client.ask("/").status for _ in range(2)] == [200, 200]
    assert region.quality_weights(slot, [1, 1], time.monotonic_ns()) == (4, 1)
