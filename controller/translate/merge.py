"""Parts of one name to one route and one backend (`provider.md` 5.4 and 5.11).

Idea. Traefik 1.7 fills one map while it walks over all Ingresses; what an entry ends up with
depends only on the parts of its name, in order. So each name can be merged alone, and again when
one of its parts or the endpoints of one of its Services changes.

The rules of the merge: the first part that can makes the route and gives it its features; every
part adds its path rule and its endpoints; the last Service gives the backend its features. A part
that fails takes only its own contribution away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from controller.dialects.traefik.reading import Reading, annotation_field
from controller.kubernetes.objects import Subset
from controller.translate.endpoints import resolve, united
from controller.translate.fragments import DEFAULT_BACKEND, DEFAULT_ROUTE, Part
from controller.translate.rules_text import EVERYTHING, Rule, host_rule
from fastproxy import findings
from fastproxy.feature import OnInvalid
from fastproxy.features import entry_points, path_rules, protocol, weights
from fastproxy.features.path_rules import PathRules
from fastproxy.findings import Finding
from fastproxy.model import Backend, Config, Endpoint, Route
from fastproxy.rules import Host, HostRegexp, HostWildcard, Matcher
from fastproxy.settings import Kubernetes, Settings

FindSubsets = Callable[[str, str], Sequence[Subset] | None]
HOSTS = (Host, HostWildcard, HostRegexp)
# Read directly by the translation: they depend on the path or on the endpoints.
OWN_FEATURES = (path_rules.FEATURE, protocol.FEATURE, weights.FEATURE)


class Merged(NamedTuple):
    """The route without anything that depends on endpoints, and the parts that feed the backend."""

    route: Route | None
    backend_name: str | None  # None: no part may create it
    service: Reading | None
    parts: tuple[Part, ...]  # those which contribute endpoints
    findings: tuple[Finding, ...]


class MergedBackend(NamedTuple):
    backend: Backend
    findings: tuple[Finding, ...]


def merge(name: str, parts: Sequence[Part], settings: Settings) -> Merged:
    """Merge the parts of one name, which stand in the order of their Ingresses."""
    created = False
    first: Part | None = None
    routes: dict[str, Rule] = {}
    kept: list[Part] = []
    problems: list[Finding] = []
    for part in parts:
        if part.makes_no_backend:
            continue
        created = True
        if first is None and _forbids_route(part.reading):
            continue
        if part.service is None or part.rule_refused:
            continue
        if first is None:
            first = part
        elif part.origin != first.origin and part.reading.configs != first.reading.configs:
            problems.append(
                findings.MERGED_ANNOTATIONS(part.origin, part.field, other=first.origin)
            )
        _add_rules(routes, part)
        kept.append(part)
    service = kept[-1].service if kept else None
    route = None
    if first is not None and not _drops(first.reading) and not _drops(service):
        route = _route(name, name, first, routes, settings)
        if not route.entry_points:
            problems += _no_entry_point(first, settings)
            route = None
    return Merged(route, name if created else None, service, tuple(kept), tuple(problems))


def merge_default(part: Part, settings: Settings) -> Merged:
    """The global default backend: fixed names, everything matches, priority 0 (FIX 32)."""
    route = None
    problems: list[Finding] = []
    if not _drops(part.reading) and not _drops(part.service):
        # An empty text: the default backend counts 0 unless it has a priority of its own.
        rule = Rule("", EVERYTHING.matchers)
        route = _route(part.name, DEFAULT_BACKEND, part, {"/": rule}, settings)
        if not route.entry_points:
            problems += _no_entry_point(part, settings)
            route = None
    return Merged(route, DEFAULT_BACKEND, part.service, (part,), tuple(problems))


def merge_backend(merged: Merged, subsets_of: FindSubsets) -> MergedBackend | None:
    """The backend with the endpoints of the moment."""
    if merged.backend_name is None:
        return None
    endpoints: list[Endpoint] = []
    problems: list[Finding] = []
    for part in merged.parts:
        for target in part.targets:
            found = resolve(target, subsets_of(target.namespace, target.service))
            spoken = [endpoint for endpoint in found.endpoints if endpoint.scheme != "h2c"]
            endpoints += spoken
            at = part.field if part.name == DEFAULT_ROUTE else f"{part.field}.backend"
            service, port = target.service, target.port.name or target.port.number
            if found.unusable and target.external_name == "":
                problems.append(findings.EMPTY_EXTERNAL_NAME(part.origin, at, service=service))
            elif found.unusable:
                problems.append(findings.UNUSABLE_PORT(part.origin, at, service=service))
            elif len(spoken) < len(found.endpoints):
                problems.append(_h2c_refused(part, at, service))
            elif not found.endpoints:
                problems.append(findings.NO_ENDPOINTS(part.origin, at, service=service, port=port))
    backend = Backend(merged.backend_name, united(endpoints))
    configs: list[Config] = []
    for feature, config in merged.service.configs if merged.service else ():
        if feature.tune is not None:
            backend = feature.tune(backend, config)
        else:
            configs.append(config)
    if configs:
        backend = replace(backend, configs=(*backend.configs, *configs))
    return MergedBackend(backend, tuple(problems))


def _h2c_refused(part: Part, at: str, service: str) -> Finding:
    kind = findings.H2C_REFUSED
    if part.reading.config(protocol.FEATURE) is None or part.name == DEFAULT_ROUTE:
        return kind(part.origin, at, service=service)
    at = annotation_field(protocol.PROTOCOL.keys[0])
    return kind(part.origin, at, "The paths of this Ingress answer 503.", service=service)


def _no_entry_point(part: Part, settings: Settings) -> list[Finding]:
    if part.reading.config(entry_points.FEATURE) is not None:
        return []  # told once for the whole Ingress
    names = ", ".join(settings.default_entry_points)
    known = ", ".join(sorted(settings.entry_points))
    return [findings.NO_ENTRY_POINT(part.origin, "spec", names=names, known=known)]


def _forbids_route(reading: Reading) -> bool:
    """Whether a feature of the route (authentication) refuses the path: nothing may be public."""
    return any(
        refusal.effect is OnInvalid.PATH and refusal.feature is not path_rules.FEATURE
        for refusal in reading.refusals
    )


def _drops(reading: Reading | None) -> bool:
    return reading is not None and reading.has_effect(OnInvalid.DROP)


def _add_rules(routes: dict[str, Rule], part: Part) -> None:
    if part.rule is not None:
        routes[part.path] = part.rule
    if part.host and part.host not in routes:
        routes[part.host] = host_rule(part.host)
    if not routes:
        routes["/"] = EVERYTHING


def _route(
    name: str, backend: str, part: Part, routes: dict[str, Rule], settings: Settings
) -> Route:
    kubernetes = settings.kubernetes or Kubernetes()
    rules = routes.values()
    matchers: list[Matcher] = [matcher for rule in rules for matcher in rule.matchers]
    matchers.sort(key=lambda matcher: not isinstance(matcher, HOSTS))
    changes = [rule.changes for rule in rules if rule.changes is not None]
    route = Route(
        name,
        tuple(e for e in settings.default_entry_points if e in settings.entry_points),
        tuple(matchers),
        sum(rule.length for rule in rules),
        backend,
        preserve_host=not kubernetes.disable_pass_host_headers,
        origin=part.origin,
    )
    return _with_features(route, part.reading, changes[-1] if changes else None)


def _with_features(route: Route, reading: Reading, changes: PathRules | None) -> Route:
    configs: list[Config] = []
    for feature, config in reading.configs:
        if feature is path_rules.FEATURE:
            configs += [changes] if changes is not None else []
        elif feature in OWN_FEATURES:
            continue
        elif feature.shape is not None:
            route = feature.shape(replace(route, configs=tuple(configs)), config)
            configs = list(route.configs)
        else:
            configs.append(config)
    return replace(route, configs=tuple(configs)) if configs else route
