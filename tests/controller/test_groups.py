"""The collections of the translation against plain dictionaries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.contribution import Part
from controller.groups import Groups, Sorted
from controller.reading import Reading
from controller.snapshot import Name
from fastproxy.model import ObjectReference

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


def part(name: str) -> Part:
    return Part(name, ObjectReference("Ingress", "d", "i"), "spec", "h", "/", Reading(()))


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.lists(names, max_size=4)), max_size=15))
def test_groups_hold_the_parts_of_every_name(steps: list[tuple[str, list[str]]]) -> None:
    groups = Groups()
    twin: dict[Name, list[str]] = {}
    for ingress, wanted in steps:
        key = ("d", ingress)
        touched = groups.put(key, tuple(map(part, wanted)))
        assert touched == set(twin.get(key, ())) | set(wanted)
        twin[key] = wanted
        for name in "abcdef":
            members = {key for key, parts in twin.items() if name in parts}
            assert set(groups.members(name)) == members
            for member in members:
                assert len(groups.parts(name, member)) == twin[member].count(name)
