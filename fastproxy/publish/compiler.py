"""Compile `Desired` into the table block the engine reads, reusing what has not changed.

Idea: a route that is the same object as in the generation before is taken over as it is, with its
compiled *pieces* and the slots they hold (`wiring.py`, `slots.py`); the others are compiled. What
remains to be done for all routes is laying their rows behind each other and building the matcher,
both in C. Everything is pure: abandoning a generation is dropping its `Compiled`.

Block layout (little-endian, offsets from its start, sections 8-byte aligned): header of 64 bytes,
route records of 64 bytes, matcher section, then names and operations, equal bytes stored once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fastproxy.feature import Feature
from fastproxy.features import api, metrics
from fastproxy.model.configuration import Backend, Certificate, Config, Desired
from fastproxy.model.matchers import Matcher
from fastproxy.publish.route_compiler import FALLBACK, Group, Piece, Place, Wiring
from fastproxy.publish.slots import NO_SLOT, Slots
from fastproxy.settings.options import Settings
from fastproxy.tables.assemble import assemble
from fastproxy.tables.change import BackendSpecification

ALL_ENDPOINTS = 0xFFFFFFFF  # retry_attempts: as many as the backend has endpoints

# Number of the record, then `Place`.
Entry = tuple[int, int, tuple[Matcher, ...], tuple[int, int], str]
MatcherBuilder = Callable[[Sequence[Entry]], bytes]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A generation: what goes to the workers, and what the next one is built from."""

    generation: int
    block: bytes
    filters: Mapping[int, Config]
    backends: Mapping[int, BackendSpecification]
    certificates: Mapping[int, Certificate]
    failures: tuple[tuple[str, str], ...] = ()  # route name, what went wrong: not served
    groups: Mapping[str, Group] = field(default_factory=dict, repr=False)  # by route
    slots: Slots = field(default_factory=Slots, repr=False)
    places: tuple[Place, ...] = field(default=(), repr=False)
    matcher: bytes = field(default=b"", repr=False)
    wanted: tuple[Certificate, ...] = field(default=(), repr=False)  # what `certificates` is from
    moved: frozenset[str] = frozenset()  # backends whose endpoints are not those of `groups`
    remarks: tuple[tuple[str, str, str], ...] = ()  # route, annotation, what it cannot do there

    def with_moves(self, moved: Mapping[int, BackendSpecification]) -> Compiled:
        """Return this generation with other endpoints for some backends."""
        names = self.moved.union(specification.name for specification in moved.values())
        return replace(self, backends={**self.backends, **moved}, moved=names)


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
    wiring = Wiring(settings, features, slots)
    groups, changed = _groups(desired, settings, wiring, previous)
    gone = [previous.groups[name] for name in previous.groups.keys() - groups.keys()]
    for group in gone:
        wiring.drop(group)
    replaced = [previous.groups[group.route.name] for group in changed
                if group.route.name in previous.groups]  # fmt: skip
    certificates = previous.certificates
    if desired.certificates is not previous.wanted:
        certificates = _certificates(desired.certificates, previous.certificates, slots)
    pieces = [piece for group in groups.values() for piece in group.pieces]
    places = tuple([piece.place for piece in pieces])
    matcher = previous.matcher if places == previous.places else b""
    if not matcher:  # (at, *place) would take three times as long
        matcher = build_matcher([(at,) + place for at, place in enumerate(places)])  # noqa: RUF005
    generation = previous.generation + 1
    return Compiled(
        generation,
        assemble(generation, [piece.row for piece in pieces], matcher, _attempts(settings)),
        _filters(previous.filters, (*gone, *replaced), changed),
        _specifications(previous.backends, (*gone, *replaced), changed),
        certificates,
        tuple((group.route.name, text) for group in changed for text in group.failures),
        groups,
        slots,
        places,
        matcher,
        desired.certificates,
        remarks=tuple((p.route.name, *remark) for p in pieces if p.remarks for remark in p.remarks),
    )


def restored(
    generation: int,
    block: bytes,
    groups: Mapping[str, Group],
    backends: Mapping[int, BackendSpecification],
    certificates: Mapping[int, Certificate],
    limits: Mapping[str, int],
) -> Compiled:
    """Return the live generation as a restarted controller continues it: slots stay given out."""
    pieces = [piece for group in groups.values() for piece in group.pieces]
    claims = [claim for piece in pieces for claim in piece.claims]
    claims += [
        ("certificate", (certificate.name, certificate.entry_points), certificate, slot)
        for slot, certificate in certificates.items()
    ]
    return Compiled(
        generation,
        block,
        {slot: config for piece in pieces for slot, config in piece.filters},
        backends,
        certificates,
        groups=groups,
        slots=Slots.of(claims, limits),
        wanted=tuple(certificates.values()),  # nobody else's, unless there are none
    )


def _groups(
    desired: Desired, settings: Settings, wiring: Wiring, previous: Compiled
) -> tuple[dict[str, Group], list[Group]]:
    """Return the groups of all routes, in order, and those that are not as before."""
    backends = {backend.name: backend for backend in desired.backends}
    groups: dict[str, Group] = {}
    changed: list[Group] = []
    known = previous.groups
    moved = previous.moved
    common = wiring.fallback(known.get(FALLBACK))
    if common is not None:
        groups[FALLBACK] = common
        if common is not known.get(FALLBACK):
            changed.append(common)
    for route in (*api.routes(settings), *metrics.routes(settings), *desired.routes):
        name = route.name
        backend = backends.get(route.backend) or Backend(route.backend)
        group = known.get(name)
        if (
            group is None
            or group.route is not route
            or group.backend is not backend
            or group.failures
            or backend.name in moved
        ):
            group = wiring.group(route, backend, group)
            changed.append(group)
        groups[name] = group
    return groups, changed


def _attempts(settings: Settings) -> int:
    if settings.retry is None:
        return 0
    return settings.retry.attempts or ALL_ENDPOINTS


def _filters(
    previous: Mapping[int, Config], before: Iterable[Group], after: Iterable[Group]
) -> dict[int, Config]:
    """Return the configuration that each filter slot holds."""
    found = dict(previous)
    for piece in _pieces(before):
        for slot, _ in piece.filters:
            found.pop(slot, None)
    for piece in _pieces(after):
        found.update(piece.filters)
    return found


def _specifications(
    previous: Mapping[int, BackendSpecification], before: Iterable[Group], after: Iterable[Group]
) -> dict[int, BackendSpecification]:
    """Return what each backend slot holds; equal specifications stay the same objects."""
    found = dict(previous)
    for piece in _pieces(before):
        found.pop(piece.backend_slot, None)
    for group in after:
        backend = group.backend
        for piece in group.pieces:
            slot = piece.backend_slot
            if slot == NO_SLOT:
                continue
            new = BackendSpecification(
                *(backend.name, backend.method, backend.endpoints),
                *(piece.statistics_slot, piece.certificate_of),
            )
            old = previous.get(slot)
            if old == new and old.endpoints is backend.endpoints:
                new = old
            found[slot] = new
    return found


def _pieces(groups: Iterable[Group]) -> Iterable[Piece]:
    return (piece for group in groups for piece in group.pieces)


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
