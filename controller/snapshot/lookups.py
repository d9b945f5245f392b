"""What is looked up while one object is translated, and what was asked.

Whatever was asked, present or not, is a reason to translate the object again when it changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from controller.kubernetes.objects import (
    IngressClass,
    KubernetesObject,
    Secret,
    Service,
    Subset,
)
from controller.snapshot.snapshot import Snapshot
from fastproxy.model.configuration import ObjectReference


@dataclass(slots=True)
class Lookups:
    """Reads one snapshot for an object of one namespace and remembers what was asked."""

    snapshot: Snapshot
    namespace: str
    needs: set[ObjectReference] = field(default_factory=set)

    def get(self, reference: ObjectReference) -> KubernetesObject | None:
        """Any object, of any namespace; who may ask for it is for the caller to know."""
        self.needs.add(reference)
        return self.snapshot.get(reference)

    def service(self, name: str) -> Service | None:
        self.needs.add(ObjectReference("Service", self.namespace, name))
        return self.snapshot.services.get((self.namespace, name))

    def subsets(self, name: str) -> Sequence[Subset] | None:
        """The endpoints of a Service; None when there is no object that could hold any."""
        self.needs.add(ObjectReference("Endpoints", self.namespace, name))
        return self.snapshot.subsets_of(self.namespace, name)

    def secret(self, name: str) -> Secret | None:
        """None also while its content is not here; it is read by name then."""
        self.needs.add(ObjectReference("Secret", self.namespace, name))
        found = self.snapshot.secrets.get((self.namespace, name))
        return None if found is None or found.withheld else found

    def secret_data(self, name: str) -> Mapping[str, bytes] | None:
        secret = self.secret(name)
        return None if secret is None else secret.data

    def ingress_class(self, name: str) -> IngressClass | None:
        self.needs.add(ObjectReference("IngressClass", "", name))
        return self.snapshot.classes.get(("", name))
