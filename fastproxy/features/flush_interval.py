"""Bound how long received response bytes may wait before the client gets them.

fastproxy passes bytes on as they come, whatever the length of the response is known to be, so no
interval is ever waited for; the annotation is checked as in 1.7.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastproxy.feature import Annotation, Feature, Notes, OnInvalid, Refs, Scope
from fastproxy.model import durations
from fastproxy.model.configuration import Backend, Config


def interval(value: str) -> int | None:
    """Nanoseconds; None for the default (empty or 0), negative = after every write."""
    return (durations.parse(value) or None) if value else None


INTERVAL: Annotation[int | None] = Annotation(
    name="responseforwarding-flushinterval",
    parse=interval,
    default=None,
    doc="Duration (a bare number means seconds) that received bytes may wait at most; 0: the "
    "default of 100 ms. fastproxy never lets them wait.",
    example="20ms",
    on_invalid=OnInvalid.DROP,
    public=True,
)


@dataclass(frozen=True, slots=True)
class FlushInterval(Config):
    nanoseconds: int


def read(notes: Notes, refs: Refs) -> FlushInterval | None:
    found = notes.get(INTERVAL)
    return None if found is None else FlushInterval(found)


def tune(backend: Backend, config: FlushInterval) -> Backend:
    return replace(backend, flush_interval=config.nanoseconds)


FEATURE = Feature(
    name="Flush interval",
    scope=Scope.SERVICE,
    annotations=(INTERVAL,),
    read=read,
    on_invalid=OnInvalid.DROP,
    config=FlushInterval,
    tune=tune,
    doc=__doc__ or "",
)
