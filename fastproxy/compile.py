"""Compile `Desired` into the table block the engine reads, reusing what has not changed.

Idea: one route on one entry point is a *piece*: its operations as bytes, and the slots it holds. A
piece depends on the route, on its backend without the endpoints, and on the static settings, so an
unchanged piece is taken over from the previous `Compiled`, and a slot is kept while its
specification is equal. Everything is pure: abandoning a generation is dropping its `Compiled`.

Slots are numbers under which a worker keeps what must survive a reload: live backends, filters,
certificates, and counters in shared memory. A slot that generation N gives up is free for N + 2 at
the earliest: `compile_table` starts from a generation that is live, and never hands out again what
that one still holds.

Block layout (little-endian, offsets from its start, sections 8-byte aligned): header of 64 bytes,
route records of 64 bytes, matcher section, then names and operations, equal bytes stored once.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastproxy.engine.change import BackendSpecification
from fastproxy.engine.operations import (
    ErrorPages,
    OfferEntryPointCertificate,
    Operation,
    Phase,
    Scripted,
)
from fastproxy.entry_point_features import entry_point_operations
from fastproxy.feature import BuildContext, Feature
from fastproxy.features import api
from fastproxy.model import Backend, Certificate, Config, Desired, Route
from fastproxy.rules import Matcher
from fastproxy.settings import Settings

log = logging.getLogger(__name__)

MAGIC = b"FPTABLE1"
VERSION = 1
HEADER = struct.Struct("<8sIIIIIIQ24x")
RECORD = struct.Struct("<16I")
NO_SLOT = 0xFFFFFFFF
ALL_ENDPOINTS = 0xFFFFFFFF  # retry_attempts: as many as the backend has endpoints
PRESERVE_HOST = 1
HAS_SCRIPTED = 2
NOT_FOUND = 4  # after the request operations the answer is 404
SLOT_OFFSET = 8  # of the filter slot in an encoded operation: the first word of its payload

# The record of requests without a route, where the entry point has features; loses to every route.
FALLBACK = "backend not found"
LOWEST = -(1 << 62)

Entry = tuple[int, int, tuple[Matcher, ...], int, str]
MatcherBuilder = Callable[[Sequence[Entry]], bytes]
Claim = tuple[str, tuple[Any, ...], Any, int]  # kind, key, specification, slot


class Slots:
    """Which slot each key of a kind holds, and for which specification."""

    def __init__(self, limits: Mapping[str, int] | None = None) -> None:
        self.limits = dict(limits or {})  # kind -> how many there are; absent: unlimited
        self.held: dict[tuple[str, tuple[Any, ...]], tuple[Any, int]] = {}
        self.free: dict[str, list[int]] = {}
        self.released: dict[str, list[int]] = {}
        self.size: dict[str, int] = {}
        self.reused: list[tuple[str, int]] = []  # since the previous generation

    @classmethod
    def of(cls, claims: Iterable[Claim], limits: Mapping[str, int] | None = None) -> Slots:
        """Return the state in which exactly these claims are held (after a restart)."""
        slots = cls(limits)
        taken: dict[str, set[int]] = {}
        for kind, key, specification, slot in claims:
            if slot != NO_SLOT:
                slots.held[kind, key] = (specification, slot)
                taken.setdefault(kind, set()).add(slot)
        for kind, numbers in taken.items():
            slots.size[kind] = max(numbers) + 1
            slots.free[kind] = [n for n in range(slots.size[kind]) if n not in numbers]
        return slots

    def successor(self) -> Slots:
        """Return a copy for the next generation, in which slots released by this one are free."""
        after = Slots(self.limits)
        after.held = dict(self.held)
        after.size = dict(self.size)
        after.free = {kind: [*numbers] for kind, numbers in self.free.items()}
        for kind, numbers in self.released.items():
            after.free.setdefault(kind, []).extend(numbers)
        return after

    def claim(self, kind: str, key: tuple[Any, ...], specification: Any) -> int:
        """Return the slot of a key; a new one when its specification has changed.

        NO_SLOT when there are no more of this kind (counters: the engine takes it as "no limit").
        """
        held = self.held.get((kind, key))
        if held is not None:
            if held[0] == specification:
                return held[1]
            self.release(kind, key)
        free = self.free.get(kind)
        if free:
            slot = free.pop()
            self.reused.append((kind, slot))
        else:
            slot = self.size.get(kind, 0)
            if slot >= self.limits.get(kind, NO_SLOT):
                log.error("no more %s slots for %s: it has no limit now", kind, key)
                return NO_SLOT
            self.size[kind] = slot + 1
        self.held[kind, key] = (specification, slot)
        return slot

    def release(self, kind: str, key: tuple[Any, ...]) -> None:
        held = self.held.pop((kind, key), None)
        if held is not None:
            self.released.setdefault(kind, []).append(held[1])


@dataclass(frozen=True, slots=True)
class Piece:
    """One route on one entry point, compiled."""

    route: Route
    backend: Backend  # as it was compiled; later endpoints are of no interest here
    name: bytes
    backend_name: bytes
    request: bytes
    response: bytes
    end: bytes
    flags: int
    backend_slot: int
    claims: tuple[Claim, ...]
    filters: tuple[tuple[int, Config], ...]
    statistics_slot: int
    certificate_of: str = ""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A generation: what goes to the workers, and what the next one is built from."""

    generation: int
    block: bytes
    filters: Mapping[int, Config]
    backends: Mapping[int, BackendSpecification]
    certificates: Mapping[int, Certificate]
    failures: tuple[tuple[str, str], ...] = ()  # route name, what went wrong: not served
    pieces: Mapping[tuple[str, int], Piece] = field(default_factory=dict, repr=False)
    slots: Slots = field(default_factory=Slots, repr=False)
    entries: tuple[Entry, ...] = field(default=(), repr=False)
    matcher: bytes = field(default=b"", repr=False)


NOTHING = Compiled(0, b"", {}, {}, {})


def compile_table(
    desired: Desired,
    settings: Settings,
    features: Sequence[Feature],
    previous: Compiled,
    build_matcher: MatcherBuilder,
) -> Compiled:
    """Return the generation after `previous`, which must be live (or NOTHING).

    A route whose operations cannot be built is left out and named in `failures`.
    """
    slots = previous.slots.successor()
    backends = {backend.name: backend for backend in desired.backends}
    wiring = _Wiring(settings, features, slots)
    pieces: dict[tuple[str, int], Piece] = {}
    for name, number in wiring.entry_points.items():
        common = previous.pieces.get((FALLBACK, number)) or wiring.fallback(name, number)
        if common is not None:
            pieces[FALLBACK, number] = common
    for route in (*api.routes(settings), *desired.routes):
        backend = backends.get(route.backend) or Backend(route.backend)
        for name in route.entry_points or settings.default_entry_points:
            entry_point = wiring.entry_points.get(name)
            if entry_point is None:
                continue
            key = (route.name, entry_point)
            piece = previous.pieces.get(key)
            if piece is None or not _same(piece, route, backend):
                piece = wiring.piece(route, backend, name, entry_point, piece)
            if piece is not None:
                pieces[key] = piece
    for key, gone in previous.pieces.items():
        if key not in pieces:
            for kind, name_of_slot, _, _ in gone.claims:
                slots.release(kind, name_of_slot)
    certificates = _certificates(desired.certificates, previous.certificates, slots)
    entries = tuple(
        (index, entry_point, piece.route.matchers, piece.route.priority, piece.route.name)
        for index, ((_, entry_point), piece) in enumerate(pieces.items())
    )
    matcher = previous.matcher if entries == previous.entries else b""
    matcher = matcher or build_matcher(entries)
    generation = previous.generation + 1
    return Compiled(
        generation,
        assemble(generation, pieces, matcher, _attempts(settings)),
        {slot: config for piece in pieces.values() for slot, config in piece.filters},
        _specifications(pieces.values(), backends, previous.backends),
        certificates,
        tuple(wiring.failures),
        pieces,
        slots,
        entries,
        matcher,
    )


def restored(
    generation: int,
    block: bytes,
    pieces: Mapping[tuple[str, int], Piece],
    backends: Mapping[int, BackendSpecification],
    certificates: Mapping[int, Certificate],
    limits: Mapping[str, int],
) -> Compiled:
    """Return the live generation as a restarted controller continues it: slots stay given out."""
    claims = [claim for piece in pieces.values() for claim in piece.claims]
    claims += [
        ("certificate", (certificate.name, certificate.entry_points), certificate, slot)
        for slot, certificate in certificates.items()
    ]
    return Compiled(
        generation,
        block,
        {slot: config for piece in pieces.values() for slot, config in piece.filters},
        backends,
        certificates,
        pieces=pieces,
        slots=Slots.of(claims, limits),
    )


def assemble(
    generation: int, pieces: Mapping[tuple[str, int], Piece], matcher: bytes, attempts: int
) -> bytes:
    """Return the block of compiled pieces, in their order."""
    matcher_offset = HEADER.size + RECORD.size * len(pieces)
    offset = matcher_offset + len(matcher)
    tail = [matcher]
    offsets: dict[bytes, int] = {}

    def place(data: bytes) -> int:
        nonlocal offset
        known = offsets.get(data)
        if known is None:
            padding = -offset % 8
            tail.append(bytes(padding))
            tail.append(data)
            known = offsets[data] = offset + padding
            offset = known + len(data)
        return known

    records = []
    for (_, entry_point), piece in pieces.items():
        name, backend_name = piece.name, piece.backend_name
        request, response, end, flags = piece.request, piece.response, piece.end, piece.flags
        common = pieces.get((FALLBACK, entry_point))
        if common is not None and common is not piece:
            # What the entry point does wraps what the route does.
            request, response = common.request + request, response + common.response
            flags |= common.flags & HAS_SCRIPTED
        flush = max(0, piece.backend.flush_interval // 1_000_000)
        records.append(
            RECORD.pack(
                *(place(name), len(name), place(backend_name), len(backend_name)),
                *(piece.backend_slot, flags),
                *(place(request) if request else 0, len(request)),
                *(place(response) if response else 0, len(response)),
                *(place(end) if end else 0, len(end)),
                *(entry_point, attempts, min(flush, NO_SLOT), 0),
            )
        )
    padding = -offset % 8
    header = HEADER.pack(
        MAGIC, VERSION, offset + padding, matcher_offset, len(matcher), HEADER.size, len(pieces),
        generation,
    )  # fmt: skip
    return b"".join((header, *records, *tail, bytes(padding)))


class _Wiring:
    """Builds pieces; collects failures."""

    def __init__(self, settings: Settings, features: Sequence[Feature], slots: Slots) -> None:
        self.settings = settings
        self.slots = slots
        self.order = {feature.config: (i, feature) for i, feature in enumerate(features)}
        self.entry_points = {name: i for i, name in enumerate(sorted(settings.entry_points))}
        self.failures: list[tuple[str, str]] = []

    def piece(
        self, route: Route, backend: Backend, name: str, entry_point: int, old: Piece | None
    ) -> Piece | None:
        place = (route.name, entry_point)
        claims: list[Claim] = []
        phases: dict[Phase, list[bytes]] = {}
        filters: dict[int, Config] = {}
        scripted = False
        certificate_of = ""

        def claimed(kind: str, key: tuple[Any, ...], specification: Any) -> int:
            slot = self.slots.claim(kind, (*place, *key), specification)
            claims.append((kind, (*place, *key), specification, slot))
            return slot

        wired = [self.order[type(c)] + (c,) for c in (*route.configs, *backend.configs)
                 if type(c) in self.order]  # fmt: skip
        wired.sort(key=lambda row: row[0])
        try:
            for _, feature, config in wired:
                if feature.build is None:
                    continue
                context = self.context(route, backend, name, feature, config, claimed)
                operations = tuple(feature.build(config, context))
                if any(isinstance(o, OfferEntryPointCertificate) for o in operations):
                    certificate_of = name
                scripted |= any(isinstance(o, Scripted | ErrorPages) for o in operations)
                one = _encode(operations, claimed, filters)
                for phase, encoded in one.items():
                    phases.setdefault(phase, []).append(encoded)
        except Exception as error:
            log.exception("route %s on %s cannot be built and is not served", route.name, name)
            self.failures.append((route.name, str(error)))
            self.forget(claims, ())
            self.forget(old.claims if old is not None else (), ())
            return None
        live = (backend.name, backend.method, certificate_of)
        backend_slot = claimed("backend", (), live)
        statistics = NO_SLOT
        if backend.method == "drr":
            statistics = claimed("quality", (), (backend.name, backend.method))
        self.forget(old.claims if old is not None else (), claims)
        # Responses pass the features in the order of FEATURES too; it says why.
        return Piece(
            route, backend, route.name.encode(), backend.name.encode(),
            b"".join(phases.get(Phase.REQUEST, ())),
            b"".join(phases.get(Phase.RESPONSE, ())),
            b"".join(phases.get(Phase.END, ())),
            (PRESERVE_HOST if route.preserve_host else 0) | (HAS_SCRIPTED if scripted else 0),
            backend_slot, tuple(claims), tuple(filters.items()), statistics,
            certificate_of,
        )  # fmt: skip

    def fallback(self, name: str, entry_point: int) -> Piece | None:
        """Return the entry point's own operations; None when it has none."""
        operations = tuple(entry_point_operations(name, self.settings.entry_points))
        if not operations:
            return None
        claims: list[Claim] = []
        filters: dict[int, Config] = {}

        def claimed(kind: str, key: tuple[Any, ...], specification: Any) -> int:
            own = (FALLBACK, entry_point, *key)
            slot = self.slots.claim(kind, own, specification)
            claims.append((kind, own, specification, slot))
            return slot

        phases = _encode(operations, claimed, filters)
        scripted = any(isinstance(operation, Scripted) for operation in operations)
        return Piece(
            Route(FALLBACK, (name,), (), LOWEST, ""), Backend(""), FALLBACK.encode(), b"",
            phases.get(Phase.REQUEST, b""), phases.get(Phase.RESPONSE, b""), b"",
            NOT_FOUND | (HAS_SCRIPTED if scripted else 0),
            NO_SLOT, tuple(claims), tuple(filters.items()), NO_SLOT,
        )  # fmt: skip

    def context(
        self, route: Route, backend: Backend, name: str, feature: Feature, config: Config,
        claimed: Callable[[str, tuple[Any, ...], Any], int],
    ) -> BuildContext:  # fmt: skip
        calls = iter(range(1 << 20))

        def counters(kind: str, size: int) -> int:
            # A limit that changes starts anew, as a changed route does in 1.7.
            return claimed(kind, (feature.name, next(calls)), (config, size))

        return BuildContext(route, backend, name, self.settings.entry_points, counters)

    def forget(self, old: Iterable[Claim], kept: Iterable[Claim]) -> None:
        keys = {(kind, key) for kind, key, _, _ in kept}
        for kind, key, _, _ in old:
            if (kind, key) not in keys:
                self.slots.release(kind, key)


def _encode(
    operations: Iterable[Operation],
    claimed: Callable[[str, tuple[Any, ...], Any], int],
    filters: dict[int, Config],
) -> dict[Phase, bytes]:
    """Return one feature's operations by phase; gives out the filter slots they name."""
    phases: dict[Phase, bytes] = {}
    numbers: dict[tuple[type, Config], int] = {}
    for operation in operations:
        encoded = operation.encode()
        phase = operation.phase
        config = getattr(operation, "config", None)
        if isinstance(config, Config):
            kind = type(config)
            number = numbers.setdefault((kind, config), len(numbers))
            slot = claimed("filter", (kind.__qualname__, number), config)
            filters[slot] = config
            word = struct.pack("<I", slot)
            encoded = encoded[:SLOT_OFFSET] + word + encoded[SLOT_OFFSET + len(word) :]
        if isinstance(operation, Scripted):
            # What wraps the rest stands among the request operations it wraps.
            phase = Phase.REQUEST if operation.in_phase is Phase.AROUND else operation.in_phase
        phases[phase] = phases.get(phase, b"") + encoded
    return phases


def _same(piece: Piece, route: Route, backend: Backend) -> bool:
    old = piece.backend
    return (piece.route is route or piece.route == route) and (
        old is backend
        or (
            old.name == backend.name
            and old.configs == backend.configs
            and old.method == backend.method
            and old.flush_interval == backend.flush_interval
        )
    )


def _attempts(settings: Settings) -> int:
    if settings.retry is None:
        return 0
    return settings.retry.attempts or ALL_ENDPOINTS


def _specifications(
    pieces: Iterable[Piece],
    backends: Mapping[str, Backend],
    previous: Mapping[int, BackendSpecification],
) -> dict[int, BackendSpecification]:
    """Return what each backend slot holds; equal specifications stay the same objects."""
    found = {}
    for piece in pieces:
        if piece.backend_slot == NO_SLOT:
            continue
        backend = backends.get(piece.backend.name) or piece.backend
        slot, old = piece.backend_slot, previous.get(piece.backend_slot)
        if (
            old is not None
            and (old.endpoints is backend.endpoints or old.endpoints == backend.endpoints)
            and old.name == backend.name
            and old.method == backend.method
            and old.statistics_slot == piece.statistics_slot
            and old.certificate_of == piece.certificate_of
        ):
            found[slot] = old
        else:
            found[slot] = BackendSpecification(
                *(backend.name, backend.method, backend.endpoints),
                *(piece.statistics_slot, piece.certificate_of),
            )
    return found


def _certificates(
    wanted: Iterable[Certificate], previous: Mapping[int, Certificate], slots: Slots
) -> dict[int, Certificate]:
    found = {}
    for certificate in wanted:
        key = (certificate.name, certificate.entry_points)
        found[slots.claim("certificate", key, certificate)] = certificate
    for slot, certificate in previous.items():
        if found.get(slot) is None:
            key = (certificate.name, certificate.entry_points)
            held = slots.held.get(("certificate", key))
            if held is not None and held[1] == slot:
                slots.release("certificate", key)
    return found
