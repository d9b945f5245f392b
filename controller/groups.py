"""The two collections in which the translation remembers what it has."""

from __future__ import annotations

from bisect import bisect_left
from typing import Generic, TypeVar

from controller.contribution import Part
from controller.snapshot import Name

T = TypeVar("T")


class Groups:
    """Parts by name and Ingress, and the names of each Ingress."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[Name, tuple[Part, ...]]] = {}
        self._names: dict[Name, tuple[str, ...]] = {}

    def put(self, key: Name, parts: tuple[Part, ...]) -> set[str]:
        """Replace the parts of one Ingress; returns the names touched."""
        names = set(self._names.pop(key, ()))
        for name in names:
            del self._parts[name][key]
            if not self._parts[name]:
                del self._parts[name]
        by_name: dict[str, list[Part]] = {}
        for part in parts:
            by_name.setdefault(part.name, []).append(part)
        for name, found in by_name.items():
            self._parts.setdefault(name, {})[key] = tuple(found)
        if by_name:
            self._names[key] = tuple(by_name)
        return names | by_name.keys()

    def members(self, name: str) -> list[Name]:
        return list(self._parts.get(name, ()))

    def parts(self, name: str, key: Name) -> tuple[Part, ...]:
        return self._parts[name][key]


class Sorted(Generic[T]):
    """Values in the order of their names; replacing one does not sort again."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._values: list[T] = []
        self._by_name: dict[str, T] = {}
        self._tuple: tuple[T, ...] | None = ()

    def get(self, name: str) -> T | None:
        return self._by_name.get(name)

    def put(self, name: str, value: T | None) -> bool:
        """Set or (None) remove; returns whether that changed anything."""
        old = self._by_name.get(name)
        if old == value:
            return False
        self._tuple = None
        position = bisect_left(self._names, name)
        if value is None:
            del self._by_name[name], self._names[position], self._values[position]
            return True
        self._by_name[name] = value
        if old is None:
            self._names.insert(position, name)
            self._values.insert(position, value)
        else:
            self._values[position] = value
        return True

    def values(self) -> tuple[T, ...]:
        if self._tuple is None:
            self._tuple = tuple(self._values)
        return self._tuple
