"""Counting endpoints for service-weights; the arithmetic is in tests/cases/tables/weights.yaml."""

from __future__ import annotations

from collections.abc import Sequence

from controller.kubernetes.objects import (
    BackendReference,
    EndpointAddress,
    Ingress,
    IngressPath,
    IngressRule,
    PortReference,
    Service,
    Subset,
)
from controller.translate.weights import weigh
from fastproxy.features.weights import Weights
from fastproxy.model.findings import Finding

SERVICES = {"a": Service("d", "a"), "b": Service("d", "b"), "e": Service("d", "e", {}, "x.example")}
SUBSETS = {
    "a": (Subset((EndpointAddress("1", ""), EndpointAddress("2", "", ready=False)), ()),),
    "b": (Subset((EndpointAddress("3", ""), EndpointAddress("4", "")), ()),),
}


def subsets_of(name: str) -> Sequence[Subset] | None:
    return SUBSETS.get(name)


def ingress(*rules: tuple[str, list[tuple[str, str]]] | None) -> Ingress:
    port = PortReference("80", 80)
    return Ingress(
        "d",
        "i",
        rules=tuple(
            IngressRule("none", None)
            if rule is None
            else IngressRule(
                rule[0],
                tuple(
                    IngressPath(path, "", BackendReference(name, port)) for path, name in rule[1]
                ),
            )
            for rule in rules
        ),
    )


def weighed(given: Ingress, **percentages: int) -> object:
    config = Weights(tuple((name, value * 1000) for name, value in percentages.items()))
    return weigh(given, config, SERVICES.get, subsets_of, "f")


def test_ready_addresses_are_counted_and_an_external_name_is_one() -> None:
    given = ingress(("h", [("/", "a"), ("/", "b"), ("/", "e")]))
    found = weighed(given, e=50)
    # 50 % for three addresses: one of a, two of b.
    assert found == {("h", "/", "a"): 16666, ("h", "/", "b"): 16666, ("h", "/", "e"): 50000}


def test_paths_and_rules_are_weighed_apart() -> None:
    found = weighed(ingress(("h", [("/x", "a"), ("/y", "b")]), None, ("k", [("/x", "b")])))
    assert found == {("h", "/x", "a"): 100000, ("h", "/y", "b"): 50000, ("k", "/x", "b"): 50000}


def test_a_repeated_item_adds_its_count_again() -> None:
    assert weighed(ingress(("h", [("/", "a"), ("/", "a")]))) == {("h", "/", "a"): 50000}


def test_an_unknown_count_is_a_finding() -> None:
    found = weighed(ingress(("h", [("/", "a"), ("/", "gone")])), a=10)
    assert isinstance(found, Finding)
    assert found.code == "FP152"
