"""Parts of one name become one route and one backend (`provider.md` 5.4, 5.11).

Most of it is told by the files tests/cases/merge_*.yaml; here are the orders of failure.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from controller.dialects.traefik.reading import Reading, Refusal
from controller.kubernetes.objects import EndpointAddress, ServicePort, Subset
from controller.translate.endpoints import Target
from controller.translate.fragments import DEFAULT_BACKEND, DEFAULT_ROUTE, Part
from controller.translate.merge import Merged, merge, merge_backend, merge_default
from controller.translate.rules_text import Rule
from fastproxy.feature import OnInvalid
from fastproxy.features import path_rules, rate_limit, whitelist
from fastproxy.model import ObjectReference
from fastproxy.rules import Host, PathPrefix
from tests.support.cases import settings

SETTINGS = settings({})
FINE = Reading(())
CLOSED = Reading((), (Refusal(whitelist.FEATURE, "auth-secret", OnInvalid.PATH),))
REALM = Reading((), (Refusal(whitelist.FEATURE, "auth-realm", OnInvalid.PATH),))
DROPPED = Reading((), (Refusal(rate_limit.FEATURE, "rate-limit", OnInvalid.DROP),))
BAD_RULE = Reading((), (Refusal(path_rules.FEATURE, "rule-type", OnInvalid.PATH),))


def part(
    number: int, reading: Reading = FINE, service: Reading | None = FINE, *, refused: bool = False
) -> Part:
    target = Target("d", f"s{number}", None, ServicePort("", 80), "")
    return Part(
        "h/p",
        ObjectReference("Ingress", "d", f"i{number}"),
        "spec",
        "h",
        "/p",
        reading,
        service,
        Rule(f"PathPrefix:/p{number}", (PathPrefix((f"/p{number}",)),)),
        refused,
        (target,) if service else (),
    )


def subsets_of(namespace: str, service: str) -> Sequence[Subset]:
    return (Subset((EndpointAddress(f"10.0.0.{service[1:]}", ""),), ()),)


def summary(merged: Merged) -> tuple[str | None, list[str], bool]:
    """Ingress that gives the route, hosts of the endpoints, whether there is a backend."""
    origin = merged.route.origin if merged.route else None
    found = merge_backend(merged, subsets_of)
    hosts = [endpoint.host for endpoint in found.backend.endpoints] if found else []
    return (origin.name if origin else None), hosts, found is not None


ONE, TWO, BOTH = ["10.0.0.1"], ["10.0.0.2"], ["10.0.0.1", "10.0.0.2"]
# parts -> Ingress of the route, endpoints, is there a backend?
ORDERS: list[tuple[list[Part], str | None, list[str], bool]] = [
    ([part(1)], "i1", ONE, True),
    ([part(1), part(2)], "i1", BOTH, True),
    # Without Service: no contribution.
    ([part(1, service=None)], None, [], True),
    ([part(1, service=None), part(2)], "i2", TWO, True),
    ([part(1), part(2, service=None)], "i1", ONE, True),
    # Authentication refused: no route of its own; an existing route keeps its features.
    ([part(1, CLOSED)], None, [], True),
    ([part(1, CLOSED), part(2)], "i2", TWO, True),
    ([part(1), part(2, CLOSED)], "i1", BOTH, True),
    # A foreign realm: not even the backend.
    ([part(1, REALM)], None, [], False),
    ([part(1), part(2, REALM)], "i1", ONE, True),
    ([part(1, REALM), part(2)], "i2", TWO, True),
    # A refused rule.
    ([part(1, BAD_RULE, refused=True)], None, [], True),
    ([part(1), part(2, BAD_RULE, refused=True)], "i1", ONE, True),
    # Dropped when wired: the first one's features and the last Service's count.
    ([part(1, DROPPED)], None, ONE, True),
    ([part(1, DROPPED), part(2)], None, BOTH, True),
    ([part(1), part(2, DROPPED)], "i1", BOTH, True),
    ([part(1, service=DROPPED), part(2)], "i1", BOTH, True),
    ([part(1), part(2, service=DROPPED)], None, BOTH, True),
    ([], None, [], False),
]


@pytest.mark.parametrize(("parts", "origin", "hosts", "backend"), ORDERS)
def test_orders_of_failure(
    parts: list[Part], origin: str | None, hosts: list[str], backend: bool
) -> None:
    assert summary(merge("h/p", parts, SETTINGS)) == (origin, hosts, backend)


def test_the_last_path_rule_counts_and_the_host_stays() -> None:
    route = merge("h/p", [part(1), part(2)], SETTINGS).route
    assert route is not None
    assert route.matchers == (Host(("h",)), PathPrefix(("/p2",)))
    assert route.priority == len("Host:h") + len("PathPrefix:/p2")


def test_the_default_backend_has_its_own_names_and_no_length() -> None:
    default = Part(DEFAULT_ROUTE, part(1).origin, "spec.defaultBackend", "", "", FINE, FINE)
    merged = merge_default(default, SETTINGS)
    assert merged.route is not None
    assert (merged.route.name, merged.route.backend) == (DEFAULT_ROUTE, DEFAULT_BACKEND)
    assert merged.route.priority == 0
