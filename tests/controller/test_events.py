"""Findings become Events: one per object and code, counted, and never a flood."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from controller.kubernetes.api import connect
from controller.report.events import (
    BURST,
    FORBIDDEN_PAUSE,
    MESSAGE_LIMIT,
    PAUSE,
    RATE,
    REFRESH,
    EventWriter,
    message,
)
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding, Severity
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


def writer(server: ApiServer, clock: Clock) -> EventWriter:
    return EventWriter(connect(server.url, environment={}), "pod-1", clock)


def finding(name: str = "shop", code: str = "FP101", sentence: str = "is wrong") -> Finding:
    about = ObjectReference("Ingress", "blue", name)
    return Finding(code, Severity.ERROR, about, "spec.rules[0]", sentence)


def uid_of(about: ObjectReference) -> str:
    return f"uid-{about.name}"


def events(server: ApiServer) -> list[dict[str, Any]]:
    return server.items("Event", "blue")


def test_shape(server: ApiServer, clock: Clock) -> None:
    one = writer(server, clock)
    one.observe([finding()], uid_of)
    assert one.turn() == 1
    (event,) = events(server)
    assert event["type"] == "Warning" and event["reason"] == "FP101" and event["count"] == 1
    assert event["message"] == "spec.rules[0]: is wrong"
    assert event["involvedObject"] == {
        "kind": "Ingress",
        "apiVersion": "networking.k8s.io/v1",
        "namespace": "blue",
        "name": "shop",
        "uid": "uid-shop",
    }


def test_an_unchanged_finding_is_written_once(server: ApiServer, clock: Clock) -> None:
    one = writer(server, clock)
    for _ in range(5):
        one.observe([finding()], uid_of)
        one.turn()
        clock.now += 60
    assert server.counted("POST") == 1 and server.counted("PATCH") == 0


def test_same_code_is_one_event(server: ApiServer, clock: Clock) -> None:
    one = writer(server, clock)
    one.observe([finding(sentence=f"s{n}") for n in range(7)], uid_of)
    assert one.turn() == 1
    (event,) = events(server)
    assert "s0; " in event["message"] and event["message"].endswith("and 2 more")


def test_change_raises_the_count_after_a_pause(server: ApiServer, clock: Clock) -> None:
    one = writer(server, clock)
    one.observe([finding()], uid_of)
    one.turn()
    for number in range(20):  # flapping: only the last text is worth writing
        one.observe([finding(sentence=f"changed {number}")], uid_of)
        one.turn()
    assert server.counted("PATCH") == 0
    clock.now += PAUSE
    one.turn()
    (event,) = events(server)
    assert event["count"] == 2 and event["message"].endswith("changed 19")


def test_gone_and_back_counts(server: ApiServer, clock: Clock) -> None:
    one = writer(server, clock)
    for findings in ([finding()], [], [finding()]):
        one.observe(findings, uid_of)
        one.turn()
        clock.now += PAUSE
    assert [event["count"] for event in events(server)] == [2]


def test_two_replicas_share_an_event(server: ApiServer, clock: Clock) -> None:
    for _ in range(2):
        one = writer(server, clock)
        one.observe([finding()], uid_of)
        one.turn()
    assert [event["count"] for event in events(server)] == [2]


def test_rate(server: ApiServer, clock: Clock) -> None:
    one = writer(server, clock)
    one.observe([finding(f"i{n}") for n in range(100)], uid_of)
    assert one.turn() == BURST
    assert one.turn() == 0
    clock.now += 3 / RATE
    assert one.turn() == 3


def test_refresh_before_the_server_forgets(server: ApiServer, clock: Clock) -> None:
    one = writer(server, clock)
    one.observe([finding()], uid_of)
    one.turn()
    clock.now += REFRESH
    one.turn()
    assert [event["count"] for event in events(server)] == [2]


def test_forbidden_is_not_tried_again_at_once(server: ApiServer, clock: Clock) -> None:
    rule = server.faults.refuse(403, "Forbidden", kind="Event")
    one = writer(server, clock)
    one.observe([finding()], uid_of)
    for _ in range(3):
        assert one.turn() == 0
    assert server.counted("POST") == 1
    server.faults.rules.remove(rule)
    clock.now += FORBIDDEN_PAUSE
    assert one.turn() == 1


def test_failure_keeps_the_event_for_later(server: ApiServer, clock: Clock) -> None:
    server.faults.refuse(500, kind="Event", times=1)
    one = writer(server, clock)
    one.observe([finding()], uid_of)
    assert (one.turn(), one.turn()) == (0, 1)


def test_message_has_a_limit() -> None:
    assert len(message(["x" * 3000])) == MESSAGE_LIMIT
