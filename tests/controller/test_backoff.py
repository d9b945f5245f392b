"""Waiting for an API server: the intervals of Traefik 1.7, and an early end when it is back."""

from __future__ import annotations

import threading
import time

import pytest

from controller.kubernetes.backoff import FACTOR, INITIAL, LIMIT, Availability, Backoff


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def test_intervals_grow_by_half_and_start_over_after_30_seconds() -> None:
    clock = Clock()
    backoff = Backoff(clock, middle)
    assert [backoff.next() for _ in range(4)] == [0.5, 0.75, 1.125, 1.6875]
    clock.now = 29.9
    assert backoff.next() == pytest.approx(INITIAL * FACTOR**4)
    clock.now = 30.0
    assert [backoff.next(), backoff.next()] == [0.5, 0.75]


def test_intervals_are_capped() -> None:
    backoff = Backoff(Clock(), middle)
    assert [backoff.next() for _ in range(40)][-1] == LIMIT


@pytest.mark.parametrize("pick, expected", [(min, 0.25), (max, 0.75)])
def test_jitter_is_half_of_the_interval(pick: type, expected: float) -> None:
    assert Backoff(Clock(), pick).next() == expected


def test_wait_ends_when_the_port_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.kubernetes.backoff.PROBE", 0.02)
    answers = iter([False, False, True])
    availability = Availability(lambda: next(answers), threading.Event())
    started = time.monotonic()
    availability.wait(30.0, watch_port=True)
    assert time.monotonic() - started < 5


def test_wait_is_full_for_a_server_that_answers_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("controller.kubernetes.backoff.PROBE", 0.01)
    availability = Availability(lambda: True, threading.Event())
    started = time.monotonic()
    availability.wait(0.2, watch_port=True)
    assert time.monotonic() - started >= 0.2


def test_wait_ends_on_stop() -> None:
    stop = threading.Event()
    stop.set()
    started = time.monotonic()
    Availability(lambda: True, stop).wait(30.0, watch_port=False)
    assert time.monotonic() - started < 5
