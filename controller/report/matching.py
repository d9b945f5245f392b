"""Which route takes a request: asked of the published table, with the matcher of the workers.

A request passes the engine's own parser first, so that it is compared in the form in which a worker
would compare it. That a single condition holds is asked of the same matcher too, with a table of
that condition alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from controller.report.view import View
from fastproxy._core import build_matcher, match
from fastproxy.engine.http.canonical import Refused, canonical
from fastproxy.model.configuration import Backend, Route
from fastproxy.model.matchers import Matcher, text
from fastproxy.publish.route_compiler import FALLBACK

MOST_CANDIDATES = 20
SLASHES = {0: "", 1: "with", 2: "without"}


class Request(NamedTuple):
    """In the form in which it is compared."""

    method: str
    host: str  # lower-case, without port
    path: str  # normalised
    query: str | None
    headers: tuple[tuple[str, str], ...] = ()


class Unusable(ValueError):
    """A request that no worker would take, or that cannot be asked about."""


def request_of(method: str, url: str, headers: Sequence[tuple[str, str]] = ()) -> Request:
    """The request which a client makes for a URL. Raises Unusable with a sentence."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https"):
        raise Unusable(f"{url} is no URL of HTTP; write http://host/path")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.netloc.rpartition("@")[2]
    own = {name.lower() for name, _ in headers}
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [] if "host" in own else [f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers]
    try:
        found = canonical("\r\n".join([*lines, "", ""]).encode())
    except Refused as refused:
        sentence = f"a worker answers {refused.status} before any route is looked for"
        raise Unusable(sentence) from None
    verb, name, path, query = found
    return Request(
        verb.decode("latin-1"),
        name.decode("latin-1"),
        path.decode("latin-1"),
        None if query is None else query.decode("latin-1"),
        tuple(headers),
    )


class Condition(NamedTuple):
    text: str
    holds: bool


@dataclass(frozen=True)
class Candidate:
    route: Route
    conditions: tuple[Condition, ...]
    redirect: str = ""  # "with" or "without": answered 301 to the path with or without last slash

    @property
    def matches(self) -> bool:
        return all(condition.holds for condition in self.conditions)


class Router:
    """The table of one view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._names = sorted(view.settings.entry_points)
        self._routes = {**view.routes}
        self._holds: dict[Matcher, bytes] = {}

    @property
    def entry_points(self) -> tuple[str, ...]:
        return tuple(self._names)

    def route(self, entry_point: str, request: Request) -> tuple[str, str]:
        """Name of the route that takes a request, "" for none; and see `Candidate.redirect`."""
        places = self._view.compiled.places
        answer = self._ask(self._view.compiled.matcher, self._names.index(entry_point), request)
        if answer is None or places[answer[0]][3] == FALLBACK:
            return "", ""
        return places[answer[0]][3], SLASHES[answer[1]]

    def candidates(self, entry_point: str, request: Request) -> tuple[Candidate, ...]:
        """Routes that match, in the order in which they would take the request; then those that
        come nearest to it: the fewest conditions fail, not that of the host, and the most holds."""
        number = self._names.index(entry_point)
        near: list[Candidate] = []
        matching: dict[int, Candidate] = {}
        places = self._view.compiled.places
        for index, (point, matchers, _, name) in enumerate(places):
            route = self._routes.get(name)
            if point != number or route is None:
                continue
            conditions = tuple(Condition(text(m), self._one(m, request)) for m in matchers)
            candidate = Candidate(route, conditions)
            if candidate.matches:
                matching[index] = candidate
            elif any(condition.holds for condition in conditions):
                near.append(candidate)
        ordered = list(self._in_order(matching, request))
        near.sort(key=_distance)
        return tuple([*ordered, *near][:MOST_CANDIDATES])

    def backend(self, route: Route) -> Backend:
        backends = {backend.name: backend for backend in self._view.translation.desired.backends}
        return backends.get(route.backend) or Backend(route.backend)

    def _in_order(self, matching: dict[int, Candidate], request: Request) -> Iterator[Candidate]:
        places = self._view.compiled.places
        left = dict(matching)
        while left:
            entries = [(index, 0, *places[index][1:]) for index in left]
            answer = self._ask(build_matcher(entries), 0, request)
            if answer is None:  # each matches alone, together they cannot fail
                return
            found = left.pop(answer[0])
            yield Candidate(found.route, found.conditions, SLASHES[answer[1]])

    def _one(self, matcher: Matcher, request: Request) -> bool:
        section = self._holds.get(matcher)
        if section is None:
            section = self._holds[matcher] = build_matcher([(0, 0, (matcher,), 0, "")])
        return self._ask(section, 0, request) is not None

    def _ask(self, section: bytes, number: int, request: Request) -> tuple[int, int] | None:
        return match(
            section,
            number,
            request.host,
            request.path,
            request.query,
            request.method,
            request.headers,
        )


def _distance(candidate: Candidate) -> tuple[int, int, int, str]:
    failed = [condition for condition in candidate.conditions if not condition.holds]
    host = any(condition.text.startswith("Host") for condition in failed)
    held = sum(len(condition.text) for condition in candidate.conditions if condition.holds)
    return host, len(failed), -held, candidate.route.name
