"""Made-up clusters: objects that share names, hosts and paths, and changes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from controller.kubernetes.objects import parse_kind
from controller.translate.translator import Translation
from tests.support.cases import FOLDER, read_case
from tests.support.cases import settings as case_settings

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


def assert_moved(last: Translation, found: Translation) -> None:
    """`moved` leads from the old Desired to the new one."""
    if found is last or found.moved is None:
        return
    moved = tuple(
        replace(backend, endpoints=found.moved.get(backend.name, backend.endpoints))
        for backend in last.desired.backends
    )
    assert replace(last.desired, backends=moved) == found.desired
