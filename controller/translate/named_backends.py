"""Backends that features of a route name, such as those of error pages.

A backend that is not there is told to whoever names it, and again when that changes; so it is kept
which routes name which backend, and only those are looked at when one appears or goes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from controller.dialects.traefik.reading import annotation_field
from fastproxy import findings
from fastproxy.feature import Feature
from fastproxy.features import FEATURE_OF
from fastproxy.findings import Finding
from fastproxy.model import ObjectReference, Route
from fastproxy.notes import ObjectNotes


class NamedBackends:
    """Which routes name which backends."""

    def __init__(self) -> None:
        self._of: dict[str, Mapping[str, Feature]] = {}  # route -> backends
        self._by: dict[str, set[str]] = {}  # backend -> routes

    def put(self, name: str, route: Route | None) -> bool:
        """Note what a route names now; False when it names nothing, and did not before."""
        before, after = self._of.pop(name, {}), named(route) if route else {}
        for backend in before.keys() - after.keys():
            self._by[backend].discard(name)
            if not self._by[backend]:
                del self._by[backend]
        for backend in after.keys() - before.keys():
            self._by.setdefault(backend, set()).add(name)
        if after:
            self._of[name] = after
        return bool(before or after)

    def routes(self, backend: str) -> Collection[str]:
        return self._by.get(backend, ())


def named(route: Route) -> Mapping[str, Feature]:
    """The backends that a route names, each with the feature which does."""
    found: dict[str, Feature] = {}
    for config in route.configs:
        feature = FEATURE_OF.get(type(config))
        if feature is not None and feature.backends is not None:
            found.update(dict.fromkeys(feature.backends(config), feature))
    return found


def unusable(
    route: Route, origin: ObjectReference, notes: ObjectNotes, exists: Callable[[str], bool]
) -> tuple[Finding, ...]:
    """Findings about backends that are not there, or are the route's own."""
    found = []
    for backend, feature in named(route).items():
        if not exists(backend) or backend == route.backend:
            annotation = feature.annotations[0]
            at = annotation_field(notes.key(annotation) or annotation.keys[0])
            found.append(
                findings.OTHER_BACKEND_UNKNOWN(origin, at, name=route.name, backend=backend)
            )
    return tuple(found)
