"""The parent makes the keys of session tickets, and every worker gets the same ones in time."""

from __future__ import annotations

from typing import Any

import pytest

from fastproxy.processes.parent import TICKET_ROTATION, Parent, Place, Programs
from fastproxy.processes.worker import Worker
from fastproxy.settings.options import EntryPoint, EntryPointTls, Settings
from fastproxy.system.channel import Message
from tests.support.stand_in import StandIn

PROGRAMS = Programs(lambda place: None, None, None, lambda shared, number: None)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def parent_of(tls: EntryPointTls | None, clock: Clock) -> Parent:
    points = {"e": EntryPoint(address="127.0.0.1:0", tls=tls)}
    return Parent(Settings(entry_points=points, workers=2), PROGRAMS, -1, clock)


def test_keys_are_rotated_and_sent_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    parent = parent_of(EntryPointTls(), clock)
    sent: list[tuple[int, str, Any]] = []
    for worker in parent.workers:
        monkeypatch.setattr(
            type(worker),
            "send",
            lambda self, kind, **values: sent.append((self.number, kind, values)),
        )
    first = parent._ticket_keys
    parent._on_time()
    assert sent == []
    clock.now += TICKET_ROTATION
    parent._on_time()
    second = parent._ticket_keys
    assert second[0] == first[1] and first[0] in second
    keys = [key.hex() for key in second]
    assert sent == [(0, "tickets", {"keys": keys}), (1, "tickets", {"keys": keys})]
    parent._on_time()
    assert len(sent) == 2


def test_without_tls_there_are_no_keys() -> None:
    clock = Clock()
    parent = parent_of(None, clock)
    clock.now += 10 * TICKET_ROTATION
    parent._on_time()
    assert parent._ticket_keys == ()


def test_a_worker_hands_new_keys_to_its_engine() -> None:
    engine = StandIn()
    place = Place(0, Settings(), -1, -1, ())
    worker = Worker(place, None, engine, lambda config: None)  # type: ignore[arg-type]
    worker._handle(Message("tickets", {"keys": ["00" * 80, "11" * 80]}, ()))
    assert engine.ticket_keys == (b"\x00" * 80, b"\x11" * 80)
