"""A kind nobody has heard of becomes routes: incremental like Ingress, with its own precedence."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.kubernetes import objects as kubernetes_objects
from controller.kubernetes.api import connect
from controller.kubernetes.objects import KubernetesObject
from controller.kubernetes.resources import Resource
from controller.snapshot.snapshot import Snapshot
from controller.sources.reflectors import WATCHED, Reflectors, Watched
from controller.sources.source import Cache
from controller.translate.ingress import DEFAULT_ROUTE, IngressContributor
from controller.translate.translator import Translator
from fastproxy._core import build_matcher, match
from fastproxy.model.configuration import ObjectReference
from tests.support.api_server import ApiServer
from tests.support.api_store import KINDS, Kind, wait_until
from tests.support.clusters import (
    SETTINGS,
    USUAL,
    assert_moved,
    ingresses,
    named,
    objects,
)
from tests.support.kubernetes_objects import endpoint_slice, service
from tests.support.toy import (
    Toy,
    ToyContributor,
    ToyPolicy,
    ToySequential,
    policies,
    read_toy,
    toys,
)

PACKAGE = Path(__file__).parents[2] / "controller" / "translate"
OLD, YOUNG = "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"


def translator() -> Translator:
    return Translator((IngressContributor(SETTINGS), ToyContributor()))


def ingress(host: str, path: str, created: str = OLD, **spec: Any) -> KubernetesObject:
    backend = {"service": {"name": "s1", "port": {"number": 80}}}
    item = {"path": path, "pathType": "Prefix", "backend": backend}
    spec = {"rules": [{"host": host, "http": {"paths": [item]}}], **spec}
    found: KubernetesObject = named("Ingress", "x", "i", {"spec": spec}, creationTimestamp=created)
    return found


def test_a_toy_is_a_route_with_a_backend() -> None:
    toy = Toy("x", "t", OLD, "h", "/a", "s1", precedence=(3, 4))
    found = translator().update(Snapshot.of([*USUAL, toy]))
    (route,) = found.desired.routes
    assert (route.name, route.priority, route.tie_break) == ("toy:h/a", 3, 4)
    assert route.origin == toy.reference == ObjectReference("Toy", "x", "t")
    assert [e.url for e in found.desired.backends[0].endpoints] == ["http://10.9.9.0:80"]
    assert found.served == (toy.reference,)
    assert found.findings == ()


everything = st.one_of(objects, toys, toys, toys, policies)
edits = st.lists(
    st.tuples(everything, st.sampled_from((True, True, True, False))), min_size=1, max_size=3
)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(everything, max_size=12), st.lists(edits, min_size=3, max_size=12))
def test_step_by_step_is_all_at_once(
    start: list[KubernetesObject], steps: list[list[tuple[KubernetesObject, bool]]]
) -> None:
    snapshot = Snapshot.of(USUAL + start)
    one = translator()
    last = one.update(snapshot)
    for step in steps:
        for item, present in step:
            snapshot = snapshot.with_object(item) if present else snapshot.without(item.reference)
        found = one.update(snapshot)
        fresh = translator().update(Snapshot.of(list(snapshot)))
        assert replace(found, moved=None) == replace(fresh, moved=None)
        assert_moved(last, found)
        last = found


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(toys, min_size=2, max_size=8),
    st.lists(ingresses, min_size=2, max_size=6),
    st.lists(everything, max_size=8),
)
def test_a_translation_is_one_walk_over_all_kinds(
    many: list[KubernetesObject], others: list[KubernetesObject], more: list[KubernetesObject]
) -> None:
    snapshot = Snapshot.of(USUAL + more + others + many)
    found, twin = translator().update(snapshot).desired, ToySequential(snapshot, SETTINGS).run()
    assert found.routes == twin.routes
    assert sorted(found.backends, key=lambda backend: backend.name) == list(twin.backends)
    assert found.certificates == twin.certificates
    assert [route.origin for route in found.routes] == [route.origin for route in twin.routes]


def test_a_change_visits_what_it_touches() -> None:
    """Of an object that only a Toy looks at, of endpoints, of the Toy itself."""
    many = [Toy("x", f"t{n}", OLD, f"h{n}", "/", "s1", policy=f"p{n}") for n in range(5)]
    snapshot = Snapshot.of([*USUAL, *many, *(ToyPolicy("x", f"p{n}") for n in range(5))])
    one = translator()
    before = one.update(snapshot)
    assert len(before.desired.routes) == 5
    assert one.update(snapshot.with_object(ToyPolicy("x", "nobody"))) is before
    closed = one.update(snapshot.with_object(ToyPolicy("x", "p3", False))).desired
    assert [r.name for r in before.desired.routes if r not in closed.routes] == ["toy:h3/"]
    kept = {route.name: route for route in before.desired.routes}
    assert all(route is kept[route.name] for route in closed.routes)
    moved = one.update(
        snapshot.with_object(
            named("Endpoints", "x", "s1", {"subsets": [{"addresses": [{"ip": "10.0.0.7"}]}]})
        )
    )
    assert moved.moved is None  # the policy is open again, which is more than endpoints
    again = one.update(snapshot)
    assert again.moved is not None and len(again.moved) == 5


# host and path, precedence of the Toy; does it take http://h/a/b from the Ingress h /a (priority
# 19, by the length of its rules)?
BESIDE: list[tuple[str, str, tuple[int, int], bool]] = [
    ("h", "/", (50, 0), True),
    ("h", "/", (0, 50), False),
    ("h", "/a", (18, 0), False),
    ("h", "/a", (20, 0), True),
    ("h", "/a/b", (19, 0), True),
    ("", "/a/b", (19, 0), False),
]


@pytest.mark.parametrize(("host", "path", "precedence", "toy_wins"), BESIDE)
def test_its_precedence_stands_beside_that_of_ingresses(
    host: str, path: str, precedence: tuple[int, int], toy_wins: bool
) -> None:
    toy = Toy("x", "t", OLD, host, path, "s2", precedence=precedence)
    routes = translator().update(Snapshot.of([*USUAL, toy, ingress("h", "/a")])).desired.routes
    section = build_matcher(
        [(n, 0, r.matchers, (r.priority, r.tie_break), r.name) for n, r in enumerate(routes)]
    )
    answer = match(section, 0, "h", "/a/b")
    assert answer is not None
    assert (routes[answer[0]].name == f"toy:{host}{path}") is toy_wins


@pytest.mark.parametrize("toy_first", [True, False])
def test_kinds_compete_for_what_only_one_may_have(toy_first: bool) -> None:
    toy = Toy("x", "t", OLD if toy_first else YOUNG, "t", "/", "s2", default=True)
    default = {"service": {"name": "s1", "port": {"number": 80}}}
    other = ingress("i", "/", YOUNG if toy_first else OLD, defaultBackend=default)
    one = translator()
    both = Snapshot.of([*USUAL, toy, other])
    found = one.update(both)
    winner, loser = (toy, other) if toy_first else (other, toy)
    routes = {route.name: route.origin for route in found.desired.routes}
    assert routes[DEFAULT_ROUTE] == winner.reference
    assert set(routes.values()) == {winner.reference}
    assert found.served == (winner.reference,)
    assert [(f.code, f.object) for f in found.findings] == [("FP125", loser.reference)]
    alone = one.update(both.without(winner.reference))
    assert {route.origin for route in alone.desired.routes} == {loser.reference}
    assert alone.findings == ()


TOYS = Resource("Toy", "toys.example/v1", "toys")


def toy_document(name: str, host: str, **spec: Any) -> Mapping[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"host": host, "path": "/", "service": "web", "port": 80, **spec},
    }


def test_toys_come_from_the_api_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row for the reader, one for the reflectors, and the contributor: nothing else."""
    readers = {**kubernetes_objects.READERS, "Toy": (("toys.example/v1",), read_toy)}
    monkeypatch.setattr(kubernetes_objects, "READERS", readers)
    with ApiServer((*KINDS, Kind("Toy", "toys.example/v1", "toys"))) as server:
        server.create("Service", service("web"))
        server.create("EndpointSlice", endpoint_slice("web", "10.0.0.5"))
        server.create("Toy", toy_document("t", "first.example"))
        cache = Cache()
        api = connect(server.url, environment={})
        reflectors = Reflectors(api, cache.deliver, watched=(*WATCHED, Watched((TOYS,))))
        reflectors.start()
        wait_until(reflectors.synced)
        one = translator()
        assert [r.name for r in one.update(cache.take().snapshot).desired.routes] == [
            "toy:first.example/"
        ]
        server.create("Toy", toy_document("u", "second.example"))
        wait_until(lambda: len(one.update(cache.take().snapshot).desired.routes) == 2)
        reflectors.stop()


GENERIC = ("translator", "contributor", "fragments", "merge", "claims", "groups", "named_backends")


@pytest.mark.parametrize("module", GENERIC)
def test_the_translator_knows_no_kind(module: str) -> None:
    """It imports neither a contributor nor a dialect nor the objects they read."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    kinds = {f"controller.kubernetes.objects.{kind}" for kind in ("Ingress", "Service", "Secret")}
    assert not imported & kinds
    assert not [n for n in imported if ".dialects" in n or "ingress" in n or ".features" in n]
