"""Offer the routes of an Ingress on some entry points only.

Unknown names are left out; when none is left the routes exist but nothing leads to them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastproxy.annotation_values import comma_list, shown
from fastproxy.feature import Annotation, Feature, Notes, OnInvalid, Refs, Scope
from fastproxy.model.configuration import Config, Route

ENTRY_POINTS: Annotation[tuple[str, ...]] = Annotation(
    name="frontend-entry-points",
    parse=comma_list,
    default=(),
    doc="Comma-separated entry points on which the routes are offered; default: "
    "`defaultEntryPoints`.",
    example="http,https",
    aliases=("traefik.frontend.entryPoints",),
    on_invalid=OnInvalid.DROP,
    public=True,
)


@dataclass(frozen=True, slots=True)
class EntryPoints(Config):
    names: tuple[str, ...]  # as written; joined by `-` they prefix the names of route and backend
    known: tuple[str, ...]  # those which exist; none: the route is not wired (404)


def read(notes: Notes, refs: Refs) -> EntryPoints | None:
    names = notes.get(ENTRY_POINTS)
    if not names:
        return None
    known = tuple(dict.fromkeys(name for name in names if name in refs.entry_points))
    unknown = [name for name in names if name not in refs.entry_points]
    if unknown and known:  # without any the translation says that nothing is served
        notes.warn(
            ENTRY_POINTS,
            f"no entry point is called {', '.join(map(shown, unknown))}; the entry points are "
            f"{', '.join(sorted(refs.entry_points))}",
            f"The routes are offered on {', '.join(known)}.",
        )
    return EntryPoints(names, known)


def shape(route: Route, config: EntryPoints) -> Route:
    return replace(route, entry_points=config.known)


FEATURE = Feature(
    name="Entry points",
    scope=Scope.INGRESS,
    annotations=(ENTRY_POINTS,),
    read=read,
    on_invalid=OnInvalid.DROP,
    config=EntryPoints,
    shape=shape,
    doc=__doc__ or "",
)
