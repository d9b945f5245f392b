"""Decide which of several matching routes is used.

Routes are tried in descending priority. Without the annotation, or with 0 or less, the priority is
the length of the route's rule text (`provider.md` 5.6).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastproxy.annotation_values import integer
from fastproxy.feature import Annotation, Feature, Notes, OnInvalid, Refs, Scope
from fastproxy.model.configuration import Config, Route

PRIORITY = Annotation(
    name="priority",
    parse=integer,
    default=0,
    doc="Priority of the routes of this Ingress; 0 or less: the length of their rule text.",
    example="30",
    aliases=("traefik.frontend.priority",),
    public=True,
)


@dataclass(frozen=True, slots=True)
class Priority(Config):
    value: int  # always positive; also prefixes the names of route and backend


def read(notes: Notes, refs: Refs) -> Priority | None:
    value = notes.get(PRIORITY)
    return Priority(value) if value > 0 else None


def shape(route: Route, config: Priority) -> Route:
    return replace(route, priority=config.value)


FEATURE = Feature(
    name="Priority",
    scope=Scope.INGRESS,
    annotations=(PRIORITY,),
    read=read,
    on_invalid=OnInvalid.DEFAULT,
    config=Priority,
    shape=shape,
    doc=__doc__ or "",
)
