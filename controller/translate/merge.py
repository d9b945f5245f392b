"""Fragments of one name to one route and one backend (`provider.md` 5.4 and 5.11).

Idea. Traefik 1.7 fills one map while it walks over all Ingresses; what an entry ends up with
depends only on the fragments of its name, in order. So each name can be merged alone, and again
when one of its fragments or the endpoints of one of its Services changes.

The rules of the merge: the first fragment that may begins the route and gives it its values; every
one adds its path rule and its endpoints; the last gives the backend its features. A fragment that
fails takes only its own contribution away.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from controller.kubernetes.objects import Subset
from controller.translate.endpoints import resolve, united
from controller.translate.fragments import NO_MENTIONS, Role, RouteFragment
from controller.translate.rules_text import EVERYTHING, Rule, host_rule
from fastproxy.model import findings
from fastproxy.model.configuration import Backend, Endpoint, Route
from fastproxy.model.findings import Finding
from fastproxy.model.matchers import Host, HostRegexp, HostWildcard, Matcher

FindSubsets = Callable[[str, str], Sequence[Subset] | None]
HOSTS = (Host, HostWildcard, HostRegexp)


class Merged(NamedTuple):
    """The route, and the backend without anything that depends on endpoints."""

    route: Route | None
    backend: Backend
    fragments: tuple[RouteFragment, ...]  # those which contribute endpoints
    findings: tuple[Finding, ...] = ()
    mentions: Mapping[str, str] = NO_MENTIONS  # see `RouteValues`; of the route


class MergedBackend(NamedTuple):
    backend: Backend
    findings: tuple[Finding, ...]


def merge(name: str, fragments: Sequence[RouteFragment]) -> Merged | None:
    """Merge the fragments of one name, which stand in the order of their objects."""
    if not fragments:
        return None
    first: RouteFragment | None = None
    rules: dict[str, Rule] = {}
    kept: list[RouteFragment] = []
    problems: list[Finding] = []
    for fragment in fragments:
        if fragment.role is Role.NAMES or (first is None and fragment.role is Role.JOINS):
            continue
        if first is None:
            first = fragment
        elif fragment.origin != first.origin and fragment.read != first.read:
            problems.append(
                findings.MERGED_ANNOTATIONS(fragment.origin, fragment.field, other=first.origin)
            )
        _add_rules(rules, fragment)
        kept.append(fragment)
    backend_name = fragments[0].backend_name or name
    route = None
    if first is not None and not first.values.dropped and not kept[-1].closes_route:
        route = _route(name, backend_name, first, rules.values())
        if not route.entry_points:
            problems += [first.values.nowhere] if first.values.nowhere else []
            route = None
    return Merged(
        route,
        replace(kept[-1].backend if kept else Backend(""), name=backend_name),
        tuple(kept),
        tuple(problems),
        first.values.mentions if first is not None and route is not None else NO_MENTIONS,
    )


def merge_backend(merged: Merged, subsets_of: FindSubsets) -> MergedBackend:
    """The backend with the endpoints of the moment."""
    endpoints: list[Endpoint] = []
    problems: list[Finding] = []
    for fragment in merged.fragments:
        for target in fragment.targets:
            found = resolve(target, subsets_of(target.namespace, target.service))
            spoken = [endpoint for endpoint in found.endpoints if endpoint.scheme != "h2c"]
            endpoints += spoken
            origin, at = fragment.origin, fragment.target_field or fragment.field
            service, port = target.service, target.port.name or target.port.number
            if found.unusable and target.external_name == "":
                problems.append(findings.EMPTY_EXTERNAL_NAME(origin, at, service=service))
            elif found.unusable:
                problems.append(findings.UNUSABLE_PORT(origin, at, service=service))
            elif len(spoken) < len(found.endpoints):
                problems.append(_h2c_refused(fragment, at, service))
            elif not found.endpoints:
                problems.append(findings.NO_ENDPOINTS(origin, at, service=service, port=port))
    return MergedBackend(replace(merged.backend, endpoints=united(endpoints)), tuple(problems))


def _h2c_refused(fragment: RouteFragment, at: str, service: str) -> Finding:
    kind, origin = findings.H2C_REFUSED, fragment.origin
    if not fragment.scheme_field:
        return kind(origin, at, service=service)
    effect = f"The paths of this {origin.kind} answer 503."
    return kind(origin, fragment.scheme_field, effect, service=service)


def _add_rules(rules: dict[str, Rule], fragment: RouteFragment) -> None:
    if fragment.rule is not None:
        rules[fragment.path] = fragment.rule
    if fragment.host and fragment.host not in rules:
        rules[fragment.host] = host_rule(fragment.host)
    if not rules:
        rules["/"] = EVERYTHING


def _route(name: str, backend: str, first: RouteFragment, rules: Collection[Rule]) -> Route:
    values = first.values
    matchers: list[Matcher] = [matcher for rule in rules for matcher in rule.matchers]
    matchers.sort(key=lambda matcher: not isinstance(matcher, HOSTS))
    changes = [rule.changes for rule in rules if rule.changes is not None]
    length = sum(rule.length for rule in rules)
    return Route(
        name,
        values.entry_points,
        tuple(matchers),
        length if values.priority is None else values.priority,
        backend,
        (*changes[-1:], *values.configs) if values.rewrites else values.configs,
        preserve_host=values.preserve_host,
        tie_break=length if values.tie_break is None else values.tie_break,
        origin=first.origin,
    )
