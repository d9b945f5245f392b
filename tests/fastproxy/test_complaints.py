"""What of many failures is written, and when."""

from __future__ import annotations

import errno
import logging

import pytest

from fastproxy.system.complaints import (
    FIRST,
    KINDS,
    MOST,
    PAUSE,
    SENTENCES,
    Complaint,
    Complaints,
    Why,
)

REFUSED = Complaint(
    Why.CONNECT, 502, errno.ECONNREFUSED, "a.test/", "shop", "http://10.0.0.1:80", ""
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def complaints(clock: Clock) -> Complaints:
    return Complaints(clock)


def test_the_first_at_once_then_counts(
    complaints: Complaints, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """For an hour of a hundred failures a second: 61 lines, and not one failure uncounted."""
    said = "502 route a.test/: connect() to http://10.0.0.1:80 failed (111: Connection refused)"
    total = 0
    for _ in range(3600 * 2):
        complaints.hear([(REFUSED, 50)])
        total += 50
        clock.now += 0.5
        while complaints.due is not None and complaints.due <= clock.now:
            complaints.tell()
    complaints.end()
    lines = caplog.messages
    assert lines[0] == said
    assert lines[1] == f"{said}; 999 more in 10 s"
    assert lines[2] == f"{said}; 6000 more in 60 s"
    assert 60 <= len(lines) <= 62
    counted = sum(getattr(record, "fields", {}).get("suppressed", 1) for record in caplog.records)
    assert counted == total


def test_after_a_pause_the_next_is_told_at_once(
    complaints: Complaints, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    complaints.hear([(REFUSED, 1)])
    clock.now += FIRST
    complaints.tell()
    assert (complaints.due, len(caplog.messages)) == (None, 1)
    complaints.hear([(REFUSED, 1)])
    assert len(caplog.messages) == 2


def test_different_reasons_are_told_apart_up_to_a_number(
    complaints: Complaints, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(500):
        endpoint = f"http://10.0.0.{number}:80"
        complaints.hear([(REFUSED._replace(endpoint=endpoint), 2)])
    assert len(caplog.messages) == KINDS + 1
    complaints.hear([(REFUSED._replace(backend="another"), 1)])
    assert len(caplog.messages) == KINDS + 2
    clock.now += FIRST
    complaints.tell()
    counted = sum(getattr(record, "fields", {}).get("suppressed", 1) for record in caplog.records)
    assert counted == 1001
    clock.now += PAUSE
    complaints.tell()
    assert complaints.due is None


def test_memory_is_bounded(complaints: Complaints) -> None:
    for number in range(3 * MOST):
        complaints.hear([(REFUSED._replace(backend=f"b{number}"), 1)])
    assert len(complaints._told) <= MOST + len(Why)


@pytest.mark.parametrize("why", Why)
def test_every_reason_has_a_sentence(why: Why) -> None:
    complaint = REFUSED._replace(why=why)
    assert str(complaint).startswith("502 route a.test/: ")
    assert "{" not in str(complaint)
    assert set(SENTENCES) == set(Why)


def test_fields() -> None:
    assert REFUSED.fields() == {
        "status": 502,
        "route": "a.test/",
        "backend": "shop",
        "endpoint": "http://10.0.0.1:80",
        "error": "111: Connection refused",
    }


def test_levels(complaints: Complaints, caplog: pytest.LogCaptureFixture) -> None:
    complaints.hear([(REFUSED, 1), (REFUSED._replace(why=Why.BREAKER, number=0), 1)])
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
