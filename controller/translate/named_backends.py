"""Backends of other routes that features of a route use, such as those of error pages.

A backend that is not there is told to whoever names it, and again when that changes; so it is kept
which routes name which backend, and only those are looked at when one appears or goes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from fastproxy.model import findings
from fastproxy.model.configuration import ObjectReference, Route
from fastproxy.model.findings import Finding


class NamedBackends:
    """Which routes name which backends."""

    def __init__(self) -> None:
        self._of: dict[str, Collection[str]] = {}  # route -> backends
        self._by: dict[str, set[str]] = {}  # backend -> routes

    def put(self, name: str, backends: Collection[str]) -> bool:
        """Note what a route names now; False when it names nothing, and did not before."""
        before, after = set(self._of.pop(name, ())), set(backends)
        for backend in before - after:
            self._by[backend].discard(name)
            if not self._by[backend]:
                del self._by[backend]
        for backend in after - before:
            self._by.setdefault(backend, set()).add(name)
        if after:
            self._of[name] = after
        return bool(before or after)

    def routes(self, backend: str) -> Collection[str]:
        return self._by.get(backend, ())


def unusable(
    route: Route,
    origin: ObjectReference,
    mentions: Mapping[str, str],
    exists: Callable[[str], bool],
) -> tuple[Finding, ...]:
    """Findings about backends that are not there, or are the route's own.

    `mentions` are the backends that it names, each with the field of the origin that does.
    """
    return tuple(
        findings.OTHER_BACKEND_UNKNOWN(origin, field, name=route.name, backend=backend)
        for backend, field in mentions.items()
        if not exists(backend) or backend == route.backend
    )
