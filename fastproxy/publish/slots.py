"""Numbers under which a worker keeps what must survive a reload.

A slot belongs to a key and a specification, and stays with them while the specification is equal:
live backends, filters, certificates, and counters in shared memory. One that generation N gives up
is free for N + 2 at the earliest, because workers still use N when they prepare N + 1.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

log = logging.getLogger(__name__)

NO_SLOT = 0xFFFFFFFF
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

        NO_SLOT when there are no more of this kind: the engine does without a breaker and without
        statistics then; a route that wants a limit is not built (`wiring`).
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
                log.error("no more %s slots for %s", kind, key)
                return NO_SLOT
            self.size[kind] = slot + 1
        self.held[kind, key] = (specification, slot)
        return slot

    def release(self, kind: str, key: tuple[Any, ...]) -> None:
        held = self.held.pop((kind, key), None)
        if held is not None:
            self.released.setdefault(kind, []).append(held[1])
