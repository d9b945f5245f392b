"""The contributor of Ingresses: the steps of `provider.md` 5.2, from one Ingress to what it brings.

Each step that fails says what it takes away: the path, or the whole Ingress. What earlier steps
brought stays, as in Traefik 1.7.
"""

from __future__ import annotations

from collections.abc import Sequence

from controller.dialects.traefik.idle import idle
from controller.dialects.traefik.names import unknown_annotations
from controller.dialects.traefik.reading import Reader, Reading, annotation_field, twice
from controller.kubernetes.objects import (
    TCP,
    BackendReference,
    Ingress,
    IngressPath,
    KubernetesObject,
    Service,
    ServicePort,
)
from controller.snapshot.lookups import Lookups
from controller.translate import rules_text
from controller.translate.certificates import Wanted, check_secret
from controller.translate.contributor import Claim, Contribution, Order
from controller.translate.endpoints import Target, matching_ports
from controller.translate.fragments import NO_BACKEND, Role, RouteFragment, RouteValues
from controller.translate.ingress_values import (
    backend_values,
    makes_no_backend,
    role_of,
    route_values,
)
from controller.translate.rules_text import EVERYTHING, Rule
from controller.translate.selection import Selection, class_annotation, class_field, class_of
from controller.translate.weights import Weighed, weigh
from fastproxy.feature import OnInvalid, Scope
from fastproxy.features import (
    INGRESS_CLASS,
    entry_points,
    path_rules,
    priority,
    protocol,
    weights,
)
from fastproxy.features.path_rules import RULE_TYPE, PathRules
from fastproxy.model import findings
from fastproxy.model.findings import Finding
from fastproxy.notes import ObjectNotes
from fastproxy.settings.options import Kubernetes, Settings

LONGEST_PATH = 8192
DEFAULT_BACKEND, DEFAULT_ROUTE = "global-default-backend", "global-default-frontend"
PROTOCOL_FIELD = annotation_field(protocol.PROTOCOL.keys[0])
EXACT_SUFFIX = "#exact"  # an exact path and a prefix of the same text are different routes


def _port(port: ServicePort) -> str:
    other = "" if port.protocol == TCP else f"({port.protocol}, which HTTP cannot use)"
    return " ".join(word for word in (str(port.number), port.name, other) if word)


class IngressContributor:
    """See `Contributor`; pure but for the readings it shares."""

    kind = "Ingress"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.selection = Selection(settings.kubernetes or Kubernetes())
        self.ingress_reader = Reader(settings, Scope.INGRESS)
        self.service_reader = Reader(settings, Scope.SERVICE)

    def contribute(self, ingress: Ingress, lookups: Lookups) -> Contribution | None:
        """None for an Ingress outside of our namespaces and labels."""
        if not self.selection.in_scope(ingress):
            return None
        return _Work(self, ingress, lookups).run()

    def examine(self, item: KubernetesObject, lookups: Lookups) -> Sequence[Finding]:
        """What is wrong with an Ingress, or with a Service whether an Ingress names it or not."""
        if isinstance(item, Ingress):
            contribution = self.contribute(item, lookups)
            return contribution.findings if contribution is not None else ()
        return self.read_service(item, lookups)[1] if isinstance(item, Service) else ()

    def read_service(self, service: Service, lookups: Lookups) -> tuple[Reading, list[Finding]]:
        """Read the annotations of a Service; with what is wrong with them."""
        reading = self.service_reader.read(service.annotations, lookups.secret_data)
        found = [remark.about(service.reference) for remark in reading.remarks]
        found += unknown_annotations(service.annotations, Scope.SERVICE, service.reference)
        return reading, found


class _Work:
    """The steps of `provider.md` 5.2 for one Ingress."""

    def __init__(self, contributor: IngressContributor, ingress: Ingress, lookups: Lookups) -> None:
        self.contributor = contributor
        self.settings = contributor.settings
        self.ingress = ingress
        self.reference = ingress.reference
        self.lookups = lookups
        self.findings: list[Finding] = []
        self.certificates: list[Wanted] = []
        self.weights: Weighed | None = None

    def run(self) -> Contribution:
        ingress = self.ingress
        annotation = class_annotation(ingress)
        if ingress.class_name is not None and annotation is None:
            self.lookups.ingress_class(ingress.class_name)  # `is_ours` looks at it
        if annotation is not None and rules_text.unescaped(annotation) is None:
            at = annotation_field(ObjectNotes(ingress.annotations).key(INGRESS_CLASS) or "")
            self.findings.append(findings.INVALID_CLASS(self.reference, at, value=annotation))
            return self._result()
        if not self.contributor.selection.is_ours(ingress, self.lookups.snapshot.classes):
            self._class_spelling()
            return self._result()
        base = self._read("")
        self.findings += [
            twice(ignored, winner).about(self.reference)
            for ignored, winner in ObjectNotes(ingress.annotations).twice((INGRESS_CLASS,))
        ]
        self.findings += unknown_annotations(ingress.annotations, Scope.INGRESS, self.reference)
        self.findings += idle(ingress)
        self._entry_points(base)
        # Whatever fails, the steps behind it tell what is wrong with them, all at once.
        certain = self._tls(base)
        claim = self._claim(base) if ingress.has_default_backend else None
        weighed = self._weigh(base)
        fragments = tuple(self._fragments(base))
        if not certain:
            return self._result()
        if not weighed or (claim is not None and claim.fragment is None):
            return self._result(claim)
        return self._result(claim, fragments, served=True)

    def _class_spelling(self) -> None:
        """Tell of a class which only a capital letter or a blank keeps from being ours."""
        value, wanted = class_of(self.ingress), self.contributor.selection.wanted
        if value != wanted and value.strip().lower() == wanted.lower():
            self.findings.append(
                findings.CLASS_SPELLING(
                    self.reference, class_field(self.ingress), value=repr(value), wanted=wanted
                )
            )

    def _entry_points(self, base: Reading) -> None:
        """One finding, however many routes: merging them drops each."""
        chosen = base.config(entry_points.FEATURE)
        if chosen is not None and not chosen.known:
            key = ObjectNotes(self.ingress.annotations).key(entry_points.ENTRY_POINTS) or ""
            self.findings.append(
                findings.NO_ENTRY_POINT(
                    self.reference,
                    annotation_field(key),
                    names=", ".join(chosen.names),
                    known=", ".join(sorted(self.settings.entry_points)),
                )
            )

    def _result(
        self,
        claim: Claim | None = None,
        fragments: tuple[RouteFragment, ...] = (),
        *,
        served: bool = False,
    ) -> Contribution:
        ingress = self.ingress
        return Contribution(
            Order(ingress.created, ingress.namespace, ingress.name),
            fragments,
            claim,
            tuple(self.certificates),
            tuple(dict.fromkeys(self.findings)),
            served,
        )

    def _read(self, path: str) -> Reading:
        reader = self.contributor.ingress_reader
        reading = reader.read(self.ingress.annotations, self.lookups.secret_data, path)
        self.findings += [remark.about(self.reference) for remark in reading.remarks]
        for name in reading.secrets:
            self.lookups.secret(name)
        return reading

    # -- step 2 --

    def _tls(self, base: Reading) -> bool:
        chosen = base.config(entry_points.FEATURE)
        names = chosen.names if chosen else self.settings.default_entry_points
        certain = True
        for number, name in enumerate(self.ingress.tls_secrets):
            if not name:
                continue
            secret = self.lookups.secret(name)
            at = f"spec.tls[{number}].secretName"
            problem = check_secret(secret, name, self.reference, at)
            if problem is not None or secret is None:
                self.findings += [problem] if problem else []
                certain = False
            elif certain:
                self.certificates.append(Wanted(secret, tuple(names)))
        return certain

    # -- step 3 --

    def _claim(self, base: Reading) -> Claim:
        fragment = self._default_backend(base)
        kind = findings.DUPLICATE_DEFAULT_BACKEND
        return Claim(DEFAULT_ROUTE, fragment, kind, "spec.defaultBackend")

    def _default_backend(self, base: Reading) -> RouteFragment | None:
        at = "spec.defaultBackend"
        backend = self.ingress.default_backend
        if backend is None:
            self.findings.append(findings.RESOURCE_BACKEND(self.reference, at))
            return None
        service = self.lookups.service(backend.service)
        reason = ""
        if service is None:
            reason = f"Service {backend.service} does not exist."
        elif service.external_name is None and not self.lookups.subsets(backend.service):
            reason = f"Service {backend.service} has no endpoints."
        elif base.has_effect(OnInvalid.PATH) and not base.refused(path_rules.FEATURE):
            reason = "its authentication is not usable."
        if reason or service is None:
            self.findings.append(
                findings.DEFAULT_BACKEND_UNUSABLE(self.reference, at, reason=reason)
            )
            return None
        ports = matching_ports(service, backend.port)
        if not ports:
            self._unknown_port(service, backend, at)
        targets = tuple(
            Target(
                service.namespace,
                service.name,
                service.external_name,
                port,
                scheme="",
                by_endpoint_port=backend.port.text,
            )
            for port in ports
        )
        reading = self._service_reading(service)
        return RouteFragment(
            DEFAULT_ROUTE,
            self.reference,
            at,
            self._values(base),
            path="/",
            # An empty text: the default backend counts 0 unless it has a priority of its own
            # (FIX 32).
            rule=Rule("", EVERYTHING.matchers),
            backend=backend_values(reading),
            targets=targets,
            closes_route=reading.has_effect(OnInvalid.DROP),
            backend_name=DEFAULT_BACKEND,
        )

    # -- step 4 --

    def _weigh(self, base: Reading) -> bool:
        if base.has_effect(OnInvalid.INGRESS):
            return False
        config = base.config(weights.FEATURE)
        if config is None:
            return True
        key = ObjectNotes(self.ingress.annotations).key(weights.SERVICE_WEIGHTS) or ""
        found = weigh(
            self.ingress,
            config,
            self.lookups.service,
            self.lookups.subsets,
            annotation_field(key),
        )
        if isinstance(found, Finding):
            self.findings.append(found)
            return False
        self.weights = found
        return True

    # -- steps 5 and 6 --

    def _fragments(self, base: Reading) -> list[RouteFragment]:
        found = []
        for number, rule in enumerate(self.ingress.rules):
            if rule.paths is None:
                at = f"spec.rules[{number}]"
                self.findings.append(findings.RULE_WITHOUT_HTTP(self.reference, at))
                continue
            for position, item in enumerate(rule.paths):
                at = f"spec.rules[{number}].http.paths[{position}]"
                fragment = self._fragment(base, rule.host, item, at)
                if fragment is not None:
                    found.append(fragment)
        return found

    def _fragment(
        self, base: Reading, raw_host: str, item: IngressPath, at: str
    ) -> RouteFragment | None:
        host = self._host(raw_host, at)
        path = self._path(item.path, at)
        if host is None or path is None:
            return None
        backend = item.backend
        if backend is None or not backend.service:
            self.findings.append(findings.RESOURCE_BACKEND(self.reference, f"{at}.backend"))
            return None
        reading = base if not path else self._read(path)
        name = fragment_name(reading, host, path, item.path_type, backend.service)
        if name in (DEFAULT_BACKEND, DEFAULT_ROUTE):
            self.findings.append(findings.RESERVED_NAME(self.reference, at, name=name))
            return None
        service = self.lookups.service(backend.service)
        rule = self._rule(reading, item.path_type, at)
        targets: tuple[Target, ...] = ()
        of_service = None
        if service is None:
            self.findings.append(
                findings.UNKNOWN_SERVICE(
                    self.reference,
                    f"{at}.backend",
                    service=backend.service,
                    namespace=self.ingress.namespace,
                )
            )
        else:
            weight = self._weight(raw_host, item.path, backend.service)
            targets = self._targets(service, backend, reading, weight, at)
            of_service = self._service_reading(service)
        if makes_no_backend(reading):
            return None
        usable = of_service is not None and not reading.refused(path_rules.FEATURE)
        return RouteFragment(
            name,
            self.reference,
            at,
            self._values(reading),
            host,
            path,
            rule,
            role_of(reading) if usable else Role.NAMES,
            backend_values(of_service) if of_service is not None else NO_BACKEND,
            targets,
            closes_route=of_service is not None and of_service.has_effect(OnInvalid.DROP),
            target_field=f"{at}.backend",
            scheme_field=PROTOCOL_FIELD if reading.config(protocol.FEATURE) is not None else "",
            read=tuple(config for _, config in reading.configs),
        )

    def _values(self, reading: Reading) -> RouteValues:
        return route_values(reading, self.reference, self.ingress.annotations, self.settings)

    def _host(self, raw: str, at: str) -> str | None:
        at = at.partition(".http")[0] + ".host"
        host = rules_text.unescaped(raw)
        if host is None:
            self.findings.append(findings.UNSAFE_HOST(self.reference, at, host=raw))
        elif rules_text.has_port(host):
            self.findings.append(findings.HOST_WITH_PORT(self.reference, at, host=raw))
            return None
        elif rules_text.is_address(host):
            self.findings.append(findings.HOST_IS_ADDRESS(self.reference, at, host=raw))
        elif reason := rules_text.unreachable(host):
            shown = repr(raw) if raw.strip() != raw else raw
            self.findings.append(
                findings.UNREACHABLE_HOST(self.reference, at, host=shown, reason=reason)
            )
            return None
        return host

    def _path(self, raw: str, at: str) -> str | None:
        path = rules_text.unescaped(raw)
        if path is None:
            self.findings.append(findings.UNSAFE_PATH(self.reference, f"{at}.path", path=raw))
        elif len(path) > LONGEST_PATH:
            self.findings.append(
                findings.LONG_PATH(
                    self.reference, f"{at}.path", length=len(path), limit=LONGEST_PATH
                )
            )
            return None
        elif reason := rules_text.compared_as_text(path):
            shown = repr(raw) if raw.strip() != raw else raw
            self.findings.append(
                findings.PATH_IS_TEXT(self.reference, f"{at}.path", path=shown, reason=reason)
            )
        elif path and not path.startswith("/"):
            self.findings.append(findings.RELATIVE_PATH(self.reference, f"{at}.path", path=raw))
        return path

    def _rule(self, reading: Reading, path_type: str, at: str) -> Rule | None:
        config: PathRules | None = reading.config(path_rules.FEATURE)
        if config is None:
            return None
        if not rules_text.fits(config.rule_type, path_type) and ObjectNotes(
            self.ingress.annotations
        ).has(RULE_TYPE):
            self.findings.append(
                findings.RULE_TYPE_AGAINST_PATH_TYPE(
                    self.reference,
                    f"{at}.pathType",
                    rule_type=config.rule_type,
                    path_type=path_type,
                )
            )
        elif config.rule_type == "ReplacePath":
            self.findings.append(
                findings.REPLACE_PATH_DEPRECATED(self.reference, at, path=config.path)
            )
        return rules_text.path_rule(config, path_type, self.settings.keep_trailing_slash)

    def _weight(self, host: str, path: str, service: str) -> int:
        if self.weights is None:
            return 1
        weight = self.weights.get((host, path, service), 1)
        return weight if weight or self.settings.allow_min_weight_zero else 1

    def _targets(
        self,
        service: Service,
        backend: BackendReference,
        reading: Reading,
        weight: int,
        at: str,
    ) -> tuple[Target, ...]:
        ports = matching_ports(service, backend.port)
        if not ports:
            self._unknown_port(service, backend, f"{at}.backend")
            return ()
        if reading.refused(protocol.FEATURE):
            return ()
        chosen = reading.config(protocol.FEATURE)
        return (
            Target(
                service.namespace,
                service.name,
                service.external_name,
                ports[0],
                chosen.scheme if chosen else "",
                weight,
            ),
        )

    def _unknown_port(self, service: Service, backend: BackendReference, at: str) -> None:
        ports = ", ".join(_port(p) for p in service.ports) or "none"
        self.findings.append(
            findings.UNKNOWN_PORT(
                self.reference, at, service=service.name, port=backend.port.text, ports=ports
            )
        )

    def _service_reading(self, service: Service) -> Reading:
        reading, found = self.contributor.read_service(service, self.lookups)
        self.findings += found
        return reading


def fragment_name(reading: Reading, host: str, path: str, path_type: str, service: str) -> str:
    """The name of route and backend (`provider.md` 5.4): what has one name is one route."""
    name = host + path or service
    if path and path_type == "Exact":
        name += EXACT_SUFFIX
    chosen = reading.config(entry_points.FEATURE)
    if chosen is not None:
        name = f"{'-'.join(chosen.names)}_{name}"
    ranked = reading.config(priority.FEATURE)
    return f"{ranked.value}-{name}" if ranked is not None else name
