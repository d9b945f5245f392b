"""A made-up kind that becomes routes: `Toy`, and `ToyPolicy`, which says whether Toys may.

What a contributor has to be, at its smallest; and the twin that walks over Toys beside Ingresses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from controller.dialects.traefik.reading import Reading
from controller.kubernetes.fields import as_flag, as_port, as_text
from controller.kubernetes.objects import Identity, KubernetesObject, PortReference, Service
from controller.snapshot.lookups import Lookups
from controller.translate.contributor import Claim, Contribution, Order
from controller.translate.endpoints import Target, matching_ports, resolve
from controller.translate.fragments import Role, RouteFragment, RouteValues
from controller.translate.ingress import DEFAULT_BACKEND, DEFAULT_ROUTE
from controller.translate.rules_text import Rule, host_rule
from fastproxy.model import findings
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding
from fastproxy.model.matchers import PathElements, PathPrefix
from tests.support.clusters import NAMESPACES, SERVICES
from tests.support.sequential import Frontend, Pool, Sequential, Skip

ENTRY_POINTS = ("http",)


@dataclass(frozen=True, slots=True)
class Toy(KubernetesObject):
    created: str = ""
    host: str = ""
    path: str = "/"
    service: str = ""
    port: int = 80
    precedence: tuple[int, int] = (0, 0)
    policy: str = ""
    default: bool = False  # wants to be where requests go that nobody else wants


@dataclass(frozen=True, slots=True)
class ToyPolicy(KubernetesObject):
    allows: bool = True


def read_toy(data: Mapping[str, Any], metadata: Mapping[str, Any], identity: Identity) -> Toy:
    """As the controller would read it from JSON."""
    spec = data["spec"]
    return Toy(
        *identity,
        as_text(metadata.get("creationTimestamp"), "metadata.creationTimestamp"),
        as_text(spec.get("host"), "spec.host"),
        as_text(spec.get("path"), "spec.path"),
        as_text(spec.get("service"), "spec.service"),
        as_port(spec.get("port"), "spec.port"),
        default=as_flag(spec.get("default"), "spec.default", False),
    )


class ToyContributor:
    kind = "Toy"

    def contribute(self, item: Toy, lookups: Lookups) -> Contribution | None:
        policy = None
        if item.policy:
            policy = lookups.get(ObjectReference("ToyPolicy", item.namespace, item.policy))
        allowed = not item.policy or (isinstance(policy, ToyPolicy) and policy.allows)
        service = lookups.service(item.service)
        found: list[Finding] = []
        if service is None:
            kind, named = findings.UNKNOWN_SERVICE, item.service
            found = [kind(item.reference, "spec", service=named, namespace=item.namespace)]
        values = RouteValues(ENTRY_POINTS, *item.precedence)
        targets = targets_of(service, item.port)
        fragment = RouteFragment(
            name_of(item),
            item.reference,
            "spec",
            values,
            item.host,
            item.path,
            rule_of(item),
            Role.BEGINS if allowed and service is not None else Role.NAMES,
            targets=targets,
        )
        order = Order(item.created, item.namespace, item.name)
        claim = self.claim(item, values, targets) if item.default else None
        if claim is not None and claim.fragment is None:
            return Contribution(order, claim=claim, findings=tuple(found))
        return Contribution(order, (fragment,), claim, findings=tuple(found), served=True)

    def claim(self, item: Toy, values: RouteValues, targets: tuple[Target, ...]) -> Claim:
        fragment = None
        if targets:
            fragment = RouteFragment(
                DEFAULT_ROUTE,
                item.reference,
                "spec.default",
                values,
                path="/",
                rule=Rule("", (PathPrefix(("/",)),)),
                targets=targets,
                backend_name=DEFAULT_BACKEND,
            )
        kind = findings.DUPLICATE_DEFAULT_BACKEND
        return Claim(DEFAULT_ROUTE, fragment, kind, "spec.default")

    def examine(self, item: KubernetesObject, lookups: Lookups) -> Sequence[Finding]:
        contribution = self.contribute(item, lookups) if isinstance(item, Toy) else None
        return contribution.findings if contribution is not None else ()


def name_of(item: Toy) -> str:
    return f"toy:{item.host}{item.path}"


def rule_of(item: Toy) -> Rule:
    return Rule(f"Toy:{item.path}", (PathElements((item.path,)),))


def targets_of(service: Service | None, port: int) -> tuple[Target, ...]:
    if service is None:
        return ()
    wanted = PortReference(str(port), port)
    return tuple(
        Target(service.namespace, service.name, service.external_name, found, "")
        for found in matching_ports(service, wanted)[:1]
    )


class ToySequential(Sequential):
    """One walk over Ingresses and Toys in the order of their age."""

    kinds = (*Sequential.kinds, Toy)

    def walk(self, item: Any) -> None:
        if isinstance(item, Toy):
            self.toy(item)
        else:
            super().walk(item)

    def toy(self, item: Toy) -> None:
        service = self.service(item, item.service)
        targets = targets_of(service, item.port)
        if item.default:
            if not targets or DEFAULT_ROUTE in self.frontends:
                raise Skip
            rules = {"/": Rule("", (PathPrefix(("/",)),))}
            own = Frontend(Reading(()), item, DEFAULT_BACKEND, rules, item.precedence)
            self.frontends[DEFAULT_ROUTE] = own
            self.fill(self.backends.setdefault(DEFAULT_BACKEND, Pool()), targets)
        pool = self.backends.setdefault(name_of(item), Pool())
        if item.policy:
            reference = ObjectReference("ToyPolicy", item.namespace, item.policy)
            policy = self.snapshot.get(reference)
            if not isinstance(policy, ToyPolicy) or not policy.allows:
                return
        if service is None:
            return
        frontend = Frontend(Reading(()), item, name_of(item), precedence=item.precedence)
        frontend = self.frontends.setdefault(name_of(item), frontend)
        frontend.routes[item.path] = rule_of(item)
        if item.host:
            frontend.routes.setdefault(item.host, host_rule(item.host))
        self.fill(pool, targets)

    def fill(self, pool: Pool, targets: tuple[Target, ...]) -> None:
        for target in targets:
            subsets = self.snapshot.subsets_of(target.namespace, target.service)
            for endpoint in resolve(target, subsets).endpoints:
                pool.servers[endpoint.url] = endpoint


toys = st.builds(
    Toy,
    st.sampled_from(NAMESPACES),
    st.sampled_from("abc"),
    st.sampled_from(("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z")),
    st.sampled_from(("h", "h", "", "*.h")),
    st.sampled_from(("/", "/", "/a")),
    st.sampled_from(SERVICES),
    st.sampled_from((80, 80, 80, 443)),
    st.sampled_from(((0, 0), (0, 7), (50, 0), (-1, 3))),
    st.sampled_from(("", "", "p")),
    st.sampled_from((False,) * 3 + (True,)),
)
policies = st.builds(ToyPolicy, st.sampled_from(NAMESPACES), st.just("p"), st.booleans())
