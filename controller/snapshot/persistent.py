"""Collections of which a changed copy shares almost everything with the original.

A snapshot of 5,000 objects follows another one hundred times a second, so that copying a whole
dictionary for each would be most of the work. Both collections here are values: never written to
once they exist, and comparable. What a change costs hardly depends on the size.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Generic, TypeVar, overload

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

BUCKETS = 256  # a power of two
CHUNK = 64


class Table(Mapping[K, V]):
    """A mapping in buckets by hash; a change copies the buckets it touches. No order."""

    __slots__ = ("_buckets", "_size")

    def __init__(self) -> None:
        self._buckets: tuple[dict[K, V], ...] = ({},) * BUCKETS
        self._size = 0

    def changed(self, changes: Mapping[K, V | None]) -> Table[K, V]:
        """Return the table with these entries set, or (None) removed."""
        touched: dict[int, dict[K, V]] = {}
        size = self._size
        for key, value in changes.items():
            place = hash(key) & (BUCKETS - 1)
            bucket = touched.get(place)
            if bucket is None:
                bucket = touched[place] = dict(self._buckets[place])
            size -= len(bucket)
            if value is None:
                bucket.pop(key, None)
            else:
                bucket[key] = value
            size += len(bucket)
        buckets = list(self._buckets)
        for place, bucket in touched.items():
            buckets[place] = bucket
        result = Table[K, V].__new__(Table)
        result._buckets = tuple(buckets)
        result._size = size
        return result

    def __getitem__(self, key: K) -> V:
        return self._buckets[hash(key) & (BUCKETS - 1)][key]

    def get(self, key: K, default: Any = None) -> Any:
        return self._buckets[hash(key) & (BUCKETS - 1)].get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._buckets[hash(key) & (BUCKETS - 1)]

    def __iter__(self) -> Iterator[K]:
        return chain.from_iterable(self._buckets)

    def __len__(self) -> int:
        return self._size

    def differing(self, other: Table[K, V]) -> Iterator[K]:
        """Yield the keys whose values are not the same object in both."""
        for mine, theirs in zip(self._buckets, other._buckets, strict=True):
            if mine is not theirs:
                for key in mine.keys() | theirs.keys():
                    if mine.get(key) is not theirs.get(key):
                        yield key


class Chunked(Sequence[V], Generic[V]):
    """A sequence in chunks of 64, of which a successor shares those that are the same."""

    __slots__ = ("_chunks",)

    def __init__(self, chunks: tuple[tuple[V, ...], ...] = ()) -> None:
        """All but the last chunk must be full."""
        self._chunks = chunks

    @overload
    def __getitem__(self, index: int) -> V: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[V, ...]: ...
    def __getitem__(self, index: int | slice) -> V | tuple[V, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._chunks[index // CHUNK][index % CHUNK]

    def __iter__(self) -> Iterator[V]:
        return chain.from_iterable(self._chunks)

    def __len__(self) -> int:
        return (len(self._chunks) - 1) * CHUNK + len(self._chunks[-1]) if self._chunks else 0

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Chunked):
            return self._chunks == other._chunks
        return tuple(self) == other

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))
