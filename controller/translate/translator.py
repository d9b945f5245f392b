"""Snapshot to Desired: the whole of it, or only what a change touches.

Idea. Three pure steps, each result kept:

    Ingress  --ingress.py------->  parts, certificates, findings    per Ingress
    parts    --merge.py--------->  route                            per name
    route    --merge.py--------->  backend with endpoints           per name

A change of an object repeats the first step for the Ingresses that looked at it, the second for
the names those had or have, the third also for the names whose Services' endpoints changed. Nothing
else is visited, so the price of an endpoint change is that of its backends.

Invariants. `translate(snapshot)` is a translator that has seen nothing being given the snapshot:
the incremental way and the full way are one way. What did not change stays the same object, so
that comparing two Desired is cheap.

What we do not like. One default backend for the cluster couples Ingresses: which one has it decides
whether the others with a default backend exist at all. `_elect` handles it apart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from controller.kubernetes.objects import EndpointSlice, Ingress, KubernetesObject, Service
from controller.snapshot.snapshot import Name, Snapshot
from controller.translate import certificates
from controller.translate.fragments import DEFAULT_BACKEND, DEFAULT_ROUTE, Contribution, Order, Part
from controller.translate.groups import Groups, Sorted
from controller.translate.ingress import Contributor
from controller.translate.merge import Merged, merge, merge_backend, merge_default
from controller.translate.named_backends import NamedBackends, unusable
from fastproxy import findings
from fastproxy.findings import Finding
from fastproxy.model import Backend, Desired, Endpoint, ObjectReference, Route
from fastproxy.notes import ObjectNotes
from fastproxy.settings import Settings


@dataclass(frozen=True, slots=True)
class Translation:
    desired: Desired = field(default_factory=Desired)
    findings: tuple[Finding, ...] = ()
    processed: tuple[Name, ...] = ()  # Ingresses whose status is ours to write
    secrets: frozenset[Name] = frozenset()  # looked up, present or not
    # Backends whose endpoints differ from the translation before; None when anything else of
    # Desired differs too.
    moved: Mapping[str, tuple[Endpoint, ...]] | None = None


def translate(snapshot: Snapshot, settings: Settings) -> Translation:
    """Raises ValueError when the label selector of the settings is none."""
    return Translator(settings).update(snapshot)


class Translator:
    """Translates one snapshot after the other, visiting only what changed between them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._contributor = Contributor(settings)
        self._snapshot = Snapshot()
        self._contributions: dict[Name, Contribution] = {}
        self._users: dict[ObjectReference, set[Name]] = {}  # object -> Ingresses that need it
        self._secrets: set[Name] = set()  # the Secrets among `_users`
        self._served: list[Name] = []  # Ingresses that are not skipped, in order
        self._groups = Groups()
        self._merged: dict[str, Merged] = {}
        self._fed_by: dict[Name, set[str]] = {}  # Service -> names of groups with its endpoints
        self._named = NamedBackends()
        self._elected: Name | None = None
        self._duplicates: list[tuple[Order, Name]] = []
        self._chosen = certificates.Chosen((), ())
        self._routes: Sorted[Route] = Sorted()
        self._backends: Sorted[Backend] = Sorted()
        self._found: dict[tuple[str, object], tuple[Finding, ...]] = {}  # by what found it
        self._last = Translation()

    def update(self, snapshot: Snapshot) -> Translation:
        """Translate the snapshot; the same object comes back when nothing of it changed."""
        ingresses, services = self._affected(snapshot)
        self._snapshot = snapshot
        change = _Change()
        names = self._recontribute(ingresses, change)
        for name in names:
            self._merge(name, change)
        fed = {name for service in services for name in self._fed_by.get(service, ())}
        for name in names | fed:
            self._feed(name, change)
        self._last = self._assembled(change)
        return self._last

    def examine(self, objects: Iterable[KubernetesObject]) -> tuple[Finding, ...]:
        """What is wrong with objects that are not served, beside why they are not."""
        found: list[Finding] = []
        for item in objects:
            if isinstance(item, Ingress):
                contribution = self._contributor.contribute(item, self._snapshot)
                found += contribution.findings if contribution is not None else ()
            elif isinstance(item, Service):
                found += self._contributor.examine_service(item, self._snapshot)
        return tuple(dict.fromkeys(found))

    # -- what a change touches --

    def _affected(self, snapshot: Snapshot) -> tuple[set[Name], set[Name]]:
        """Ingresses to contribute again, and Services whose endpoints may differ."""
        ingresses: set[Name] = set()
        services: set[Name] = set()
        for reference in snapshot.changes_since(self._snapshot):
            kind, namespace, name = reference
            if kind == "Ingress":
                ingresses.add((namespace, name))
            elif kind == "EndpointSlice":
                for version in (self._snapshot.get(reference), snapshot.get(reference)):
                    if isinstance(version, EndpointSlice):
                        services.add((namespace, version.service))
            elif kind == "Endpoints":
                services.add((namespace, name))
            else:
                ingresses |= self._users.get(reference, set())
        for service in services:
            ingresses |= self._users.get(ObjectReference("Endpoints", *service), set())
        return ingresses, services

    # -- per Ingress --

    def _recontribute(self, ingresses: Iterable[Name], change: _Change) -> set[str]:
        """Contribute again; returns the names whose parts changed."""
        names: set[str] = set()
        defaults = certificates_changed = False
        for key in ingresses:
            old = self._contributions.pop(key, None)
            ingress = self._snapshot.ingresses.get(key)
            new = None if ingress is None else self._contributor.contribute(ingress, self._snapshot)
            if new is not None:
                self._contributions[key] = new
            if old == new:
                continue
            change.processed.add(key)
            self._register(key, old, new, change)
            self._note(("Ingress", key), new.findings if new else (), change)
            names |= self._groups.put(key, self._wired(key))
            defaults = defaults or any(c.wants_default for c in (old, new) if c is not None)
            before, after = (c.certificates if c else () for c in (old, new))
            certificates_changed = certificates_changed or before != after
        if defaults:
            names |= self._elect(change)
        if certificates_changed:
            self._choose_certificates(change)
        return names

    def _register(
        self, key: Name, old: Contribution | None, new: Contribution | None, change: _Change
    ) -> None:
        before = old.needs if old else frozenset()
        after = new.needs if new else frozenset()
        for reference in before - after:
            users = self._users[reference]
            users.discard(key)
            if not users:
                del self._users[reference]
                self._need_secret(reference, False, change)
        for reference in after - before:
            if reference not in self._users:
                self._users[reference] = set()
                self._need_secret(reference, True, change)
            self._users[reference].add(key)

    def _need_secret(self, reference: ObjectReference, needed: bool, change: _Change) -> None:
        if reference.kind != "Secret":
            return
        change.secrets = True
        if needed:
            self._secrets.add(reference[1:])
        else:
            self._secrets.discard(reference[1:])

    def _wired(self, key: Name) -> tuple[Part, ...]:
        """The parts of an Ingress that count: none when its default backend is refused."""
        contribution = self._contributions.get(key)
        if contribution is None or (contribution.wants_default and key != self._elected):
            return ()
        return contribution.parts

    def _elect(self, change: _Change) -> set[str]:
        """Give the one default backend to the first Ingress that has a usable one."""
        candidates = sorted(
            (c.order, key) for key, c in self._contributions.items() if c.default is not None
        )
        before, self._elected = self._elected, candidates[0][1] if candidates else None
        change.processed |= {key for key, c in self._contributions.items() if c.wants_default}
        for _, key in self._duplicates:
            self._note(("duplicate", key), (), change)
        self._duplicates = candidates[1:]
        for _, key in self._duplicates:
            finding = findings.DUPLICATE_DEFAULT_BACKEND(
                ObjectReference("Ingress", *key),
                "spec.defaultBackend",
                other=ObjectReference("Ingress", *(self._elected or ("", ""))),
            )
            self._note(("duplicate", key), (finding,), change)
        names = {DEFAULT_ROUTE}
        for winner in (before, self._elected):
            if winner is not None:
                names |= self._groups.put(winner, self._wired(winner))
        return names

    def _choose_certificates(self, change: _Change) -> None:
        chosen = certificates.choose(
            wish
            for key in sorted(self._contributions)
            for wish in self._contributions[key].certificates
        )
        change.structure = change.structure or chosen.certificates != self._chosen.certificates
        self._chosen = chosen
        self._note(("certificates", ""), chosen.findings, change)

    # -- per name --

    def _merge(self, name: str, change: _Change) -> None:
        old = self._merged.pop(name, None)
        new = self._merged_anew(name)
        for service in _feeding(old):
            self._fed_by[service].discard(name)
            if not self._fed_by[service]:
                del self._fed_by[service]
        for service in _feeding(new):
            self._fed_by.setdefault(service, set()).add(name)
        if new is not None:
            self._merged[name] = new
        route = new.route if new else None
        change.structure |= self._routes.put(name, route)
        self._note(("route", name), new.findings if new else (), change)
        if self._named.put(name, route):
            self._look_for_named(name, change)

    def _merged_anew(self, name: str) -> Merged | None:
        if name == DEFAULT_ROUTE:
            elected = self._contributions.get(self._elected) if self._elected else None
            if elected is None or elected.default is None:
                return None
            return merge_default(elected.default, self._settings)
        members = self._groups.members(name)
        if not members:
            return None
        if len(members) > 1:
            members = sorted(members, key=lambda key: self._contributions[key].order)
        parts = [part for key in members for part in self._groups.parts(name, key)]
        return merge(name, parts, self._settings)

    def _feed(self, name: str, change: _Change) -> None:
        """Look up the endpoints of one backend."""
        merged = self._merged.get(name)
        found = merge_backend(merged, self._snapshot.subsets_of) if merged else None
        old = self._backends.get(name)
        new = found.backend if found else None
        if self._backends.put(name, new):
            if old is None or new is None or replace(old, endpoints=new.endpoints) != new:
                change.structure = True
            else:
                change.moved[new.name] = new.endpoints
        self._note(("backend", name), found.findings if found else (), change)
        there = new or old
        if there is not None and (old is None or new is None):
            for route in self._named.routes(there.name):
                self._look_for_named(route, change)

    def _look_for_named(self, name: str, change: _Change) -> None:
        """Tell about backends that features of a route name and that are not there."""
        merged = self._merged.get(name)
        found: tuple[Finding, ...] = ()
        if merged is not None and merged.route is not None and merged.route.origin is not None:
            origin = merged.route.origin
            ingress = self._snapshot.ingresses.get((origin.namespace, origin.name))
            notes = ObjectNotes(ingress.annotations if ingress else {})
            found = unusable(merged.route, origin, notes, self._has_backend)
        self._note(("named", name), found, change)

    def _has_backend(self, name: str) -> bool:
        key = DEFAULT_ROUTE if name == DEFAULT_BACKEND else name
        return self._backends.get(key) is not None

    # -- the whole --

    def _note(
        self, source: tuple[str, object], found: tuple[Finding, ...], change: _Change
    ) -> None:
        if self._found.get(source, ()) == found:
            return
        change.findings = True
        if found:
            self._found[source] = found
        else:
            del self._found[source]

    def _assembled(self, change: _Change) -> Translation:
        last = self._last
        if change == _Change():
            return last
        desired, processed, secrets, found = (
            last.desired,
            last.processed,
            last.secrets,
            last.findings,
        )
        if change.structure or change.moved:
            desired = Desired(
                self._routes.values(), self._backends.values(), self._chosen.certificates
            )
        if self._note_processed(change.processed):
            processed = tuple(self._served)
        if change.secrets:
            secrets = frozenset(self._secrets)
        if change.findings:
            everything = {finding: None for found in self._found.values() for finding in found}
            found = tuple(sorted(everything, key=lambda f: (f.object, f.field, f.code, f.sentence)))
        moved = None if change.structure else change.moved
        return Translation(desired, found, processed, secrets, moved)

    def _note_processed(self, keys: Iterable[Name]) -> bool:
        """Put each Ingress among those that are served, or take it out; say if any has moved."""
        moved = False
        for key in keys:
            position = bisect_left(self._served, key)
            known = self._served[position : position + 1] == [key]
            if known != self._processed(key):
                moved = True
                self._served[position : position + known] = [] if known else [key]
        return moved

    def _processed(self, key: Name) -> bool:
        contribution = self._contributions.get(key)
        if contribution is None:
            return False
        refused = contribution.wants_default and key != self._elected
        return contribution.processed and not refused


@dataclass(slots=True)
class _Change:
    """What one update has found to differ."""

    processed: set[Name] = field(default_factory=set)  # Ingresses that may (not) be served now
    secrets: bool = False
    structure: bool = False  # anything of Desired but endpoints
    findings: bool = False
    moved: dict[str, tuple[Endpoint, ...]] = field(default_factory=dict)


def _feeding(merged: Merged | None) -> set[Name]:
    parts = merged.parts if merged else ()
    return {(target.namespace, target.service) for part in parts for target in part.targets}
