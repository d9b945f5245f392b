"""Everything known about the cluster at one moment, as one immutable value.

Idea. A snapshot holds one mapping per kind, and the EndpointSlices of each Service together. A
changed one shares nearly everything with the one before (`persistent.py`), so that a change costs
the same in a large cluster. An equal object changes nothing: the same snapshot comes back, so "did
anything change" is `is`.

What changed between two snapshots of one line of descent is read from a log they share, in time
proportional to the changes; unrelated snapshots are compared mapping by mapping.

Invariants. A mapping is never written after its snapshot exists. The log is only appended to, and
only by the youngest snapshot of the line; a second child of the same parent starts its own log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from controller.kubernetes.objects import (
    Endpoints,
    EndpointSlice,
    Ingress,
    IngressClass,
    KubernetesObject,
    Secret,
    Service,
    Subset,
)
from controller.kubernetes.tls_secrets import keeping
from controller.snapshot.persistent import Table
from fastproxy.model.configuration import ObjectReference

Name = tuple[str, str]  # namespace, name
LOG_LIMIT = 10_000
NONE: Table[Name, Any] = Table()


class Snapshot:
    __slots__ = ("_kinds", "_log", "_position", "_slices_of")

    def __init__(self) -> None:
        self._kinds: dict[str, Table[Name, Any]] = {}
        self._slices_of: Table[Name, tuple[EndpointSlice, ...]] = Table()
        self._log: list[ObjectReference] = []
        self._position = 0

    @classmethod
    def of(cls, objects: Iterable[KubernetesObject]) -> Snapshot:
        return cls().with_changes(objects)

    # -- reading --

    def of_kind(self, kind: str) -> Table[Name, Any]:
        return self._kinds.get(kind, NONE)

    @property
    def ingresses(self) -> Mapping[Name, Ingress]:
        return self.of_kind("Ingress")

    @property
    def services(self) -> Mapping[Name, Service]:
        return self.of_kind("Service")

    @property
    def secrets(self) -> Mapping[Name, Secret]:
        return self.of_kind("Secret")

    @property
    def classes(self) -> Mapping[Name, IngressClass]:
        return self.of_kind("IngressClass")

    def subsets_of(self, namespace: str, service: str) -> tuple[Subset, ...] | None:
        """All EndpointSlices of a Service, else its Endpoints; None when neither exists.

        A slice without endpoints, which a Service without pods has, is what no subset is in
        Endpoints.
        """
        slices = self._slices_of.get((namespace, service))
        if slices is not None:
            return tuple(part.subset for part in slices if part.subset.addresses)
        endpoints: Endpoints | None = self.of_kind("Endpoints").get((namespace, service))
        return None if endpoints is None else endpoints.subsets

    def get(self, reference: ObjectReference) -> KubernetesObject | None:
        found: KubernetesObject | None = self.of_kind(reference.kind).get(reference[1:])
        return found

    def service_behind(self, reference: ObjectReference) -> Name | None:
        """The Service whose endpoints an object holds; None for an object that holds none."""
        if reference.kind == "Endpoints":
            return reference[1:]
        item = self.get(reference)
        return (item.namespace, item.service) if isinstance(item, EndpointSlice) else None

    def __iter__(self) -> Iterator[KubernetesObject]:
        for kind in self._kinds.values():
            yield from kind.values()

    def __len__(self) -> int:
        return sum(map(len, self._kinds.values()))

    # -- changing --

    def with_object(self, item: KubernetesObject) -> Snapshot:
        return self.with_changes((item,))

    def without(self, reference: ObjectReference) -> Snapshot:
        return self.with_changes((), (reference,))

    def with_changes(
        self, present: Iterable[KubernetesObject], absent: Iterable[ObjectReference] = ()
    ) -> Snapshot:
        """Apply many changes; later entries win."""
        kinds: dict[str, dict[Name, Any]] = {}  # what is new of each, None: removed
        changed: list[ObjectReference] = []
        regroup: set[Name] = set()
        steps: list[tuple[ObjectReference, KubernetesObject | None]] = [
            (item.reference, item) for item in present
        ]
        steps += [(reference, None) for reference in absent]
        for reference, item in steps:
            kind, name = reference.kind, reference[1:]
            objects = kinds.setdefault(kind, {})
            old = objects[name] if name in objects else self.of_kind(kind).get(name)
            if old is item or old == item:
                continue
            if isinstance(old, Secret) and isinstance(item, Secret) and not item.withheld:
                item = keeping(item, old)
            objects[name] = item
            changed.append(reference)
            for part in (old, item):
                if isinstance(part, EndpointSlice):
                    regroup.add((part.namespace, part.service))
        return self._child(kinds, changed, regroup) if changed else self

    def _child(
        self, kinds: dict[str, dict[Name, Any]], changed: list[ObjectReference], regroup: set[Name]
    ) -> Snapshot:
        child = Snapshot.__new__(Snapshot)
        child._kinds = dict(self._kinds)
        for kind, objects in kinds.items():
            child._kinds[kind] = self.of_kind(kind).changed(objects)
        child._slices_of = self._slices_of
        if regroup:
            child._slices_of = self._regrouped(child.of_kind("EndpointSlice"), changed, regroup)
        if self._position == len(self._log) < LOG_LIMIT:
            self._log.extend(changed)
            child._log = self._log
        else:
            child._log = []
        child._position = len(child._log)
        return child

    def _regrouped(
        self,
        slices: Mapping[Name, EndpointSlice],
        changed: list[ObjectReference],
        services: set[Name],
    ) -> Table[Name, tuple[EndpointSlice, ...]]:
        touched = {reference[1:] for reference in changed if reference.kind == "EndpointSlice"}
        groups: dict[Name, dict[Name, EndpointSlice]] = {
            service: {
                (part.namespace, part.name): part
                for part in self._slices_of.get(service, ())
                if (part.namespace, part.name) not in touched
            }
            for service in services
        }
        for name in touched:
            part = slices.get(name)
            if part is not None:
                groups[part.namespace, part.service][name] = part
        return self._slices_of.changed(
            {
                service: tuple(group[name] for name in sorted(group)) or None
                for service, group in groups.items()
            }
        )

    # -- comparing --

    def changes_since(self, older: Snapshot) -> set[ObjectReference]:
        """Name the objects that may differ from those of `older`."""
        if older is self:
            return set()
        if older._log is self._log and older._position <= self._position:
            return set(self._log[older._position : self._position])
        changed: set[ObjectReference] = set()
        for kind in self._kinds.keys() | older._kinds.keys():
            names = self.of_kind(kind).differing(older.of_kind(kind))
            changed.update(ObjectReference(kind, *name) for name in names)
        return changed
