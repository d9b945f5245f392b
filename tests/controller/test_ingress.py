"""What one Ingress contributes: never an exception, never anything to another Ingress."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from controller.kubernetes.objects import (
    BackendReference,
    Ingress,
    IngressPath,
    IngressRule,
    KubernetesObject,
    PortReference,
    Service,
    ServicePort,
    parse_kind,
)
from controller.snapshot.lookups import Lookups
from controller.snapshot.snapshot import Snapshot
from controller.translate.contributor import Contribution
from controller.translate.contributors import translate
from controller.translate.ingress import IngressContributor
from fastproxy.features import KNOWN_ANNOTATIONS
from fastproxy.model.configuration import ObjectReference
from tests.support.cases import settings

SETTINGS = settings({})


def ingress(name: str, host: str, path: str = "/", **values: Any) -> Ingress:
    backend = BackendReference("s", PortReference("80", 80))
    rules = (IngressRule(host, (IngressPath(path, "ImplementationSpecific", backend),)),)
    return Ingress("d", name, rules=rules, **values)


SERVICE = Service("d", "s", ports=(ServicePort("", 80),))
ENDPOINTS = parse_kind(
    "Endpoints",
    {"metadata": {"name": "s", "namespace": "d"}, "subsets": [{"addresses": [{"ip": "10.0.0.1"}]}]},
)
VICTIM = ingress("victim", "victim.example")
ALONE = translate(Snapshot.of([VICTIM, SERVICE, ENDPOINTS]), SETTINGS).desired

values = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ("", "true", "5", "-1", "a: b", "{", "a||b:c", '"', "\\", "\\u0000", "\n", "x" * 5000)
    ),
    st.sampled_from([annotation.example for annotation in KNOWN_ANNOTATIONS.values()]),
)
annotations = st.dictionaries(st.sampled_from(sorted(KNOWN_ANNOTATIONS)), values, max_size=6)
# No template can give a name the victim has.
texts = st.text(max_size=12).filter(lambda text: "victim" not in text)


@profile(max_examples=150, deadline=None)
@given(annotations, annotations, texts, texts, texts)
def test_nothing_an_ingress_says_harms_another(
    on_ingress: dict[str, str], on_service: dict[str, str], host: str, path: str, secret: str
) -> None:
    bad = ingress("a", host, path, annotations=on_ingress, tls_secrets=(secret,) if secret else ())
    other = Service("e", "s", annotations=on_service, ports=SERVICE.ports)
    elsewhere = Ingress("e", "b", rules=ingress("b", host, path).rules, annotations=on_ingress)
    snapshot = Snapshot.of([VICTIM, SERVICE, ENDPOINTS, bad, other, elsewhere])
    found = translate(snapshot, SETTINGS)
    assert set(ALONE.routes) <= set(found.desired.routes)
    assert set(ALONE.backends) <= set(found.desired.backends)
    for finding in found.findings:
        assert "\n" not in finding.sentence
        assert finding.object != VICTIM.reference


SERVICES, ENDPOINTS_KIND, SECRETS, CLASSES = "Service", "Endpoints", "Secret", "IngressClass"
# Ingress -> kinds and names it depends on
NEEDS: list[tuple[Ingress, set[tuple[str, str]]]] = [
    (ingress("i", "h"), {(SERVICES, "s")}),
    (ingress("i", "h", class_name="c"), {(CLASSES, "c")}),
    (ingress("i", "h", tls_secrets=("t", "")), {(SECRETS, "t"), (SERVICES, "s")}),
    (
        ingress("i", "h", annotations={"ingress.kubernetes.io/service-weights": ""}),
        {(SERVICES, "s"), (ENDPOINTS_KIND, "s")},
    ),
    (
        ingress(
            "i",
            "h",
            annotations={
                "ingress.kubernetes.io/auth-type": "digest",
                "ingress.kubernetes.io/auth-secret": "users",
            },
        ),
        {(SERVICES, "s"), (SECRETS, "users")},
    ),
]


@pytest.mark.parametrize(("given_ingress", "expected"), NEEDS)
def test_everything_looked_at_is_needed(
    given_ingress: Ingress, expected: set[tuple[str, str]]
) -> None:
    lookups = Lookups(Snapshot(), "d")
    assert IngressContributor(SETTINGS).contribute(given_ingress, lookups) is not None
    assert {(need.kind, need.name) for need in lookups.needs} == expected


def test_a_name_is_looked_up_in_the_namespace_of_the_ingress_only() -> None:
    lookups = Lookups(Snapshot.of([Service("other", "s")]), "d")
    found = IngressContributor(SETTINGS).contribute(VICTIM, lookups)
    assert found is not None
    assert ObjectReference("Service", "d", "s") in lookups.needs
    assert [finding.code for finding in found.findings] == ["FP102"]


def test_out_of_scope_is_nothing() -> None:
    contributor = IngressContributor(settings({"namespaces": ["elsewhere"]}))
    assert contributor.contribute(VICTIM, Lookups(Snapshot(), "d")) is None


def contribution(item: Ingress, *others: KubernetesObject) -> Contribution | None:
    lookups = Lookups(Snapshot.of(others), item.namespace)
    return IngressContributor(SETTINGS).contribute(item, lookups)


def test_a_foreign_realm_leaves_no_fragment() -> None:
    asked = {"ingress.kubernetes.io/auth-type": "basic", "ingress.kubernetes.io/auth-realm": "r"}
    usual, refused = (contribution(ingress("i", "h", annotations=a), SERVICE) for a in ({}, asked))
    assert usual is not None and len(usual.fragments) == 1
    assert refused is not None and refused.fragments == () and refused.served


def test_a_very_long_path_is_refused() -> None:
    found = contribution(ingress("i", "h", "/" + "x" * 9000))
    assert found is not None
    assert [finding.code for finding in found.findings] == ["FP117"]
    assert found.fragments == ()


# what takes the whole Ingress away, and its code
WHOLE: list[tuple[dict[str, Any], list[str]]] = [
    ({"tls_secrets": ("t", "u")}, ["FP141", "FP141"]),
    ({"annotations": {"ingress.kubernetes.io/service-weights": "s: lots"}}, ["FP165"]),
    ({"default_backend": BackendReference("gone", PortReference("80", 80)),
      "has_default_backend": True}, ["FP126"]),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "codes"), WHOLE)
def test_a_failure_of_the_whole_ingress_hides_no_other(
    fields: dict[str, Any], codes: list[str]
) -> None:
    found = contribution(ingress("i", "h:80", **fields))
    assert found is not None
    assert not found.fragments
    assert not found.served
    assert [finding.code for finding in found.findings] == [*codes, "FP114"]
