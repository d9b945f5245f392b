"""One route on one entry point, compiled: a *piece*; all pieces of one route: a *group*.

A piece depends on the route, on its backend without the endpoints, and on the static settings, so
that of an unchanged route is taken over from the generation before.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import is_
from typing import TYPE_CHECKING, Any

from fastproxy.engine.operations.writer import (
    ErrorPages,
    OfferEntryPointCertificate,
    Operation,
    Phase,
    Scripted,
)
from fastproxy.feature import BuildContext, Feature
from fastproxy.model.configuration import Backend, Config, Route
from fastproxy.model.matchers import Matcher
from fastproxy.publish.entry_point_features import entry_point_operations, internal_operations
from fastproxy.publish.slots import NO_SLOT, Claim, Slots
from fastproxy.settings.options import Settings

if TYPE_CHECKING:
    from fastproxy.tables.assemble import Row

log = logging.getLogger(__name__)

PRESERVE_HOST = 1
HAS_SCRIPTED = 2
INTERNAL = 128  # neither logged nor counted
NOT_FOUND = 4  # after the request operations the answer is 404
SLOT_OFFSET = 8  # of the filter slot in an encoded operation: the first word of its payload

# The record of requests without a route, where the entry point has features; loses to every route.
FALLBACK = "backend not found"
LOWEST = -(1 << 62)

# Entry point, matchers, priority and tie break, name.
Place = tuple[int, tuple[Matcher, ...], tuple[int, int], str]


@dataclass(frozen=True, slots=True)
class Piece:
    route: Route
    backend: Backend  # as it was compiled, without endpoints
    place: Place  # what the matcher has to know
    row: Row  # what stands in the table
    claims: tuple[Claim, ...]
    filters: tuple[tuple[int, Config], ...]
    statistics_slot: int
    certificate_of: str = ""
    remarks: tuple[tuple[str, str], ...] = ()  # annotation, what it cannot do here

    @property
    def entry_point(self) -> int:
        return self.place[0]

    @property
    def backend_slot(self) -> int:
        return self.row[5]


@dataclass(frozen=True, slots=True)
class Group:
    route: Route
    backend: Backend  # as it was seen last
    pieces: tuple[Piece, ...]
    failures: tuple[str, ...] = ()  # entry points on which it could not be built: what went wrong

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled for a restarted controller, which knows the endpoints from elsewhere.
        return Group, (self.route, replace(self.backend, endpoints=()), self.pieces)


@dataclass(slots=True)
class _Operations:
    """What the operations of one piece come to."""

    request: bytes = b""
    response: bytes = b""
    end: bytes = b""
    filters: dict[int, Config] = field(default_factory=dict)
    scripted: bool = False
    remarks: dict[tuple[str, str], None] = field(default_factory=dict)

    def warn(self, annotation: str, sentence: str) -> None:
        self.remarks[annotation, sentence] = None


LIMITS = ("connections", "rate")  # kinds of counters without which a route is not served


class Wiring:
    """Builds groups; `slots` is changed by it."""

    def __init__(self, settings: Settings, features: Sequence[Feature], slots: Slots) -> None:
        self.settings = settings
        self.slots = slots
        self.order = {feature.config: (i, feature) for i, feature in enumerate(features)}
        self.entry_points = {name: i for i, name in enumerate(sorted(settings.entry_points))}
        self.common: dict[int, Piece] = {}  # what the entry points themselves do

    def fallback(self, old: Group | None) -> Group | None:
        """Return the entry points' own operations; None when none has any."""
        found = list(old.pieces) if old is not None else []
        if old is None:
            pieces = (self._own(name, number) for name, number in self.entry_points.items())
            found = [piece for piece in pieces if piece is not None]
        self.common = {piece.entry_point: piece for piece in found}
        if not found:
            return None
        return old or Group(found[0].route, found[0].backend, tuple(found))

    def group(self, route: Route, backend: Backend, old: Group | None) -> Group:
        """Compile a route, taking over the pieces that stay as they are."""
        before = {piece.entry_point: piece for piece in old.pieces} if old is not None else {}
        pieces: list[Piece] = []
        failures: list[str] = []
        names = dict.fromkeys(route.entry_points or self.settings.default_entry_points)
        for name in names:
            entry_point = self.entry_points.get(name)
            if entry_point is None:
                continue
            piece = before.pop(entry_point, None)
            if piece is None or not _same(piece, route, backend):
                try:
                    piece = self._piece(route, backend, name, entry_point, piece)
                except Exception as error:
                    # A mistake of the user is a finding (FP170); anything else is one of ours.
                    if not isinstance(error, ValueError):
                        log.exception("route %s on %s cannot be built", route.name, name)
                    annotation = getattr(error, "annotation", "")
                    failures.append(f"{annotation}: {error}" if annotation else str(error))
                    break  # as in 1.7: what was wired before stays, what comes after is not
            pieces.append(piece)
        for gone in before.values():
            self.forget(gone.claims, ())
        kept = tuple(pieces)
        if old is not None and len(kept) == len(old.pieces) and all(map(is_, kept, old.pieces)):
            kept = old.pieces
        return Group(route, backend, kept, tuple(failures))

    def drop(self, group: Group) -> None:
        """Give back what a route held."""
        for piece in group.pieces:
            self.forget(piece.claims, ())

    def forget(self, old: Iterable[Claim], kept: Iterable[Claim]) -> None:
        keys = {(kind, key) for kind, key, _, _ in kept}
        for kind, key, _, _ in old:
            if (kind, key) not in keys:
                self.slots.release(kind, key)

    def _piece(
        self, route: Route, backend: Backend, name: str, entry_point: int, old: Piece | None
    ) -> Piece:
        claims: list[Claim] = []
        certificate_of = ""
        before = old.claims if old is not None else ()

        def claimed(kind: str, key: tuple[Any, ...], specification: Any) -> int:
            own = (route.name, entry_point, *key)
            slot = self.slots.claim(kind, own, specification)
            claims.append((kind, own, specification, slot))
            return slot

        found = _Operations()
        try:
            if route.internal:
                operations = tuple(internal_operations(name, self.settings.entry_points))
                _encode(operations, claimed, found)
            for feature, config in self._wired(route, backend):
                if feature.build is None:
                    continue
                context = self._context(route, backend, name, feature, config, claimed, found.warn)
                operations = tuple(feature.build(config, context))
                if any(isinstance(o, OfferEntryPointCertificate) for o in operations):
                    certificate_of = name
                _encode(operations, claimed, found)
        except Exception:
            self.forget(claims, ())
            self.forget(before, ())
            raise
        live = (backend.name, backend.method, certificate_of)
        backend_slot = claimed("backend", (), live)
        statistics = NO_SLOT
        if backend.method == "drr":
            statistics = claimed("quality", (), (backend.name, backend.method))
        self.forget(before, claims)
        flags = PRESERVE_HOST if route.preserve_host else 0
        flags |= INTERNAL if route.internal else 0
        return Piece(
            route, replace(backend, endpoints=()),
            (entry_point, route.matchers, (route.priority, route.tie_break), route.name),
            self._row(route, backend, entry_point, found, flags, backend_slot),
            tuple(claims), tuple(found.filters.items()), statistics, certificate_of,
            tuple(found.remarks),
        )  # fmt: skip

    def _row(
        self, route: Route, backend: Backend, entry_point: int, found: _Operations, flags: int,
        backend_slot: int,
    ) -> Row:  # fmt: skip
        request, response = found.request, found.response
        flags |= HAS_SCRIPTED if found.scripted else 0
        common = None if route.internal else self.common.get(entry_point)
        if common is not None:
            # What the entry point does wraps what the route does.
            request, response = common.row[2] + request, response + common.row[3]
            flags |= common.row[6] & HAS_SCRIPTED
        own = found.request if flags & NOT_FOUND else common.row[2] if common is not None else b""
        flush = min(max(0, backend.flush_interval // 1_000_000), NO_SLOT)
        return (
            route.name.encode(), backend.name.encode(), request, response, found.end,
            backend_slot, flags, entry_point, flush, len(own),
        )  # fmt: skip

    def _own(self, name: str, entry_point: int) -> Piece | None:
        """Return what an entry point does to all its requests; None for nothing."""
        operations = tuple(entry_point_operations(name, self.settings.entry_points))
        if not operations:
            return None
        claims: list[Claim] = []

        def claimed(kind: str, key: tuple[Any, ...], specification: Any) -> int:
            own = (FALLBACK, entry_point, *key)
            slot = self.slots.claim(kind, own, specification)
            claims.append((kind, own, specification, slot))
            return slot

        found = _Operations()
        _encode(operations, claimed, found)
        found.end = b""
        route, backend = Route(FALLBACK, (name,), (), LOWEST, ""), Backend("")
        return Piece(
            route, backend, (entry_point, (), (LOWEST, 0), FALLBACK),
            self._row(route, backend, entry_point, found, NOT_FOUND, NO_SLOT),
            tuple(claims), tuple(found.filters.items()), NO_SLOT,
        )  # fmt: skip

    def _wired(self, route: Route, backend: Backend) -> list[tuple[Feature, Config]]:
        """Return the configurations in the order of the features, with them.

        Responses pass the features in this order too; the list of features says why.
        """
        known = [self.order[type(c)] + (c,) for c in (*route.configs, *backend.configs)
                 if type(c) in self.order]  # fmt: skip
        known.sort(key=lambda row: row[0])
        return [(feature, config) for _, feature, config in known]

    def _context(
        self, route: Route, backend: Backend, name: str, feature: Feature, config: Config,
        claimed: Callable[[str, tuple[Any, ...], Any], int], warn: Callable[[str, str], None],
    ) -> BuildContext:  # fmt: skip
        calls = iter(range(1 << 20))

        def counters(kind: str, size: int) -> int:
            # A limit that changes starts anew, as a changed route does in 1.7.
            slot = claimed(kind, (feature.name, next(calls)), (config, size))
            if slot == NO_SLOT and kind in LIMITS:  # nobody is let through without his limit
                raise ValueError(f"no counter of {self.slots.limits[kind]} is left for its limit")
            return slot

        return BuildContext(route, backend, name, self.settings.entry_points, counters, warn)


def _encode(
    operations: Iterable[Operation],
    claimed: Callable[[str, tuple[Any, ...], Any], int],
    found: _Operations,
) -> None:
    """Add one feature's operations, giving out the filter slots they name."""
    numbers: dict[tuple[type, Config], int] = {}
    for operation in operations:
        encoded = operation.encode()
        phase = operation.phase
        config = getattr(operation, "config", None)
        if isinstance(config, Config):
            kind = type(config)
            number = numbers.setdefault((kind, config), len(numbers))
            slot = claimed("filter", (kind.__qualname__, number), config)
            found.filters[slot] = config
            word = struct.pack("<I", slot)
            encoded = encoded[:SLOT_OFFSET] + word + encoded[SLOT_OFFSET + len(word) :]
        if isinstance(operation, Scripted):
            phase = operation.in_phase
        found.scripted |= isinstance(operation, Scripted | ErrorPages)
        if phase is Phase.REQUEST:
            found.request += encoded
        elif phase is Phase.RESPONSE:
            found.response += encoded
        else:
            found.end += encoded


def _same(piece: Piece, route: Route, backend: Backend) -> bool:
    """Say whether a piece is that of this route and backend, whatever their endpoints."""
    old = piece.backend
    return (piece.route is route or piece.route == route) and (
        old.name == backend.name
        and old.configs == backend.configs
        and old.method == backend.method
        and old.flush_interval == backend.flush_interval
    )
