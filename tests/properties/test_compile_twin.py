"""Generations made from the one before against generations made from nothing."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.model.configuration import Backend, Certificate, Desired, Endpoint
from fastproxy.publish import route_compiler
from fastproxy.publish.compiler import NOTHING, Compiled, compile_table, restored
from fastproxy.publish.route_compiler import Piece
from fastproxy.publish.slots import NO_SLOT
from fastproxy.tables.assemble import assemble
from tests.fastproxy.test_compile import (
    FEATURES,
    GUARDED,
    SETTINGS,
    Broken,
    First,
    Script,
    Second,
    build_matcher,
    build_second,
    feature,
    route,
)
from tests.support import literal_table
from tests.support.table_block import read_block


@dataclass(frozen=True)
class Behind(Second):
    """A feature of the backend."""


ALL = (*FEATURES, feature(Behind, build_second))
texts = st.binary(max_size=12)
numbers = st.integers(0, 2**32 - 1)
rows = st.tuples(texts, texts, texts, texts, texts, *[numbers] * 5)


@given(st.integers(0, 2**64 - 1), st.lists(rows, max_size=8), st.binary(max_size=40), numbers)
def test_blocks_are_assembled_like_the_literal_ones(generation, rows, matcher, attempts):
    matcher += bytes(-len(matcher) % 8)
    expected = literal_table.assemble(generation, rows, matcher, attempts)
    assert assemble(generation, rows, matcher, attempts) == expected


endpoints = st.lists(
    st.integers(1, 3).map(lambda port: Endpoint("http", "10.0.0.1", port)), max_size=2
).map(tuple)
configs = st.lists(
    st.sampled_from([First(), First(b"/x"), Second(), Second(6), Script(), Broken()]),
    max_size=2,
    unique_by=type,
)
backends = st.builds(
    Backend,
    st.sampled_from("xyz"),
    endpoints,
    st.sampled_from([(), (Behind(7),)]),
    st.sampled_from(["wrr", "wrr", "drr"]),
    st.sampled_from([100_000_000, 5_000_000]),
)
routes = st.builds(
    lambda name, found, **more: route(name, *found, **more),
    st.sampled_from("abcd"),
    configs,
    backend=st.sampled_from("xyz"),
    entry_points=st.sampled_from([("http",), ("http", "admin"), ("admin", "admin"), (), ("no",)]),
    priority=st.sampled_from([10, 20]),
    preserve_host=st.booleans(),
)
certificates = st.sampled_from(
    [(), (Certificate("t", ("http",), b"1", b"k"),), (Certificate("t", ("http",), b"2", b"k"),)]
)


@st.composite
def histories(draw: st.DrawFn) -> list[Desired]:
    """Values that follow each other share what did not change, as the translation gives them."""
    known_routes = draw(st.lists(routes, max_size=6))
    known_backends = draw(st.lists(backends, max_size=6))
    steps = []
    for _ in range(draw(st.integers(1, 6))):
        some = draw(st.lists(st.sampled_from(known_routes), max_size=4)) if known_routes else []
        more = draw(st.lists(st.sampled_from(known_backends), max_size=3)) if known_backends else []
        chosen = {one.name: one for one in some}
        behind = {one.name: one for one in more}
        steps.append(
            Desired(
                tuple(chosen[name] for name in sorted(chosen)),
                tuple(behind[name] for name in sorted(behind)),
                draw(certificates),
            )
        )
    return steps


def normal(piece: Piece, compiled: Compiled) -> object:
    """A piece with what its slots stand for instead of their numbers."""
    backend = compiled.backends.get(piece.backend_slot)
    names = {slot: f"{kind} {key}" for kind, key, _, slot in piece.claims if kind == "filter"}
    filters = [(names[slot], compiled.filters[slot]) for slot, _ in piece.filters]
    specifications = [(kind, key, specification) for kind, key, specification, _ in piece.claims]
    return (
        piece.place, piece.row[:2], piece.row[6:], filters, specifications, piece.certificate_of,
        backend and replace(backend, statistics_slot=backend.statistics_slot == NO_SLOT),
    )  # fmt: skip


def meaning(compiled: Compiled) -> list[object]:
    return [normal(piece, compiled) for group in compiled.groups.values() for piece in group.pieces]


def check(new: Compiled, fresh: Compiled, old: Compiled) -> None:
    assert meaning(new) == meaning(fresh)
    assert new.matcher == fresh.matcher and new.failures == fresh.failures
    assert sorted(map(repr, new.certificates.values())) == sorted(
        map(repr, fresh.certificates.values())
    )
    pieces = [piece for group in new.groups.values() for piece in group.pieces]
    assert new.backends.keys() == {p.backend_slot for p in pieces} - {NO_SLOT}
    assert new.filters == {slot: config for piece in pieces for slot, config in piece.filters}
    # One piece may name a filter several times; two pieces never share a slot.
    held = [item for p in pieces for item in {(kind, slot) for kind, _, _, slot in p.claims}]
    assert len(held) == len(set(held))
    held += [("certificate", slot) for slot in new.certificates]
    assert sorted(held) == sorted((kind, slot) for (kind, _), (_, slot) in new.slots.held.items())
    # What the generation before holds and this one gave up is not yet given to others.
    before = {(kind, slot): (key, specification)
              for group in old.groups.values() for piece in group.pieces
              for kind, key, specification, slot in piece.claims}  # fmt: skip
    for piece in pieces:
        for kind, key, specification, slot in piece.claims:
            assert before.get((kind, slot), (key, specification)) == (key, specification)
    records = read_block(new.block).routes
    assert [(r.name, r.entry_point, r.backend_slot) for r in records] == [
        (p.row[0].decode(), p.entry_point, p.backend_slot) for p in pieces
    ]


def history(steps: Sequence[Desired], data: st.DataObject, values: object) -> None:
    live = NOTHING
    for desired in steps:
        new = compile_table(desired, values, ALL, live, build_matcher)  # type: ignore[arg-type]
        fresh = compile_table(desired, values, ALL, NOTHING, build_matcher)  # type: ignore[arg-type]
        check(new, fresh, live)
        event = data.draw(st.sampled_from(["live", "live", "refused", "moved", "restarted"]))
        if event != "refused":
            live = new
        if event == "moved" and live.backends:
            # Endpoints may have moved without a generation.
            slot = data.draw(st.sampled_from(sorted(live.backends)))
            other = replace(live.backends[slot], endpoints=data.draw(endpoints))
            live = live.with_moves({slot: other})
        if event == "restarted":
            groups = pickle.loads(pickle.dumps(dict(live.groups)))
            parts = pickle.loads(pickle.dumps((live.backends, live.certificates)))
            live = restored(live.generation, live.block, groups, *parts, {})


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Routes that cannot be built are logged with their traceback."""
    route_compiler.log.disabled = True
    yield
    route_compiler.log.disabled = False


@given(histories(), st.data(), st.sampled_from([SETTINGS, GUARDED]))
@settings(max_examples=300, deadline=None)
def test_a_generation_does_not_depend_on_those_before(steps, data, values):
    history(steps, data, values)
