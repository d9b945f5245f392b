"""Two replicas and one Lease: never two writers, and no longer than 15 s without one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from controller.kubernetes.api import connect
from controller.kubernetes.lease import DURATION, RENEW_DEADLINE, RETRY_PERIOD, Lease
from tests.support.api_server import ApiServer


class Clock:
    def __init__(self) -> None:
        self.now = 500.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


def replica(server: ApiServer, clock: Clock, identity: str) -> Lease:
    def now() -> datetime:
        return datetime.fromtimestamp(clock.now, UTC)

    api = connect(server.url, environment={})
    return Lease(api, "ingress", "fastproxy", identity, clock, now)


def holder(server: ApiServer) -> dict[str, object]:
    spec: dict[str, object] = server.read("Lease", "ingress", "fastproxy")["spec"]
    return spec


def test_first_creates_and_second_waits(server: ApiServer, clock: Clock) -> None:
    one, two = replica(server, clock, "one"), replica(server, clock, "two")
    assert not one.held()
    one.turn()
    two.turn()
    assert one.held() and not two.held()
    spec = holder(server)
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == ("one", 15)
    assert spec["leaseTransitions"] == 0


def test_renewal_keeps_the_second_out_for_ever(server: ApiServer, clock: Clock) -> None:
    one, two = replica(server, clock, "one"), replica(server, clock, "two")
    for _ in range(30):
        one.turn()
        two.turn()
        assert one.held() and not two.held()
        clock.now += RETRY_PERIOD


def test_takeover_only_after_the_holder_gave_up(server: ApiServer, clock: Clock) -> None:
    one, two = replica(server, clock, "one"), replica(server, clock, "two")
    one.turn()
    silence = clock.now
    taken_after = None
    while taken_after is None:  # `one` never renews again
        two.turn()
        assert not (one.held() and two.held())
        if two.held():
            taken_after = clock.now - silence
        clock.now += RETRY_PERIOD
    assert RENEW_DEADLINE < DURATION <= taken_after <= DURATION + RETRY_PERIOD
    spec = holder(server)
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("two", 1)
    one.turn()
    assert not one.held()


def test_server_away_ends_holding_after_the_deadline(server: ApiServer, clock: Clock) -> None:
    one = replica(server, clock, "one")
    one.turn()
    server.stop()
    clock.now += RENEW_DEADLINE - 0.1
    one.turn()
    assert one.held()
    clock.now += 0.2
    one.turn()
    assert not one.held()
    server.start()
    one.turn()
    assert one.held()


def test_release_lets_the_second_in_at_once(server: ApiServer, clock: Clock) -> None:
    one, two = replica(server, clock, "one"), replica(server, clock, "two")
    one.turn()
    two.turn()
    one.release()
    assert not one.held()
    two.turn()
    assert two.held()
    one.release()  # nothing to give up
    assert holder(server)["holderIdentity"] == "two"


def test_a_lost_race_is_not_holding(server: ApiServer, clock: Clock) -> None:
    one = replica(server, clock, "one")
    one.turn()
    server.faults.refuse(409, "Conflict", kind="Lease", verb="update", times=1)
    clock.now += RETRY_PERIOD
    one.turn()
    assert not one.held()
    one.turn()
    assert one.held()


def test_wrong_wall_clocks_do_not_matter(server: ApiServer, clock: Clock) -> None:
    one = replica(server, clock, "one")
    ahead = Lease(
        connect(server.url, environment={}),
        "ingress",
        "fastproxy",
        "two",
        clock,
        lambda: datetime(2040, 1, 1, tzinfo=UTC),
    )
    one.turn()
    ahead.turn()
    assert one.held() and not ahead.held()


def test_without_the_right_every_replica_writes(server: ApiServer, clock: Clock) -> None:
    rule = server.faults.refuse(403, "Forbidden", kind="Lease")
    one, two = replica(server, clock, "one"), replica(server, clock, "two")
    one.turn()
    two.turn()
    assert one.held() and two.held()
    server.faults.rules.remove(rule)
    one.turn()
    two.turn()
    assert one.held() and not two.held()
