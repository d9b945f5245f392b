"""Fragments of one name become one route and one backend (`provider.md` 5.4, 5.11).

Most of it is told by the files tests/cases/merge_*.yaml; here are the orders of failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from controller.kubernetes.objects import (
    BackendReference,
    EndpointAddress,
    Ingress,
    PortReference,
    Service,
    ServicePort,
    Subset,
)
from controller.snapshot.lookups import Lookups
from controller.snapshot.snapshot import Snapshot
from controller.translate.endpoints import Target
from controller.translate.fragments import Role, RouteFragment, RouteValues
from controller.translate.ingress import DEFAULT_BACKEND, DEFAULT_ROUTE, IngressContributor
from controller.translate.merge import Merged, merge, merge_backend
from controller.translate.rules_text import Rule
from fastproxy.model.configuration import ObjectReference, Route
from fastproxy.model.matchers import Host, PathPrefix
from tests.support.cases import settings

FINE = RouteValues(("http",))
DROPPED = RouteValues(("http",), dropped=True)


def fragment(
    number: int,
    values: RouteValues = FINE,
    role: Role = Role.BEGINS,
    **more: Any,
) -> RouteFragment:
    target = Target("d", f"s{number}", None, ServicePort("", 80), "")
    return RouteFragment(
        "h/p",
        ObjectReference("Ingress", "d", f"i{number}"),
        "spec",
        values,
        "h",
        "/p",
        Rule(f"PathPrefix:/p{number}", (PathPrefix((f"/p{number}",)),)),
        role,
        targets=(target,),
        **more,
    )


def subsets_of(namespace: str, service: str) -> Sequence[Subset]:
    return (Subset((EndpointAddress(f"10.0.0.{service[1:]}", ""),), ()),)


def summary(merged: Merged | None) -> tuple[str | None, list[str], bool]:
    """Ingress that gives the route, hosts of the endpoints, whether there is a backend."""
    if merged is None:
        return None, [], False
    origin = merged.route.origin if merged.route else None
    found = merge_backend(merged, subsets_of)
    hosts = [endpoint.host for endpoint in found.backend.endpoints]
    return (origin.name if origin else None), hosts, found.backend.name == "h/p"


ONE, TWO, BOTH = ["10.0.0.1"], ["10.0.0.2"], ["10.0.0.1", "10.0.0.2"]
NAMES, JOINS = Role.NAMES, Role.JOINS
# fragments -> Ingress of the route, endpoints, is there a backend?
ORDERS: list[tuple[list[RouteFragment], str | None, list[str], bool]] = [
    ([fragment(1)], "i1", ONE, True),
    ([fragment(1), fragment(2)], "i1", BOTH, True),
    # Without Service, or with a refused rule: no contribution.
    ([fragment(1, role=NAMES)], None, [], True),
    ([fragment(1, role=NAMES), fragment(2)], "i2", TWO, True),
    ([fragment(1), fragment(2, role=NAMES)], "i1", ONE, True),
    # Authentication refused: no route of its own; an existing route keeps its features.
    ([fragment(1, role=JOINS)], None, [], True),
    ([fragment(1, role=JOINS), fragment(2)], "i2", TWO, True),
    ([fragment(1), fragment(2, role=JOINS)], "i1", BOTH, True),
    # Dropped when wired: the first one's features and the last Service's count.
    ([fragment(1, DROPPED)], None, ONE, True),
    ([fragment(1, DROPPED), fragment(2)], None, BOTH, True),
    ([fragment(1), fragment(2, DROPPED)], "i1", BOTH, True),
    ([fragment(1, closes_route=True), fragment(2)], "i1", BOTH, True),
    ([fragment(1), fragment(2, closes_route=True)], None, BOTH, True),
    # A foreign realm leaves nothing (`test_ingress.py`): not even the backend.
    ([], None, [], False),
]


@pytest.mark.parametrize(("fragments", "origin", "hosts", "backend"), ORDERS)
def test_orders_of_failure(
    fragments: list[RouteFragment], origin: str | None, hosts: list[str], backend: bool
) -> None:
    assert summary(merge("h/p", fragments)) == (origin, hosts, backend)


def merged_route(*fragments: RouteFragment) -> Route:
    merged = merge("h/p", fragments)
    assert merged is not None and merged.route is not None
    return merged.route


def test_the_last_path_rule_counts_and_the_host_stays() -> None:
    route = merged_route(fragment(1), fragment(2))
    assert route.matchers == (Host(("h",)), PathPrefix(("/p2",)))
    assert (route.priority, route.tie_break) == (len("Host:h") + len("PathPrefix:/p2"), 0)


@pytest.mark.parametrize(
    ("priority", "tie_break", "expected"),
    [(None, 0, (20, 0)), (0, None, (0, 20)), (7, 0, (7, 0)), (0, 7, (0, 7)), (-1, 3, (-1, 3))],
)
def test_precedence_is_the_own_one_or_the_length_of_the_rules(
    priority: int | None, tie_break: int | None, expected: tuple[int, int]
) -> None:
    values = RouteValues(("http",), priority, tie_break)
    route = merged_route(fragment(1, values), fragment(2, RouteValues(("http",), 99, 99)))
    assert (route.priority, route.tie_break) == expected


def test_the_default_backend_has_its_own_names_and_no_length() -> None:
    backend = BackendReference("s", PortReference("80", 80))
    ingress = Ingress("d", "i", default_backend=backend, has_default_backend=True)
    service = Service("d", "s", ports=(ServicePort("", 80),), external_name="example.com")
    lookups = Lookups(Snapshot.of([service]), "d")
    contribution = IngressContributor(settings({})).contribute(ingress, lookups)
    assert contribution is not None and contribution.claim is not None
    claimed = contribution.claim.fragment
    assert claimed is not None and claimed.name == contribution.claim.name == DEFAULT_ROUTE
    merged = merge(DEFAULT_ROUTE, [claimed])
    assert merged is not None and merged.route is not None
    assert (merged.route.name, merged.route.backend) == (DEFAULT_ROUTE, DEFAULT_BACKEND)
    assert merged.backend.name == DEFAULT_BACKEND
    assert (merged.route.priority, merged.route.matchers) == (0, (PathPrefix(("/",)),))
