"""What one Ingress contributes: parts of routes, a default backend, certificates, findings.

Everything here depends on this Ingress and on the objects it names, never on another Ingress; what
depends on others (shared hosts and paths, one default backend per cluster) is `merge.py` and
`translator.py`. `needs` names every object that was looked at, present or not: when one of them
changes, the contribution is made again.

Endpoints are not looked up here, only where they come from (`Target`), so that a change of
endpoints touches one backend. Two things need them all the same, and say so in `needs`: weights,
which depend on the number of endpoints, and the default backend, which exists only with endpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from controller.dialects.traefik.reading import Reading
from controller.kubernetes.objects import (
    Secret,
    Service,
    Subset,
)
from controller.snapshot.snapshot import Snapshot
from controller.translate.certificates import Wanted
from controller.translate.endpoints import Target
from controller.translate.rules_text import Rule
from fastproxy.features import entry_points, priority
from fastproxy.findings import Finding
from fastproxy.model import ObjectReference

DEFAULT_BACKEND, DEFAULT_ROUTE = "global-default-backend", "global-default-frontend"
EXACT_SUFFIX = "#exact"  # an exact path and a prefix of the same text are different routes


class Order(NamedTuple):
    """Where an Ingress stands among all: what "first" and "last" mean (FIX 2)."""

    created: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Part:
    """What one path item brings to the route and backend called `name`."""

    name: str
    origin: ObjectReference
    field: str
    host: str
    path: str
    reading: Reading  # of the Ingress, for this path
    service: Reading | None = None  # of the Service; None: there is no Service
    rule: Rule | None = None  # for the path; None without path
    rule_refused: bool = False
    targets: tuple[Target, ...] = ()

    @property
    def makes_no_backend(self) -> bool:
        return any(refusal.annotation == "auth-realm" for refusal in self.reading.refusals)


@dataclass(frozen=True, slots=True)
class Contribution:
    order: Order
    parts: tuple[Part, ...] = ()
    default: Part | None = None
    wants_default: bool = False  # with `default` None: it was refused, the Ingress is skipped
    certificates: tuple[Wanted, ...] = ()
    findings: tuple[Finding, ...] = ()
    needs: frozenset[ObjectReference] = frozenset()
    processed: bool = False  # not skipped: its status is written


@dataclass(slots=True)
class Lookups:
    """Reads the snapshot for one namespace and remembers what was asked."""

    snapshot: Snapshot
    namespace: str
    needs: set[ObjectReference] = field(default_factory=set)

    def service(self, name: str) -> Service | None:
        self.needs.add(ObjectReference("Service", self.namespace, name))
        return self.snapshot.services.get((self.namespace, name))

    def subsets(self, name: str) -> Sequence[Subset] | None:
        self.needs.add(ObjectReference("Endpoints", self.namespace, name))
        return self.snapshot.subsets_of(self.namespace, name)

    def secret(self, name: str) -> Secret | None:
        self.needs.add(ObjectReference("Secret", self.namespace, name))
        found = self.snapshot.secrets.get((self.namespace, name))
        return None if found is None or found.withheld else found

    def secret_data(self, name: str) -> Mapping[str, bytes] | None:
        secret = self.secret(name)
        return None if secret is None else secret.data


def part_name(reading: Reading, host: str, path: str, path_type: str, service: str) -> str:
    """The name of route and backend (`provider.md` 5.4): what has one name is one route."""
    name = host + path or service
    if path and path_type == "Exact":
        name += EXACT_SUFFIX
    chosen = reading.config(entry_points.FEATURE)
    if chosen is not None:
        name = f"{'-'.join(chosen.names)}_{name}"
    ranked = reading.config(priority.FEATURE)
    return f"{ranked.value}-{name}" if ranked is not None else name
