"""Persistent collections against plain ones; what was taken before stays as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.snapshot.persistent import CHUNK, Chunked, Table

# Multiples of the number of buckets share one.
keys = st.one_of(st.integers(0, 5), st.integers(0, 3).map(lambda n: n * 256))
changes = st.dictionaries(keys, st.none() | st.integers(0, 2), max_size=4)


@given(st.lists(changes, max_size=10))
def test_tables_are_dictionaries(steps: list[dict[int, int | None]]) -> None:
    table: Table[int, int] = Table()
    twin: dict[int, int] = {}
    taken = [(table, dict(twin))]
    for step in steps:
        table = table.changed(step)
        for key, value in step.items():
            if value is None:
                twin.pop(key, None)
            else:
                twin[key] = value
        taken.append((table, dict(twin)))
        for old, expected in taken:
            assert dict(old) == expected and len(old) == len(expected)
            assert sorted(old) == sorted(expected)
            assert {key: key in old for key in (0, 1, 256)} == {
                k: k in expected for k in (0, 1, 256)
            }
            assert (old.get(0), old.get(256, "x")) == (expected.get(0), expected.get(256, "x"))
            found = set(table.differing(old))
            assert found == {
                k for k in twin.keys() | expected.keys() if twin.get(k) != expected.get(k)
            }


def test_a_missing_key_is_an_error() -> None:
    with pytest.raises(KeyError):
        Table[str, int]()["a"]


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_chunked_sequences_are_tuples(size: int) -> None:
    values = tuple(range(size))
    found = Chunked(tuple(values[at : at + CHUNK] for at in range(0, size, CHUNK)))
    assert len(found) == size and list(found) == list(values)
    assert found == values and found == Chunked(found._chunks) and found != (*values, 1)
    assert (repr(found), hash(found)) == (repr(values), hash(values))
    assert found[1:-1] == values[1:-1]
    for at in range(-size, size):
        assert found[at] == values[at]
    for at in (size, -size - 1):
        with pytest.raises(IndexError):
            found[at]
