"""The two collections in which the translation remembers what it has."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from operator import eq
from typing import Generic, TypeVar

from controller.snapshot.persistent import CHUNK, Chunked
from controller.translate.fragments import RouteFragment
from fastproxy.model.configuration import ObjectReference

T = TypeVar("T")


class Groups:
    """Fragments by name and object, and the names of each object."""

    def __init__(self) -> None:
        self._fragments: dict[str, dict[ObjectReference, tuple[RouteFragment, ...]]] = {}
        self._names: dict[ObjectReference, tuple[str, ...]] = {}

    def put(self, key: ObjectReference, fragments: tuple[RouteFragment, ...]) -> set[str]:
        """Replace the fragments of one object; returns the names touched."""
        names = set(self._names.pop(key, ()))
        for name in names:
            del self._fragments[name][key]
            if not self._fragments[name]:
                del self._fragments[name]
        by_name: dict[str, list[RouteFragment]] = {}
        for fragment in fragments:
            by_name.setdefault(fragment.name, []).append(fragment)
        for name, found in by_name.items():
            self._fragments.setdefault(name, {})[key] = tuple(found)
        if by_name:
            self._names[key] = tuple(by_name)
        return names | by_name.keys()

    def members(self, name: str) -> list[ObjectReference]:
        return list(self._fragments.get(name, ()))

    def fragments(self, name: str, key: ObjectReference) -> tuple[RouteFragment, ...]:
        return self._fragments[name][key]


class Sorted(Generic[T]):
    """Values in the order of their names; replacing one does not sort again."""

    def __init__(self, same: Callable[[T, T], bool] = eq) -> None:
        """`same` says that a value need not be replaced by another one."""
        self._same = same
        self._names: list[str] = []
        self._values: list[T] = []
        self._by_name: dict[str, T] = {}
        self._chunks: list[tuple[T, ...]] = []  # what `values` gave last
        self._outdated: set[int] = set()  # chunks in which a value was replaced
        self._shown: Chunked[T] | None = None
        self._moved = 0  # the first chunk in which values were inserted or removed

    def get(self, name: str) -> T | None:
        return self._by_name.get(name)

    def put(self, name: str, value: T | None) -> bool:
        """Set or (None) remove; returns whether that changed anything."""
        old = self._by_name.get(name)
        if old is value or (old is not None and value is not None and self._same(old, value)):
            return False
        self._shown = None
        position = bisect_left(self._names, name)
        if value is None or old is None:
            self._moved = min(self._moved, position // CHUNK)
        if value is None:
            del self._by_name[name], self._names[position], self._values[position]
            return True
        self._by_name[name] = value
        if old is None:
            self._names.insert(position, name)
            self._values.insert(position, value)
        else:
            self._values[position] = value
            self._outdated.add(position // CHUNK)
        return True

    def values(self) -> Chunked[T]:
        if self._shown is None:
            self._shown = self._gathered()
        return self._shown

    def _gathered(self) -> Chunked[T]:
        del self._chunks[self._moved :]
        for number in self._outdated:
            if number < len(self._chunks):
                self._chunks[number] = self._chunk(number)
        for number in range(len(self._chunks), -(-len(self._values) // CHUNK)):
            self._chunks.append(self._chunk(number))
        self._outdated.clear()
        self._moved = len(self._chunks)
        return Chunked(tuple(self._chunks))

    def _chunk(self, number: int) -> tuple[T, ...]:
        return tuple(self._values[number * CHUNK : (number + 1) * CHUNK])
