"""Translating step by step gives what translating at once gives, at the price of the change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.kubernetes.objects import KubernetesObject
from controller.snapshot.snapshot import Snapshot
from controller.translate.contributors import contributors, translate
from controller.translate.translator import Translator
from fastproxy.model.configuration import ObjectReference
from tests.support.cases import FOLDER, read_case
from tests.support.cases import settings as case_settings
from tests.support.clusters import SETTINGS, USUAL, assert_moved, edits, ingresses, named, objects
from tests.support.sequential import Sequential

# The twin does not check hosts and paths, nor keep the names of the default backend free.
DIFFERENT = {"vector_18_quotes_in_host_and_path", "odd_hosts", "reserved_name"}


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(objects, max_size=12), st.lists(edits, min_size=3, max_size=12))
def test_step_by_step_is_all_at_once(
    start: list[KubernetesObject], steps: list[list[tuple[KubernetesObject, bool]]]
) -> None:
    snapshot = Snapshot.of(USUAL + start)
    translator = Translator(contributors(SETTINGS))
    last = translator.update(snapshot)
    for step in steps:
        for item, present in step:
            snapshot = snapshot.with_object(item) if present else snapshot.without(item.reference)
        found = translator.update(snapshot)
        fresh = translate(Snapshot.of(list(snapshot)), SETTINGS)
        assert replace(found, moved=None) == replace(fresh, moved=None)
        assert_moved(last, found)
        last = found


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ingresses, min_size=4, max_size=10), st.lists(objects, max_size=8))
def test_a_translation_is_one_walk_over_all_ingresses(
    many: list[KubernetesObject], others: list[KubernetesObject]
) -> None:
    snapshot = Snapshot.of(USUAL + others + many)
    found, twin = translate(snapshot, SETTINGS).desired, Sequential(snapshot, SETTINGS).run()
    assert found.routes == twin.routes
    assert sorted(found.backends, key=lambda backend: backend.name) == list(twin.backends)
    assert found.certificates == twin.certificates
    assert [route.origin for route in found.routes] == [route.origin for route in twin.routes]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_cases_agree_with_one_walk(path: Path) -> None:
    case = read_case(path)
    twin = Sequential(case.snapshot, case.settings).run()
    found = case.run().desired
    if path.stem in DIFFERENT:
        assert found.routes != twin.routes
    else:
        assert found.routes == twin.routes


def ingress(name: str, service: str, **spec: Any) -> KubernetesObject:
    backend = {"service": {"name": service, "port": {"number": 80}}}
    item = {"path": "/", "pathType": "Prefix", "backend": backend}
    rules = [{"host": f"{name}.example", "http": {"paths": [item]}}]
    found: KubernetesObject = named("Ingress", "default", name, {"spec": {"rules": rules, **spec}})
    return found


def service(name: str) -> KubernetesObject:
    found: KubernetesObject = named("Service", "default", name, {"spec": {"ports": [{"port": 80}]}})
    return found


def addressed(name: str, *hosts: str) -> KubernetesObject:
    found: KubernetesObject = named(
        "EndpointSlice",
        "default",
        f"{name}-1",
        {"endpoints": [{"addresses": [host]} for host in hosts]},
        labels={"kubernetes.io/service-name": name},
    )
    return found


@pytest.fixture
def snapshot() -> Snapshot:
    names = [f"s{number}" for number in range(20)]
    return Snapshot.of(
        [ingress(name, name) for name in names]
        + [service(name) for name in names]
        + [addressed(name, "10.0.0.1") for name in names]
    )


def test_an_endpoint_change_moves_one_backend(snapshot: Snapshot) -> None:
    translator = Translator(contributors(SETTINGS))
    before = translator.update(snapshot)
    after = translator.update(snapshot.with_object(addressed("s7", "10.0.0.2")))
    assert after.moved is not None
    assert {name: [e.host for e in found] for name, found in after.moved.items()} == {
        "s7.example/": ["10.0.0.2"]
    }
    # Everything else is the very same object: nothing else was visited.
    kept = zip(before.desired.backends, after.desired.backends, strict=True)
    assert [old.name for old, new in kept if old is not new] == ["s7.example/"]
    assert all(map(_same, before.desired.routes, after.desired.routes))


def _same(old: object, new: object) -> bool:
    return old is new


def test_an_ingress_change_leaves_the_other_routes_alone(snapshot: Snapshot) -> None:
    translator = Translator(contributors(SETTINGS))
    before = translator.update(snapshot)
    after = translator.update(snapshot.with_object(ingress("s3", "s4")))
    assert after.desired is before.desired  # the other Service has the same endpoints
    translator.update(snapshot)
    after = translator.update(snapshot.with_object(ingress("new", "s4")))
    assert after.moved is None
    old = {route.name: route for route in before.desired.routes}
    assert [r.name for r in after.desired.routes if old.get(r.name) is not r] == ["new.example/"]


def test_what_means_nothing_changes_nothing(snapshot: Snapshot) -> None:
    translator = Translator(contributors(SETTINGS))
    before = translator.update(snapshot)
    assert translator.update(snapshot) is before
    assert translator.update(snapshot.with_object(addressed("s7", "10.0.0.1"))) is before
    assert translator.update(snapshot.with_object(service("unused"))) is before
    other = ingress("foreign", "s1", ingressClassName="nginx")
    assert translator.update(snapshot.with_object(other)).desired is before.desired


def test_what_a_translation_tells_besides(snapshot: Snapshot) -> None:
    tls = ingress("tls", "s1", tls=[{"secretName": "absent"}])
    twice = [
        ingress(name, "s1", defaultBackend={"service": {"name": "s1", "port": {"number": 80}}})
        for name in ("d1", "d2")
    ]
    found = translate(snapshot.with_changes([tls, *twice]), SETTINGS)
    assert ("default", "absent") in found.secrets
    served = {reference.name for reference in found.served}
    assert {"s1", "d1"} <= served
    # Skipped Ingresses get no status.
    assert not {"tls", "d2"} & served
    assert {finding.code for finding in found.findings} == {"FP141", "FP125"}


def test_the_default_backend_passes_on(snapshot: Snapshot) -> None:
    default = {"service": {"name": "s1", "port": {"number": 80}}}
    first, second = (ingress(name, "s2", defaultBackend=default) for name in ("d1", "d2"))
    translator = Translator(contributors(SETTINGS))
    translator.update(snapshot.with_changes([first, second]))
    with_one = snapshot.with_changes([first, second]).without(
        ObjectReference("Ingress", "default", "d1")
    )
    found = translator.update(with_one)
    assert {"d2.example/", "global-default-frontend"} <= {r.name for r in found.desired.routes}
    assert not found.findings


def test_a_route_belongs_to_the_object_it_is_made_from_now(snapshot: Snapshot) -> None:
    """Two Ingresses make the same route: without the first it is that of the second."""
    made = ({"creationTimestamp": f"{year}-01-01T00:00:00Z"} for year in (2020, 2021))
    item = {"path": "/", "backend": {"service": {"name": "s1", "port": {"number": 80}}}}
    spec = {"rules": [{"host": "h", "http": {"paths": [item]}}]}
    first, second = (
        named("Ingress", "default", name, {"spec": spec}, **more)
        for name, more in zip(("first", "second"), made, strict=True)
    )
    translator = Translator(contributors(SETTINGS))
    for both, origin in (
        (snapshot.with_changes([first, second]), first.reference),
        (snapshot.with_changes([second]), second.reference),
    ):
        routes = {route.name: route for route in translator.update(both).desired.routes}
        assert routes["h/"].origin == origin


def test_a_bad_selector_is_refused() -> None:
    with pytest.raises(ValueError, match="label selector"):
        translate(Snapshot(), case_settings({"label_selector": "a and not b"}))
