"""What the annotations of an Ingress and of a Service make of a route and its backend."""

from __future__ import annotations

from collections.abc import Mapping

from controller.dialects.traefik.reading import Reading, annotation_field
from controller.translate.fragments import NO_MENTIONS, Role, RouteValues
from fastproxy.feature import OnInvalid
from fastproxy.features import entry_points, path_rules, protocol, weights
from fastproxy.model import findings
from fastproxy.model.configuration import Backend, Config, ObjectReference, Route
from fastproxy.notes import ObjectNotes
from fastproxy.settings.options import Kubernetes, Settings

# Read directly by the contributor: they depend on the path or on the endpoints.
OWN_FEATURES = (path_rules.FEATURE, protocol.FEATURE, weights.FEATURE)


def route_values(
    reading: Reading, origin: ObjectReference, annotations: Mapping[str, str], settings: Settings
) -> RouteValues:
    kubernetes = settings.kubernetes or Kubernetes()
    entry_point_names = tuple(
        e for e in settings.default_entry_points if e in settings.entry_points
    )
    keeps_host = not kubernetes.disable_pass_host_headers
    route = Route("", entry_point_names, (), 0, "", preserve_host=keeps_host)
    configs: list[Config] = []
    for feature, config in reading.configs:
        if feature in OWN_FEATURES:
            continue
        if feature.shape is not None:
            route = feature.shape(route, config)
        else:
            configs.append(config)
    priority = route.priority or None  # 0 and less is none
    by_specificity = kubernetes.route_order == "specificity"
    nowhere = None
    # Those of an annotation are told once for the whole Ingress.
    if not route.entry_points and reading.config(entry_points.FEATURE) is None:
        nowhere = findings.NO_ENTRY_POINT(
            origin,
            "spec",
            names=", ".join(settings.default_entry_points),
            known=", ".join(sorted(settings.entry_points)),
        )
    return RouteValues(
        route.entry_points,
        0 if by_specificity else priority,
        priority if by_specificity else 0,
        tuple(configs),
        route.preserve_host,
        rewrites=reading.config(path_rules.FEATURE) is not None,
        dropped=reading.has_effect(OnInvalid.DROP),
        nowhere=nowhere,
        mentions=_mentions(reading, annotations),
    )


def _mentions(reading: Reading, annotations: Mapping[str, str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for feature, config in reading.configs:
        if feature.backends is not None:
            annotation = feature.annotations[0]
            key = ObjectNotes(annotations).key(annotation) or annotation.keys[0]
            found.update(dict.fromkeys(feature.backends(config), annotation_field(key)))
    return found or NO_MENTIONS


def role_of(reading: Reading) -> Role:
    """Whether the path may begin a route: where authentication is refused, nothing is public."""
    refused = any(
        refusal.effect is OnInvalid.PATH and refusal.feature is not path_rules.FEATURE
        for refusal in reading.refusals
    )
    return Role.JOINS if refused else Role.BEGINS


def makes_no_backend(reading: Reading) -> bool:
    """A foreign realm: not even the backend comes to be (`provider.md` 5.4)."""
    return any(refusal.annotation == "auth-realm" for refusal in reading.refusals)


def backend_values(reading: Reading) -> Backend:
    """The features of a Service, as a backend without name and endpoints."""
    backend = Backend("")
    configs: list[Config] = []
    for feature, config in reading.configs:
        if feature.tune is not None:
            backend = feature.tune(backend, config)
        else:
            configs.append(config)
    return Backend("", (), (*backend.configs, *configs), backend.method, backend.flush_interval)
