"""Snapshot to Desired: the whole of it, or only what a change touches.

Idea. Three pure steps, each result kept:

    object     --contributor.py-->  fragments, certificates, findings   per object
    fragments  --merge.py-------->  route                               per name
    route      --merge.py-------->  backend with endpoints              per name

A change of an object repeats the first step for the objects that looked at it, the second for
the names those had or have, the third also for the names whose Services' endpoints changed. Nothing
else is visited, so the price of an endpoint change is that of its backends. Which kinds of objects
become routes is known to their contributors alone.

Invariants. `translate(snapshot)` is a translator that has seen nothing being given the snapshot:
the incremental way and the full way are one way. What did not change stays the same object, so
that comparing two Desired is cheap.

What we do not like. A name that only one object may have (the default backend of the cluster)
couples objects: who has it decides whether the others exist at all. `claims.py` handles it apart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controller.kubernetes.objects import KubernetesObject
from controller.snapshot.lookups import Lookups
from controller.snapshot.snapshot import Name, Snapshot
from controller.translate import certificates
from controller.translate.claims import Claims
from controller.translate.contributor import Contribution, Contributor
from controller.translate.fragments import RouteFragment
from controller.translate.groups import Groups, Sorted
from controller.translate.merge import Merged, merge, merge_backend
from controller.translate.named_backends import NamedBackends, unusable
from fastproxy.model.configuration import Backend, Desired, Endpoint, ObjectReference, Route
from fastproxy.model.findings import Finding


@dataclass(frozen=True, slots=True)
class Translation:
    desired: Desired = field(default_factory=Desired)
    findings: tuple[Finding, ...] = ()
    served: tuple[ObjectReference, ...] = ()  # whose status is ours to write
    secrets: frozenset[Name] = frozenset()  # looked up, present or not
    # Backends whose endpoints differ from the translation before; None when anything else of
    # Desired differs too.
    moved: Mapping[str, tuple[Endpoint, ...]] | None = None


class Translator:
    """Translates one snapshot after the other, visiting only what changed between them."""

    def __init__(self, contributors: Sequence[Contributor]) -> None:
        self._contributors = {contributor.kind: contributor for contributor in contributors}
        self._snapshot = Snapshot()
        self._contributions: dict[ObjectReference, Contribution] = {}
        self._needs: dict[ObjectReference, frozenset[ObjectReference]] = {}
        self._users: dict[ObjectReference, set[ObjectReference]] = {}  # who needs an object
        self._secrets: set[Name] = set()  # the Secrets among `_users`
        self._served: list[ObjectReference] = []  # what is not skipped, in order
        self._claims = Claims()
        self._groups = Groups()
        self._merged: dict[str, Merged] = {}
        self._fed_by: dict[Name, set[str]] = {}  # Service -> names of groups with its endpoints
        self._named = NamedBackends()
        self._chosen = certificates.Chosen((), ())
        self._routes: Sorted[Route] = Sorted(_same_route)
        self._backends: Sorted[Backend] = Sorted()
        self._present: set[str] = set()  # names of the backends
        self._found: dict[tuple[str, object], tuple[Finding, ...]] = {}  # by what found it
        self._last = Translation()

    def update(self, snapshot: Snapshot) -> Translation:
        """Translate the snapshot; the same object comes back when nothing of it changed."""
        references, services = self._affected(snapshot)
        self._snapshot = snapshot
        change = _Change()
        names = self._recontribute(references, change)
        for name in names:
            self._merge(name, change)
        fed = {name for service in services for name in self._fed_by.get(service, ())}
        for name in names | fed:
            self._feed(name, change)
        self._last = self._assembled(change)
        return self._last

    def examine(self, objects: Iterable[KubernetesObject]) -> tuple[Finding, ...]:
        """What is wrong with objects that are not served, beside why they are not."""
        found: dict[Finding, None] = {}
        for item in objects:
            for contributor in self._contributors.values():
                lookups = Lookups(self._snapshot, item.namespace)
                found.update(dict.fromkeys(contributor.examine(item, lookups)))
        return tuple(found)

    def contribution(self, reference: ObjectReference) -> Contribution | None:
        """What an object brings, whether it counts or not; None for nothing."""
        return self._contributions.get(reference)

    # -- what a change touches --

    def _affected(self, snapshot: Snapshot) -> tuple[set[ObjectReference], set[Name]]:
        """Objects to contribute again, and Services whose endpoints may differ."""
        references: set[ObjectReference] = set()
        services: set[Name] = set()
        for reference in snapshot.changes_since(self._snapshot):
            if reference.kind in self._contributors:
                references.add(reference)
            references |= self._users.get(reference, set())
            for version in (self._snapshot, snapshot):
                service = version.service_behind(reference)
                if service is not None:
                    services.add(service)
        for service in services:
            references |= self._users.get(ObjectReference("Endpoints", *service), set())
        return references, services

    # -- per object --

    def _recontribute(self, references: Iterable[ObjectReference], change: _Change) -> set[str]:
        """Contribute again; returns the names whose fragments changed."""
        names: set[str] = set()
        claimed: set[str] = set()
        certificates_changed = False
        for key in references:
            old = self._contributions.pop(key, None)
            new = self._contribution(key, change)
            if new is not None:
                self._contributions[key] = new
            if old == new:
                continue
            change.served.add(key)
            self._note(("object", key), new.findings if new else (), change)
            claimed |= self._claims.put(key, new)
            names |= self._groups.put(key, self._counting(key))
            before, after = (c.certificates if c else () for c in (old, new))
            certificates_changed = certificates_changed or before != after
        for name in claimed:
            names |= self._elect(name, change)
        if certificates_changed:
            self._choose_certificates(change)
        return names

    def _contribution(self, key: ObjectReference, change: _Change) -> Contribution | None:
        """What an object contributes now; remembers what that depends on."""
        item = self._snapshot.get(key)
        lookups = Lookups(self._snapshot, key.namespace)
        found = None
        if item is not None:
            found = self._contributors[key.kind].contribute(item, lookups)
        before, after = self._needs.pop(key, frozenset()), frozenset(lookups.needs)
        if after:
            self._needs[key] = after
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
        return found

    def _need_secret(self, reference: ObjectReference, needed: bool, change: _Change) -> None:
        if reference.kind != "Secret":
            return
        change.secrets = True
        if needed:
            self._secrets.add(reference[1:])
        else:
            self._secrets.discard(reference[1:])

    def _counting(self, key: ObjectReference) -> tuple[RouteFragment, ...]:
        """The fragments of an object that count: none when somebody else has what it claims."""
        contribution = self._contributions.get(key)
        if contribution is None or not self._claims.holds(key):
            return ()
        claim = contribution.claim
        own = (claim.fragment,) if claim is not None and claim.fragment is not None else ()
        return contribution.fragments + own

    def _elect(self, name: str, change: _Change) -> set[str]:
        """Give a claimed name to the first who can use it; returns the names touched by that."""
        election = self._claims.elect(name)
        change.served |= election.claimants
        for key in election.late_before:
            self._note(("claim", key), (), change)
        for key, finding in election.late.items():
            self._note(("claim", key), (finding,), change)
        names: set[str] = set()
        for holder in election.holders:
            names |= self._groups.put(holder, self._counting(holder))
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
        new = merge(name, self._in_order(name))
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
        if self._named.put(name, new.mentions if new else ()):
            self._look_for_named(name, change)

    def _in_order(self, name: str) -> list[RouteFragment]:
        """The fragments of a name, in the order of their objects."""
        members = self._groups.members(name)
        if len(members) > 1:
            members = sorted(members, key=lambda key: (self._contributions[key].order, key))
        return [fragment for key in members for fragment in self._groups.fragments(name, key)]

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
            (self._present.discard if new is None else self._present.add)(there.name)
            for route in self._named.routes(there.name):
                self._look_for_named(route, change)

    def _look_for_named(self, name: str, change: _Change) -> None:
        """Tell about backends that features of a route name and that are not there."""
        merged = self._merged.get(name)
        found: tuple[Finding, ...] = ()
        if merged is not None and merged.route is not None and merged.route.origin is not None:
            route, origin = merged.route, merged.route.origin
            found = unusable(route, origin, merged.mentions, self._present.__contains__)
        self._note(("named", name), found, change)

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
        desired, served, secrets, found = last.desired, last.served, last.secrets, last.findings
        if change.structure or change.moved:
            desired = Desired(
                self._routes.values(), self._backends.values(), self._chosen.certificates
            )
        if self._note_served(change.served):
            served = tuple(self._served)
        if change.secrets:
            secrets = frozenset(self._secrets)
        if change.findings:
            everything = {finding: None for found in self._found.values() for finding in found}
            found = tuple(sorted(everything, key=lambda f: (f.object, f.field, f.code, f.sentence)))
        moved = None if change.structure else change.moved
        return Translation(desired, found, served, secrets, moved)

    def _note_served(self, keys: Iterable[ObjectReference]) -> bool:
        """Put each object among those that are served, or take it out; say if any has moved."""
        moved = False
        for key in keys:
            position = bisect_left(self._served, key)
            known = self._served[position : position + 1] == [key]
            contribution = self._contributions.get(key)
            serve = contribution is not None and contribution.served and self._claims.holds(key)
            if known != serve:
                moved = True
                self._served[position : position + known] = [] if known else [key]
        return moved


@dataclass(slots=True)
class _Change:
    """What one update has found to differ."""

    served: set[ObjectReference] = field(default_factory=set)  # what may (not) be served now
    secrets: bool = False
    structure: bool = False  # anything of Desired but endpoints
    findings: bool = False
    moved: dict[str, tuple[Endpoint, ...]] = field(default_factory=dict)


def _same_route(one: Route, other: Route) -> bool:
    """Also made from the same object, which a comparison of routes leaves out."""
    return one == other and one.origin == other.origin


def _feeding(merged: Merged | None) -> set[Name]:
    fragments = merged.fragments if merged else ()
    return {(t.namespace, t.service) for fragment in fragments for t in fragment.targets}
