"""The slow twin of the translation: one walk over all Ingresses that fills maps, as Traefik 1.7.

It follows `provider.md` 5.2 to 5.11 sentence by sentence and knows nothing of fragments, groups or
needs. It shares with the translation only what concerns one item alone (reading annotations, rules,
endpoints, weights). Gives no findings. Other kinds are walked over by a class derived from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from controller.dialects.traefik.reading import Reader, Reading
from controller.kubernetes.objects import (
    BackendReference,
    Ingress,
    IngressPath,
    KubernetesObject,
    Service,
)
from controller.snapshot.snapshot import Snapshot
from controller.translate.certificates import Wanted, check_secret, choose
from controller.translate.endpoints import Target, matching_ports, resolve
from controller.translate.ingress import DEFAULT_BACKEND, DEFAULT_ROUTE, fragment_name
from controller.translate.rules_text import Rule, host_rule, path_rule
from controller.translate.selection import Selection, class_annotation
from controller.translate.weights import weigh
from fastproxy.feature import OnInvalid, Scope
from fastproxy.features import entry_points, path_rules, protocol, weights
from fastproxy.model.configuration import Backend, Desired, Endpoint, Route
from fastproxy.model.findings import Finding
from fastproxy.model.matchers import Host, HostRegexp, HostWildcard, PathPrefix
from fastproxy.notes import string_body
from fastproxy.settings.options import Kubernetes, Settings


class Skip(Exception):
    pass


@dataclass
class Frontend:
    reading: Reading
    origin: KubernetesObject
    backend: str
    routes: dict[str, Rule] = field(default_factory=dict)
    precedence: tuple[int, int] | None = None  # None: that of Traefik 1.7


@dataclass
class Pool:
    service: Reading | None = None
    servers: dict[str, Endpoint] = field(default_factory=dict)


class Sequential:
    kinds: tuple[type[Any], ...] = (Ingress,)

    def __init__(self, snapshot: Snapshot, settings: Settings) -> None:
        self.snapshot = snapshot
        self.settings = settings
        self.selection = Selection(settings.kubernetes or Kubernetes())
        self.ingresses = Reader(settings, Scope.INGRESS)
        self.services = Reader(settings, Scope.SERVICE)
        self.frontends: dict[str, Frontend] = {}
        self.backends: dict[str, Pool] = {}
        self.wanted: list[Wanted] = []

    def run(self) -> Desired:
        for item in sorted(
            (item for item in self.snapshot if isinstance(item, self.kinds)),
            key=lambda item: (item.created, item.namespace, item.name, item.reference.kind),
        ):
            try:
                self.walk(item)
            except Skip:
                continue
        return Desired(tuple(self.wired()), tuple(self.pools()), choose(self.wanted).certificates)

    def walk(self, item: Any) -> None:
        if not self.selection.in_scope(item):
            return
        annotation = class_annotation(item)
        if annotation is not None and string_body(annotation) is None:
            return
        if self.selection.is_ours(item, self.snapshot.classes):
            self.ingress(item)

    def read(self, ingress: Ingress, path: str) -> Reading:
        def secret(name: str) -> Mapping[str, bytes] | None:
            found = self.snapshot.secrets.get((ingress.namespace, name))
            return found.data if found else None

        return self.ingresses.read(ingress.annotations, secret, path)

    def service(self, ingress: KubernetesObject, name: str) -> Service | None:
        return self.snapshot.services.get((ingress.namespace, name))

    def ingress(self, ingress: Ingress) -> None:
        base = self.read(ingress, "")
        chosen = base.config(entry_points.FEATURE)
        names = chosen.names if chosen else self.settings.default_entry_points
        for name in ingress.tls_secrets:
            secret = self.snapshot.secrets.get((ingress.namespace, name))
            if not name:
                continue
            if check_secret(secret, name, ingress.reference, "") or secret is None:
                raise Skip
            self.wanted.append(Wanted(secret, names))
        if ingress.has_default_backend:
            self.default_backend(ingress, base)
        weighed: Mapping[tuple[str, str, str], int] = {}
        if base.has_effect(OnInvalid.INGRESS):
            raise Skip
        config = base.config(weights.FEATURE)
        if config is not None:
            found = weigh(
                ingress,
                config,
                lambda name: self.service(ingress, name),
                lambda name: self.snapshot.subsets_of(ingress.namespace, name),
                "",
            )
            if isinstance(found, Finding):
                raise Skip
            weighed = found
        for rule in ingress.rules:
            for item in rule.paths or ():
                if item.backend is not None and item.backend.service:
                    self.item(ingress, rule.host, item, item.backend, weighed)

    def default_backend(self, ingress: Ingress, base: Reading) -> None:
        if DEFAULT_ROUTE in self.frontends or DEFAULT_BACKEND in self.backends:
            raise Skip
        reference = ingress.default_backend
        service = self.service(ingress, reference.service) if reference else None
        if reference is None or service is None:
            raise Skip
        subsets = self.snapshot.subsets_of(service.namespace, service.name)
        if service.external_name is None and not subsets:
            raise Skip
        if base.has_effect(OnInvalid.PATH):
            raise Skip
        pool = Pool(self.services.read(service.annotations, lambda name: None))
        for port in matching_ports(service, reference.port):
            target = Target(
                service.namespace,
                service.name,
                service.external_name,
                port,
                "",
                by_endpoint_port=reference.port.text,
            )
            for endpoint in resolve(target, subsets).endpoints:
                pool.servers[endpoint.url] = endpoint
        self.backends[DEFAULT_BACKEND] = pool
        everything = Rule("", (PathPrefix(("/",)),))
        self.frontends[DEFAULT_ROUTE] = Frontend(base, ingress, DEFAULT_BACKEND, {"/": everything})

    def item(
        self,
        ingress: Ingress,
        host: str,
        item: IngressPath,
        reference: BackendReference,
        weighed: Mapping[tuple[str, str, str], int],
    ) -> None:
        reading = self.read(ingress, item.path)
        name = fragment_name(reading, host, item.path, item.path_type, reference.service)
        created = name not in self.backends
        pool = self.backends.setdefault(name, Pool())
        if any(refusal.annotation == "auth-realm" for refusal in reading.refusals):
            if created:
                del self.backends[name]
            return
        frontend = self.frontends.get(name)
        if frontend is None:
            if any(
                refusal.effect is OnInvalid.PATH and refusal.feature is not path_rules.FEATURE
                for refusal in reading.refusals
            ):
                return
            frontend = Frontend(reading, ingress, name)
        service = self.service(ingress, reference.service)
        if service is None or reading.refused(path_rules.FEATURE):
            return
        config = reading.config(path_rules.FEATURE)
        if config is not None:
            keep = self.settings.keep_trailing_slash
            frontend.routes[item.path] = path_rule(config, item.path_type, keep)
        if host and host not in frontend.routes:
            frontend.routes[host] = host_rule(host)
        if not frontend.routes:
            frontend.routes["/"] = Rule("PathPrefix:/", (PathPrefix(("/",)),))
        self.frontends[name] = frontend
        pool.service = self.services.read(service.annotations, lambda name: None)
        weight = weighed.get((host, item.path, service.name), 1)
        if not weight and not self.settings.allow_min_weight_zero:
            weight = 1
        self.servers(pool, service, reference, reading, weight)

    def servers(
        self, pool: Pool, service: Service, wanted: BackendReference, reading: Reading, weight: int
    ) -> None:
        for port in matching_ports(service, wanted.port):
            if reading.refused(protocol.FEATURE):
                continue
            chosen = reading.config(protocol.FEATURE)
            scheme = chosen.scheme if chosen else ""
            target = Target(
                service.namespace, service.name, service.external_name, port, scheme, weight
            )
            subsets = self.snapshot.subsets_of(service.namespace, service.name)
            for endpoint in resolve(target, subsets).endpoints:
                pool.servers[endpoint.url] = endpoint
            return

    def pools(self) -> list[Backend]:
        found = []
        for name, pool in self.backends.items():
            endpoints = tuple(pool.servers[url] for url in sorted(pool.servers))
            backend = Backend(name, endpoints)
            for feature, config in pool.service.configs if pool.service else ():
                if feature.tune is not None:
                    backend = feature.tune(backend, config)
                else:
                    backend = replace(backend, configs=(*backend.configs, config))
            found.append(backend)
        return sorted(found, key=lambda backend: backend.name)

    def wired(self) -> list[Route]:
        routes = []
        kubernetes = self.settings.kubernetes or Kubernetes()
        for name, frontend in self.frontends.items():
            service = self.backends[frontend.backend].service
            if frontend.reading.has_effect(OnInvalid.DROP):
                continue
            if service is not None and service.has_effect(OnInvalid.DROP):
                continue
            rules = list(frontend.routes.values())
            hosts = [m for r in rules for m in r.matchers if isinstance(m, HOSTS)]
            others = [m for r in rules for m in r.matchers if not isinstance(m, HOSTS)]
            changes = [rule.changes for rule in rules if rule.changes is not None]
            route = Route(
                name,
                tuple(
                    e for e in self.settings.default_entry_points if e in self.settings.entry_points
                ),
                (*hosts, *others),
                sum(len(rule.text.encode()) for rule in rules),
                frontend.backend,
                preserve_host=not kubernetes.disable_pass_host_headers,
                origin=frontend.origin.reference,
            )
            for feature, config in frontend.reading.configs:
                if feature is path_rules.FEATURE:
                    if changes:
                        route = replace(route, configs=(*route.configs, changes[-1]))
                elif feature.shape is not None:
                    route = feature.shape(route, config)
                elif feature.tune is None and feature is not weights.FEATURE:
                    route = replace(route, configs=(*route.configs, config))
            if frontend.precedence is not None:
                priority, tie_break = frontend.precedence
                route = replace(route, priority=priority, tie_break=tie_break)
            if route.entry_points:
                routes.append(route)
        return sorted(routes, key=lambda route: route.name)


HOSTS = (Host, HostWildcard, HostRegexp)
