"""Kubernetes JSON becomes small frozen objects, or is refused with the field at fault."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.kubernetes.fields import Malformed
from controller.kubernetes.objects import (
    READERS,
    Address,
    BackendReference,
    EndpointAddress,
    EndpointSlice,
    Ingress,
    IngressPath,
    IngressRule,
    KubernetesObject,
    PortReference,
    Secret,
    Service,
    parse_kind,
    parse_object,
    port_reference,
    reference_of,
)

V1 = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {
        "name": "shop",
        "namespace": "web",
        "uid": "u1",
        "creationTimestamp": "2020-01-01T00:00:00Z",
        "labels": {"app": "shop"},
        "annotations": {"a": "b", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
        "managedFields": [{"manager": "kubectl"}],
    },
    "spec": {
        "ingressClassName": "fast",
        "defaultBackend": {"service": {"name": "d", "port": {"name": "web"}}},
        "tls": [{"hosts": ["x"], "secretName": "cert"}],
        "rules": [
            {
                "host": "h",
                "http": {
                    "paths": [
                        {
                            "path": "/p",
                            "pathType": "Prefix",
                            "backend": {"service": {"name": "s", "port": {"number": 80}}},
                        }
                    ]
                },
            }
        ],
    },
    "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb"}]}},
}
OLD = copy.deepcopy(V1)
OLD["apiVersion"] = "extensions/v1beta1"
OLD["spec"]["backend"] = {"serviceName": "d", "servicePort": "web"}
del OLD["spec"]["defaultBackend"]
OLD["spec"]["rules"][0]["http"]["paths"][0]["backend"] = {"serviceName": "s", "servicePort": 80}


def test_all_ingress_versions_are_one() -> None:
    beta = {**OLD, "apiVersion": "networking.k8s.io/v1beta1"}
    ingress = parse_object(V1)
    assert ingress == parse_object(OLD) == parse_object(beta)
    backend = BackendReference("s", PortReference("80", 80))
    assert ingress == Ingress(
        "web",
        "shop",
        created="2020-01-01T00:00:00Z",
        uid="u1",
        annotations={"a": "b"},
        labels={"app": "shop"},
        class_name="fast",
        default_backend=BackendReference("d", PortReference("web", 0)),
        has_default_backend=True,
        rules=(IngressRule("h", (IngressPath("/p", "Prefix", backend),)),),
        tls_secrets=("cert",),
        addresses=(Address("192.0.2.1", ""), Address("", "lb")),
    )
    assert pickle.loads(pickle.dumps(ingress)) == ingress


def body(kind: str, **fields: Any) -> KubernetesObject:
    return parse_kind(kind, {"metadata": {"name": "x"}, **fields})


def test_what_is_null_is_absent() -> None:
    nulls = {"metadata": {"name": "x", "annotations": None, "labels": None, "namespace": None}}
    spec = {"rules": None, "tls": None, "backend": None, "ingressClassName": None}
    assert parse_kind("Ingress", {**nulls, "spec": spec, "status": None}) == body("Ingress")
    assert parse_kind("Service", {**nulls, "spec": None}) == body("Service")
    assert parse_kind("Endpoints", {**nulls, "subsets": None}) == body("Endpoints")
    assert parse_kind("EndpointSlice", {**nulls, "endpoints": None, "ports": None}) == body(
        "EndpointSlice"
    )
    assert parse_kind("Secret", {**nulls, "data": None}) == body("Secret")


def test_conditions_of_endpoints() -> None:
    conditions = [
        (None, True, False),
        ({}, True, False),
        ({"ready": None}, True, False),
        ({"ready": False}, False, False),
        ({"ready": False, "terminating": True}, False, True),
        ({"ready": False, "serving": False, "terminating": True}, False, False),
        ({"ready": False, "serving": True}, False, False),
    ]
    found = body(
        "EndpointSlice",
        endpoints=[{"addresses": ["10.0.0.1"], "conditions": given} for given, _, _ in conditions],
    )
    assert isinstance(found, EndpointSlice)
    assert found.subset.addresses == tuple(
        EndpointAddress("10.0.0.1", "", ready, draining) for _, ready, draining in conditions
    )


def test_secret_values() -> None:
    secret = body(
        "Secret", data={"a": "aGVsbG8=", "b": "aGVs\nbG8=", "c": ""}, stringData={"d": "x"}
    )
    assert isinstance(secret, Secret)
    assert secret.data == {"a": b"hello", "b": b"hello", "c": b"", "d": b"x"}
    assert "hello" not in repr(secret)


def test_only_external_names_have_one() -> None:
    plain = body("Service", spec={"type": "ClusterIP", "externalName": "x"})
    named = body("Service", spec={"type": "ExternalName", "externalName": "x"})
    assert isinstance(plain, Service)
    assert isinstance(named, Service)
    assert (plain.external_name, named.external_name) == (None, "x")


# servicePort -> number
PORTS = [(80, 80), ("80", 80), ("web", 0), ("", 0), (None, 0), ("+80", 80), ("8x", 0), ("٣", 0)]


@pytest.mark.parametrize(("value", "number"), PORTS)
def test_port_references(value: Any, number: int) -> None:
    assert port_reference(value).number == number


RULES = {"rules": [{"http": {"paths": [{"path": "/"}]}}]}
# kind, object without metadata, field at fault
MALFORMED = [
    ("Ingress", {"spec": []}, "spec"),
    ("Ingress", {"spec": {"rules": {}}}, "spec.rules"),
    ("Ingress", {"spec": {"rules": [None]}}, "spec.rules[0]"),
    ("Ingress", {"spec": {"rules": [{"host": 7}]}}, "spec.rules[0].host"),
    ("Ingress", {"spec": {"rules": [{"http": []}]}}, "spec.rules[0].http"),
    (
        "Ingress",
        {"spec": {"rules": [{"http": {"paths": [{"pathType": "Regex"}]}}]}},
        "spec.rules[0].http.paths[0].pathType",
    ),
    (
        "Ingress",
        {"spec": {"defaultBackend": {"serviceName": "s", "servicePort": 1.5}}},
        "servicePort",
    ),
    (
        "Ingress",
        {"spec": {"backend": {"service": {"name": "s", "port": {"number": 70000}}}}},
        "port",
    ),
    ("Ingress", {"spec": {"tls": [{"secretName": []}]}}, "spec.tls[0]"),
    ("Ingress", {"spec": {"ingressClassName": 5}}, "spec.ingressClassName"),
    ("Service", {"spec": {"ports": [{"port": "80"}]}}, "spec.ports[0].port"),
    ("Service", {"spec": {"ports": [{"port": True}]}}, "spec.ports[0].port"),
    ("Service", {"spec": {"ports": [{"port": -1}]}}, "spec.ports[0].port"),
    ("EndpointSlice", {"endpoints": [{"addresses": [5]}]}, "endpoints[0].addresses[0]"),
    (
        "EndpointSlice",
        {"endpoints": [{"addresses": ["a"], "conditions": {"ready": "yes"}}]},
        "endpoints[0].conditions.ready",
    ),
    ("Endpoints", {"subsets": [{"addresses": [{"ip": 1}]}]}, "subsets[0].addresses.ip"),
    ("Secret", {"data": {"a": "!"}}, "data[a]"),
    ("IngressClass", {"spec": {"controller": {}}}, "spec.controller"),
]


@pytest.mark.parametrize(("kind", "fields", "field"), MALFORMED)
def test_malformed(kind: str, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Malformed) as caught:
        body(kind, **fields)
    assert field in caught.value.field


@pytest.mark.parametrize(
    "data",
    [None, 7, [], "x", {"kind": "Service", "apiVersion": "v1"}]
    + [
        {"kind": "Service", "apiVersion": "v1", "metadata": metadata}
        for metadata in (None, {}, {"name": None}, {"name": 5}, {"name": "x", "namespace": []}, [])
    ],
)
def test_objects_without_identity(data: Any) -> None:
    with pytest.raises(Malformed):
        parse_object(data)
    reference_of(data)


def test_annotations_are_strings_as_the_api_server_demands() -> None:
    metadata = {"name": "x", "annotations": {"ingress.kubernetes.io/ssl-redirect": True}}
    with pytest.raises(Malformed, match="quote the value"):
        parse_kind("Ingress", {"metadata": metadata})


@pytest.mark.parametrize("data", [{"kind": "Pod", "apiVersion": "v1"}, {"kind": []}, {}])
def test_other_kinds_are_passed_over(data: Any) -> None:
    assert parse_object(data) is None


KEYS = (
    *("spec", "rules", "http", "paths", "backend", "service", "name", "port", "ports", "number"),
    *("subsets", "addresses", "ip", "endpoints", "conditions", "ready", "data", "metadata"),
    *("labels", "status", "loadBalancer", "ingress"),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@given(st.sampled_from(sorted(READERS)), json_values)
def test_garbage_is_refused_or_read_but_never_crashes(kind: str, data: Any) -> None:
    given = {"metadata": {"name": "x"}, **data} if isinstance(data, dict) else data
    try:
        found = parse_kind(kind, given)
    except Malformed:
        return
    assert found.name
    assert found == found
