"""Names that one object alone may have, such as the default backend of the cluster.

Of those that claim a name and can use it the first in order has it. The others, and those that
cannot use what they claim, contribute nothing at all (`provider.md` 5.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from controller.translate.contributor import Claim, Contribution, Order
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding


class Election(NamedTuple):
    claimants: frozenset[ObjectReference]
    holders: frozenset[ObjectReference]  # who had the name, and who has it now
    late: Mapping[ObjectReference, Finding]  # who could use it and came later; what is told
    late_before: frozenset[ObjectReference]


class Claims:
    """Who claims what, and who has it."""

    def __init__(self) -> None:
        self._claims: dict[ObjectReference, tuple[Order, Claim]] = {}
        self._by_name: dict[str, set[ObjectReference]] = {}
        self._holders: dict[str, ObjectReference] = {}
        self._late: dict[str, frozenset[ObjectReference]] = {}

    def put(self, key: ObjectReference, contribution: Contribution | None) -> set[str]:
        """Note what an object claims now; returns the names to elect for."""
        names: set[str] = set()
        old = self._claims.pop(key, None)
        if old is not None:
            names.add(old[1].name)
            self._by_name[old[1].name].discard(key)
        claim = contribution.claim if contribution is not None else None
        if contribution is not None and claim is not None:
            names.add(claim.name)
            self._claims[key] = (contribution.order, claim)
            self._by_name.setdefault(claim.name, set()).add(key)
        return names

    def holds(self, key: ObjectReference) -> bool:
        """Whether an object has what it claims; true for one that claims nothing."""
        claimed = self._claims.get(key)
        return claimed is None or self._holders.get(claimed[1].name) == key

    def elect(self, name: str) -> Election:
        claimants = frozenset(self._by_name.get(name, ()))
        usable = sorted(
            (self._claims[key][0], key)
            for key in claimants
            if self._claims[key][1].fragment is not None
        )
        before = self._holders.pop(name, None)
        late: dict[ObjectReference, Finding] = {}
        for _, key in usable[1:]:
            claim = self._claims[key][1]
            late[key] = claim.taken(key, claim.field, other=usable[0][1])
        holders = {before} if before is not None else set()
        if usable:
            self._holders[name] = usable[0][1]
            holders.add(usable[0][1])
        late_before, self._late[name] = self._late.get(name, frozenset()), frozenset(late)
        return Election(claimants, frozenset(holders), late, late_before)
