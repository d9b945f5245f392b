"""The collections of the translation against plain dictionaries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.snapshot.persistent import CHUNK
from controller.translate.fragments import RouteFragment, RouteValues
from controller.translate.groups import Groups, Sorted
from fastproxy.model.configuration import ObjectReference

names = st.sampled_from("abcdef")


@given(st.lists(st.tuples(names, st.none() | st.integers(0, 2)), max_size=30))
def test_sorted_is_a_dictionary_in_the_order_of_its_keys(
    steps: list[tuple[str, int | None]],
) -> None:
    found: Sorted[int] = Sorted()
    twin: dict[str, int] = {}
    for name, value in steps:
        before = twin.get(name)
        if value is None:
            twin.pop(name, None)
        else:
            twin[name] = value
        assert found.put(name, value) is (before != value)
        assert found.values() == tuple(twin[key] for key in sorted(twin))
        assert found.values() is found.values()
        assert found.get(name) == value


many = st.integers(0, 3 * CHUNK + 5)


@given(many, st.lists(st.lists(st.tuples(many, st.booleans()), max_size=3), max_size=8))
def test_values_taken_before_stay_as_they_were(
    count: int, steps: list[list[tuple[int, bool]]]
) -> None:
    found: Sorted[str] = Sorted()
    twin: dict[int, str] = {}
    for number in range(0, count, 2):
        found.put(f"{number:03}", "first")
        twin[number] = "first"
    taken = []
    for turn, step in enumerate(steps):
        for number, present in step:
            found.put(f"{number:03}", str(turn) if present else None)
            twin.pop(number, None)
            if present:
                twin[number] = str(turn)
        taken.append((found.values(), tuple(twin[number] for number in sorted(twin))))
        for values, expected in taken:
            assert values == expected and len(values) == len(expected)
            assert [values[at] for at in range(len(values))] == list(expected)


def fragment(name: str) -> RouteFragment:
    return RouteFragment(name, ObjectReference("Ingress", "d", "i"), "spec", RouteValues(()))


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.lists(names, max_size=4)), max_size=15))
def test_groups_hold_the_fragments_of_every_name(steps: list[tuple[str, list[str]]]) -> None:
    groups = Groups()
    twin: dict[ObjectReference, list[str]] = {}
    for ingress, wanted in steps:
        key = ObjectReference("Ingress", "d", ingress)
        touched = groups.put(key, tuple(map(fragment, wanted)))
        assert touched == set(twin.get(key, ())) | set(wanted)
        twin[key] = wanted
        for name in "abcdef":
            members = {key for key, parts in twin.items() if name in parts}
            assert set(groups.members(name)) == members
            for member in members:
                assert len(groups.fragments(name, member)) == twin[member].count(name)
