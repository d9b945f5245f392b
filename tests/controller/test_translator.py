"""Translating step by step gives what translating at once gives, at the price of the change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.kubernetes.objects import KubernetesObject, parse_kind
from controller.snapshot.snapshot import Snapshot
from controller.translate.translator import Translation, Translator, translate
from fastproxy.model import ObjectReference
from tests.support.cases import FOLDER, read_case
from tests.support.cases import settings as case_settings
from tests.support.sequential import Sequential

# The twin does not check hosts and paths, nor keep the names of the default backend free.
DIFFERENT = {"vector_18_quotes_in_host_and_path", "odd_hosts", "reserved_name"}
SETTINGS = case_settings({"ingress_class": "", "label_selector": "!hidden"})
NAMESPACES = ("x", "x", "x", "y")
SERVICES = ("s1", "s1", "s2")
PEM = {
    name: read_case(FOLDER / f"{name}.yaml").snapshot.secrets
    for name in ("vector_09_entry_points_and_tls", "tls_same_names")
}
PAIRS = [dict(secret.data) for secrets in PEM.values() for secret in secrets.values()]

ANNOTATIONS: tuple[Mapping[str, str], ...] = (
    {},
    {"ingress.kubernetes.io/priority": "5"},
    {"ingress.kubernetes.io/frontend-entry-points": "https,http"},
    {"ingress.kubernetes.io/frontend-entry-points": "nowhere"},
    {"ingress.kubernetes.io/rule-type": "PathStrip"},
    {"ingress.kubernetes.io/rule-type": "wrong"},
    {"ingress.kubernetes.io/protocol": "https"},
    {"ingress.kubernetes.io/service-weights": "s1: 30%"},
    {"ingress.kubernetes.io/service-weights": ""},
    {"ingress.kubernetes.io/service-weights": "s1: 30%\ns2: 70%"},
    {"ingress.kubernetes.io/auth-type": "basic", "ingress.kubernetes.io/auth-secret": "t1"},
    {"ingress.kubernetes.io/auth-realm": "other"},
    {"ingress.kubernetes.io/auth-type": "digest"},
    {"kubernetes.io/ingress.class": "other"},
    {"ingress.kubernetes.io/preserve-host": "maybe"},
    {"ingress.kubernetes.io/error-pages": "a: {status: ['404'], backend: h/a}"},
    {"ingress.kubernetes.io/error-pages": "a: {status: ['404'], backend: global-default-backend}"},
)
backends = st.builds(
    lambda service, port: {"service": {"name": service, "port": {"number": port}}},
    st.sampled_from(SERVICES),
    st.sampled_from((80, 80, 80, 443)),
)
paths = st.builds(
    lambda path, kind, backend: {"path": path, "pathType": kind, "backend": backend},
    st.sampled_from(("", "/", "/", "/a")),
    st.sampled_from(("Prefix", "Prefix", "Exact", "ImplementationSpecific")),
    backends,
)
rules = st.builds(
    lambda host, items: {"host": host, "http": {"paths": items}},
    st.sampled_from(("h", "h", "", "*.h")),
    st.lists(paths, min_size=1, max_size=3),
)


DEFAULTS = tuple({"service": {"name": name, "port": {"number": 80}}} for name in ("s1", "s2"))


def named(kind: str, namespace: str, name: str, body: dict[str, Any], **more: Any) -> Any:
    metadata = {"name": name, "namespace": namespace, **more}
    return parse_kind(kind, {"metadata": metadata, **body})


ingresses = st.builds(
    lambda namespace, name, created, annotations, labels, spec: named(
        "Ingress",
        namespace,
        name,
        {"spec": {key: value for key, value in spec.items() if value is not None}},
        creationTimestamp=created,
        annotations=dict(annotations),
        labels=labels,
    ),
    st.sampled_from(NAMESPACES),
    st.sampled_from("abc"),
    st.sampled_from(("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z")),
    st.sampled_from(ANNOTATIONS),
    st.sampled_from(({}, {}, {}, {"hidden": ""})),
    st.fixed_dictionaries(
        {
            "rules": st.lists(rules, min_size=1, max_size=2),
            "defaultBackend": st.sampled_from((None,) * 3 + DEFAULTS),
            "ingressClassName": st.sampled_from((None,) * 8 + ("ours", "theirs")),
            "tls": st.sampled_from((None,) * 6 + ([{"secretName": "t1"}],)),
        }
    ),
)
services = st.builds(
    lambda namespace, name, annotations, ports, kind: named(
        "Service",
        namespace,
        name,
        {"spec": {"ports": [{"port": p} for p in ports], **kind}},
        annotations=annotations,
    ),
    st.sampled_from(NAMESPACES),
    st.sampled_from(SERVICES),
    st.sampled_from(
        (
            {},
            {"ingress.kubernetes.io/load-balancer-method": "drr"},
            {"ingress.kubernetes.io/circuit-breaker-expression": "???"},
            {"ingress.kubernetes.io/priority": "1"},
        )
    ),
    st.sampled_from(((80,), (80, 443), (8080,))),
    st.sampled_from(({},) * 4 + ({"type": "ExternalName", "externalName": "example.com"},)),
)
addresses = st.lists(st.sampled_from(("10.0.0.1", "10.0.0.2", "fd00::1")), max_size=3)
slices = st.builds(
    lambda namespace, name, service, hosts, ready: named(
        "EndpointSlice",
        namespace,
        name,
        {"endpoints": [{"addresses": [h], "conditions": {"ready": ready}} for h in hosts]},
        labels={"kubernetes.io/service-name": service},
    ),
    st.sampled_from(NAMESPACES),
    st.sampled_from(("a", "b")),
    st.sampled_from(SERVICES),
    addresses,
    st.booleans(),
)
endpoints = st.builds(
    lambda namespace, name, hosts: named(
        "Endpoints",
        namespace,
        name,
        {"subsets": [{"addresses": [{"ip": h} for h in hosts]}] if hosts else None},
    ),
    st.sampled_from(NAMESPACES),
    st.sampled_from(SERVICES),
    addresses,
)
secrets = st.builds(
    lambda namespace, data: replace(named("Secret", namespace, "t1", {}), data=data),
    st.sampled_from(NAMESPACES),
    st.sampled_from((*PAIRS, {}, {"users": b"a:b"})),
)
classes = st.builds(
    lambda name, controller: named("IngressClass", "", name, {"spec": {"controller": controller}}),
    st.sampled_from(("ours", "theirs")),
    st.sampled_from(("fastproxy.io/ingress-controller", "nginx")),
)
objects = st.one_of(
    ingresses, ingresses, ingresses, services, slices, slices, endpoints, secrets, classes
)
edits = st.lists(
    st.tuples(objects, st.sampled_from((True, True, True, False))), min_size=1, max_size=3
)
USUAL = [
    named("Service", "x", name, {"spec": {"ports": [{"port": 80}]}}) for name in ("s1", "s2")
] + [
    named("Endpoints", "x", name, {"subsets": [{"addresses": [{"ip": f"10.9.9.{number}"}]}]})
    for number, name in enumerate(("s1", "s2"))
]


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(objects, max_size=12), st.lists(edits, min_size=3, max_size=12))
def test_step_by_step_is_all_at_once(
    start: list[KubernetesObject], steps: list[list[tuple[KubernetesObject, bool]]]
) -> None:
    snapshot = Snapshot.of(USUAL + start)
    translator = Translator(SETTINGS)
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


def assert_moved(last: Translation, found: Translation) -> None:
    """`moved` leads from the old Desired to the new one."""
    if found is last or found.moved is None:
        return
    moved = tuple(
        replace(backend, endpoints=found.moved.get(backend.name, backend.endpoints))
        for backend in last.desired.backends
    )
    assert replace(last.desired, backends=moved) == found.desired


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
    translator = Translator(SETTINGS)
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
    translator = Translator(SETTINGS)
    before = translator.update(snapshot)
    after = translator.update(snapshot.with_object(ingress("s3", "s4")))
    assert after.desired is before.desired  # the other Service has the same endpoints
    translator.update(snapshot)
    after = translator.update(snapshot.with_object(ingress("new", "s4")))
    assert after.moved is None
    old = {route.name: route for route in before.desired.routes}
    assert [r.name for r in after.desired.routes if old.get(r.name) is not r] == ["new.example/"]


def test_what_means_nothing_changes_nothing(snapshot: Snapshot) -> None:
    translator = Translator(SETTINGS)
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
    assert ("default", "s1") in found.processed
    assert ("default", "d1") in found.processed
    # Skipped Ingresses get no status.
    assert not {("default", "tls"), ("default", "d2")} & set(found.processed)
    assert {finding.code for finding in found.findings} == {"FP141", "FP125"}


def test_the_default_backend_passes_on(snapshot: Snapshot) -> None:
    default = {"service": {"name": "s1", "port": {"number": 80}}}
    first, second = (ingress(name, "s2", defaultBackend=default) for name in ("d1", "d2"))
    translator = Translator(SETTINGS)
    translator.update(snapshot.with_changes([first, second]))
    with_one = snapshot.with_changes([first, second]).without(
        ObjectReference("Ingress", "default", "d1")
    )
    found = translator.update(with_one)
    assert {"d2.example/", "global-default-frontend"} <= {r.name for r in found.desired.routes}
    assert not found.findings


def test_a_bad_selector_is_refused() -> None:
    with pytest.raises(ValueError, match="label selector"):
        translate(Snapshot(), case_settings({"label_selector": "a and not b"}))
