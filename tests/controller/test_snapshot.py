"""Snapshots never change, share what is equal, and know how they differ."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.kubernetes.objects import (
    EndpointAddress,
    Endpoints,
    EndpointSlice,
    KubernetesObject,
    Service,
    ServicePort,
    Subset,
)
from controller.snapshot.snapshot import LOG_LIMIT, Snapshot
from fastproxy.model.configuration import ObjectReference


def service(name: str, port: int = 80) -> Service:
    return Service("d", name, ports=(ServicePort("", port),))


def part(name: str, of: str, host: str) -> EndpointSlice:
    return EndpointSlice("d", name, of, Subset((EndpointAddress(host, ""),), ()))


def test_an_equal_object_changes_nothing() -> None:
    snapshot = Snapshot.of([service("a")])
    assert snapshot.with_object(service("a")) is snapshot
    assert snapshot.without(ObjectReference("Service", "d", "b")) is snapshot


def test_a_snapshot_is_never_changed() -> None:
    first = Snapshot.of([service("a")])
    second = first.with_object(service("a", 81)).with_object(service("b"))
    third = second.without(ObjectReference("Service", "d", "a"))
    assert [s.number for s in first.services["d", "a"].ports] == [80]
    assert [s.number for s in second.services["d", "a"].ports] == [81]
    assert set(third.services) == {("d", "b")}
    assert len(second) == 2


def test_endpoints_of_a_service() -> None:
    endpoints = Endpoints("d", "s", (Subset((), ()),))
    snapshot = Snapshot.of([endpoints])
    assert snapshot.subsets_of("d", "none") is None
    assert snapshot.subsets_of("d", "s") == endpoints.subsets
    # Slices win as soon as there is one, in the order of their names.
    two = snapshot.with_changes([part("2", "s", "b"), part("1", "s", "a")])
    found = two.subsets_of("d", "s") or ()
    assert [subset.addresses[0].host for subset in found] == ["a", "b"]
    # A slice that moves to another Service leaves the old one.
    moved = two.with_object(part("1", "t", "a")).without(ObjectReference("EndpointSlice", "d", "2"))
    assert moved.subsets_of("d", "s") == endpoints.subsets
    assert len(moved.subsets_of("d", "t") or ()) == 1


def test_changes_are_known() -> None:
    old = Snapshot.of([service("a"), service("b")])
    new = old.with_object(service("a", 81)).with_object(service("c"))
    assert {reference.name for reference in new.changes_since(old)} == {"a", "c"}
    assert new.changes_since(new) == set()
    # Backwards, and between strangers, by comparison.
    assert {reference.name for reference in old.changes_since(new)} == {"a", "c"}
    assert len(Snapshot.of([service("a")]).changes_since(Snapshot())) == 1


def test_two_children_of_one_parent_do_not_mix_their_changes() -> None:
    parent = Snapshot.of([service("a")])
    left, right = parent.with_object(service("l")), parent.with_object(service("r"))
    assert {r.name for r in left.changes_since(parent)} == {"l"}
    assert {r.name for r in right.changes_since(parent)} == {"r"}
    assert {r.name for r in right.changes_since(left)} == {"l", "r"}


def test_the_log_is_bounded() -> None:
    first = snapshot = Snapshot()
    for number in range(LOG_LIMIT + 10):
        snapshot = snapshot.with_object(service("a", number))
    assert len(snapshot._log) < LOG_LIMIT
    assert {r.name for r in snapshot.changes_since(first)} == {"a"}


objects: st.SearchStrategy[KubernetesObject] = st.one_of(
    st.builds(service, st.sampled_from("abc"), st.sampled_from((80, 81))),
    st.builds(part, st.sampled_from("abc"), st.sampled_from("st"), st.sampled_from(("x", "y"))),
)
steps = st.lists(
    st.tuples(st.lists(objects, max_size=3), st.lists(objects, max_size=2)), max_size=8
)


@given(steps)
def test_a_history_is_the_map_of_its_last_states(
    history: list[tuple[list[KubernetesObject], list[KubernetesObject]]],
) -> None:
    """Twin: plain dictionaries, everything recomputed."""
    twin: dict[ObjectReference, KubernetesObject] = {}
    snapshots = [Snapshot()]
    states = [dict(twin)]
    for present, absent in history:
        snapshots.append(snapshots[-1].with_changes(present, [a.reference for a in absent]))
        twin.update({item.reference: item for item in present})
        for item in absent:
            twin.pop(item.reference, None)
        states.append(dict(twin))
    for snapshot, state in zip(snapshots, states, strict=True):
        assert {item.reference: item for item in snapshot} == state
        for name in "st":
            found = sorted(
                (i.name, i.subset)
                for i in state.values()
                if isinstance(i, EndpointSlice) and i.service == name
            )
            assert (snapshot.subsets_of("d", name) or ()) == tuple(s for _, s in found)
    for old, old_state in zip(snapshots, states, strict=True):
        for new, new_state in zip(snapshots, states, strict=True):
            really = {
                reference
                for reference in old_state.keys() | new_state.keys()
                if old_state.get(reference) != new_state.get(reference)
            }
            assert really <= new.changes_since(old)
