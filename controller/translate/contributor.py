"""What turns the objects of one kind into routes.

A contributor looks at one object and at what this names, never at another one of its kind; what
depends on others (shared hosts and paths, what only one may have) is `merge.py` and
`translator.py`. So the translator needs to know no kind, and a change visits what it touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from controller.kubernetes.objects import KubernetesObject
from controller.snapshot.lookups import Lookups
from controller.translate.certificates import Wanted
from controller.translate.fragments import RouteFragment
from fastproxy.model.findings import Finding, Kind


class Order(NamedTuple):
    """Where an object stands among all: what "first" and "last" mean (FIX 2)."""

    created: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A name that one object alone may have: the first of those that can use it.

    Who claims it and does not get it contributes nothing else either.
    """

    name: str  # of the fragment
    fragment: RouteFragment | None  # None: it cannot use it
    taken: Kind  # what is told to the others, `other` being who has it
    field: str  # where it is claimed


@dataclass(frozen=True, slots=True)
class Contribution:
    order: Order
    fragments: tuple[RouteFragment, ...] = ()
    claim: Claim | None = None
    certificates: tuple[Wanted, ...] = ()
    findings: tuple[Finding, ...] = ()
    served: bool = False  # not skipped: its status is written


class Contributor(Protocol):
    """Pure: equal objects and equal answers to its lookups give equal contributions."""

    @property
    def kind(self) -> str:
        """Kind of the objects it turns into routes."""
        ...

    def contribute(self, item: Any, lookups: Lookups) -> Contribution | None:
        """What an object of its kind brings; None: it is none of ours.

        Everything else that is looked at is asked of `lookups`: when one of those objects changes,
        the object contributes again.
        """
        ...

    def examine(self, item: KubernetesObject, lookups: Lookups) -> Sequence[Finding]:
        """What is wrong with an object that is not served, of whatever kind it reads."""
        ...
