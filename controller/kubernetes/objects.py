"""Kubernetes JSON to frozen objects: only what the translation uses is kept.

All three Ingress versions end in one `Ingress`. A field that is `null` counts as absent, as the API
server treats it; a field of the wrong type makes the whole object `Malformed`, as the API server
would refuse it, so a half-understood object never becomes a route. `managedFields`, the
last-applied annotation and everything else not named here never get past this module.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from controller.kubernetes.fields import (
    Malformed,
    as_flag,
    as_list,
    as_mapping,
    as_port,
    as_text,
    as_texts,
    collected,
    present,
    wrong,
)
from fastproxy.model.configuration import ObjectReference

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
DEFAULT_NAMESPACE = "default"
TCP = "TCP"
EXACT, PREFIX, IMPLEMENTATION_SPECIFIC = "Exact", "Prefix", "ImplementationSpecific"


class PortReference(NamedTuple):
    """`servicePort`: the text as written and the number it stands for (0 for a name)."""

    text: str
    number: int


class BackendReference(NamedTuple):
    service: str
    port: PortReference


class IngressPath(NamedTuple):
    path: str
    path_type: str
    backend: BackendReference | None  # None: a resource backend, or none at all


class IngressRule(NamedTuple):
    host: str
    paths: tuple[IngressPath, ...] | None  # None: the rule has no `http`


class Address(NamedTuple):
    """One entry of `status.loadBalancer.ingress`."""

    ip: str
    hostname: str


@dataclass(frozen=True, slots=True)
class KubernetesObject:
    namespace: str
    name: str

    @property
    def reference(self) -> ObjectReference:
        return ObjectReference(type(self).__name__, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Ingress(KubernetesObject):
    created: str = ""  # RFC 3339, so that text order is time order
    uid: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    class_name: str | None = None
    default_backend: BackendReference | None = None
    has_default_backend: bool = False  # true with default_backend None: a resource backend
    rules: tuple[IngressRule, ...] = ()
    tls_secrets: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()


class ServicePort(NamedTuple):
    name: str
    number: int
    app_protocol: str = ""
    protocol: str = TCP  # the only one that carries HTTP; others are never a backend


@dataclass(frozen=True, slots=True)
class Service(KubernetesObject):
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    external_name: str | None = None  # None unless the type is ExternalName
    ports: tuple[ServicePort, ...] = ()
    addresses: tuple[Address, ...] | None = None  # status.loadBalancer.ingress


class EndpointAddress(NamedTuple):
    host: str
    pod: str
    ready: bool = True
    draining: bool = False  # serving and terminating: used when nothing is ready


class EndpointPort(NamedTuple):
    name: str
    number: int  # 0: not given
    app_protocol: str = ""


class Subset(NamedTuple):
    """Addresses that share ports: a subset of Endpoints, or one EndpointSlice."""

    addresses: tuple[EndpointAddress, ...]
    ports: tuple[EndpointPort, ...]


NO_SUBSET = Subset((), ())


@dataclass(frozen=True, slots=True)
class EndpointSlice(KubernetesObject):
    service: str = ""
    subset: Subset = NO_SUBSET


@dataclass(frozen=True, slots=True)
class Endpoints(KubernetesObject):
    subsets: tuple[Subset, ...] = ()


@dataclass(frozen=True, slots=True)
class Secret(KubernetesObject):
    data: Mapping[str, bytes] = field(default_factory=dict, hash=False, repr=False)
    # The data it had when it last held a usable certificate, if it does not now.
    former: Mapping[str, bytes] | None = field(default=None, compare=False, repr=False)
    withheld: bool = False  # the content is not kept, because nothing refers to it


@dataclass(frozen=True, slots=True)
class IngressClass(KubernetesObject):
    """Cluster-scoped: the namespace is always empty."""

    controller: str = ""


# -- one function per kind ------------------------------------------------------------------------


def _addresses(value: Any, at: str) -> tuple[Address, ...]:
    entries = []
    for number, item in enumerate(as_list(value, at)):
        entry = as_mapping(item, f"{at}[{number}]")
        entries.append(Address(as_text(entry.get("ip"), at), as_text(entry.get("hostname"), at)))
    return tuple(entries)


def _ingress(data: Mapping[str, Any], metadata: Mapping[str, Any], identity: Identity) -> Ingress:
    spec = as_mapping(data.get("spec"), "spec")
    annotations = as_texts(metadata.get("annotations"), "metadata.annotations")
    annotations.pop(LAST_APPLIED, None)
    default = spec.get("defaultBackend")
    if default is None:
        default = spec.get("backend")
    at = "spec.defaultBackend"
    balancer = as_mapping(as_mapping(data.get("status"), "status").get("loadBalancer"), "status")
    class_name = spec.get("ingressClassName")
    return Ingress(
        *identity,
        created=as_text(metadata.get("creationTimestamp"), "metadata.creationTimestamp"),
        uid=as_text(metadata.get("uid"), "metadata.uid"),
        annotations=annotations,
        labels=as_texts(metadata.get("labels"), "metadata.labels"),
        class_name=None if class_name is None else as_text(class_name, "spec.ingressClassName"),
        default_backend=None if default is None else _backend(as_mapping(default, at), at),
        has_default_backend=default is not None,
        rules=tuple(
            _rule(present(item, f"spec.rules[{number}]"), f"spec.rules[{number}]")
            for number, item in enumerate(as_list(spec.get("rules"), "spec.rules"))
        ),
        tls_secrets=tuple(
            as_text(
                as_mapping(item, f"spec.tls[{number}]").get("secretName"), f"spec.tls[{number}]"
            )
            for number, item in enumerate(as_list(spec.get("tls"), "spec.tls"))
        ),
        addresses=_addresses(balancer.get("ingress"), "status.loadBalancer.ingress"),
    )


def _rule(rule: Mapping[str, Any], at: str) -> IngressRule:
    host = as_text(rule.get("host"), f"{at}.host")
    if rule.get("http") is None:
        return IngressRule(host, None)
    http = as_mapping(rule["http"], f"{at}.http")
    paths = []
    for number, value in enumerate(as_list(http.get("paths"), f"{at}.http.paths")):
        here = f"{at}.http.paths[{number}]"
        item = present(value, here)
        path_type = as_text(item.get("pathType"), f"{here}.pathType") or IMPLEMENTATION_SPECIFIC
        if path_type not in (EXACT, PREFIX, IMPLEMENTATION_SPECIFIC):
            known = ", ".join((EXACT, PREFIX, IMPLEMENTATION_SPECIFIC))
            sentence = f"must be one of {known}, not {path_type!r}"
            path_type = wrong(f"{here}.pathType", sentence, IMPLEMENTATION_SPECIFIC)
        backend = item.get("backend")
        paths.append(
            IngressPath(
                as_text(item.get("path"), f"{here}.path"),
                path_type,
                None if backend is None else _backend(as_mapping(backend, here), f"{here}.backend"),
            )
        )
    return IngressRule(host, tuple(paths))


def _backend(backend: Mapping[str, Any], at: str) -> BackendReference | None:
    service = backend.get("service")
    if service is not None:  # networking.k8s.io/v1
        service = as_mapping(service, f"{at}.service")
        port = as_mapping(service.get("port"), f"{at}.service.port")
        value = port.get("name") or port.get("number")
        name = as_text(service.get("name"), f"{at}.service.name")
        return BackendReference(name, port_reference(value, f"{at}.service.port"))
    if backend.get("serviceName") is not None:  # v1beta1 of both groups
        name = as_text(backend["serviceName"], f"{at}.serviceName")
        return BackendReference(
            name, port_reference(backend.get("servicePort"), f"{at}.servicePort")
        )
    return None


def port_reference(value: Any, at: str = "servicePort") -> PortReference:
    """Read an IntOrString: digits in a string count as a number, other text as number 0."""
    if value is None:
        return PortReference("", 0)
    if isinstance(value, str):
        digits = value.removeprefix("+").removeprefix("-")
        numeric = digits.isascii() and digits.isdigit() and len(digits) < 10
        return PortReference(value, int(value) if numeric else 0)
    return PortReference(str(as_port(value, at)), value)


def _service(data: Mapping[str, Any], metadata: Mapping[str, Any], identity: Identity) -> Service:
    spec = as_mapping(data.get("spec"), "spec")
    annotations = as_texts(metadata.get("annotations"), "metadata.annotations")
    annotations.pop(LAST_APPLIED, None)
    ports = []
    for number, value in enumerate(as_list(spec.get("ports"), "spec.ports")):
        at = f"spec.ports[{number}]"
        item = as_mapping(value, at)
        ports.append(
            ServicePort(
                as_text(item.get("name"), f"{at}.name"),
                as_port(item.get("port"), f"{at}.port"),
                as_text(item.get("appProtocol"), f"{at}.appProtocol"),
                _transport(item, at),
            )
        )
    external = None
    if spec.get("type") == "ExternalName":
        external = as_text(spec.get("externalName"), "spec.externalName")
    balancer = as_mapping(as_mapping(data.get("status"), "status").get("loadBalancer"), "status")
    addresses = None
    if balancer.get("ingress") is not None:
        addresses = _addresses(balancer["ingress"], "status.loadBalancer.ingress")
    return Service(*identity, annotations, external, tuple(ports), addresses)


def _transport(item: Mapping[str, Any], at: str) -> str:
    return as_text(item.get("protocol"), f"{at}.protocol").upper() or TCP


def _subset(addresses: Iterable[EndpointAddress], value: Any, at: str) -> Subset:
    """Without the ports that HTTP cannot go to; addresses with none but those are not ours."""
    ports = _ports(value, at)
    if value and not ports:
        return NO_SUBSET
    return Subset(tuple(addresses), ports)


def _ports(value: Any, at: str) -> tuple[EndpointPort, ...]:
    ports = []
    for number, raw in enumerate(as_list(value, at)):
        item = as_mapping(raw, f"{at}[{number}]")
        if _transport(item, f"{at}[{number}]") != TCP:
            continue
        ports.append(
            EndpointPort(
                as_text(item.get("name"), f"{at}[{number}].name"),
                as_port(item.get("port"), f"{at}[{number}].port"),
                as_text(item.get("appProtocol"), f"{at}[{number}].appProtocol"),
            )
        )
    return tuple(ports)


def _pod(item: Mapping[str, Any], at: str) -> str:
    target = item.get("targetRef")
    return "" if target is None else as_text(as_mapping(target, at).get("name"), f"{at}.targetRef")


def _slice(
    data: Mapping[str, Any], metadata: Mapping[str, Any], identity: Identity
) -> EndpointSlice:
    labels = as_mapping(metadata.get("labels"), "metadata.labels")
    addresses = []
    for number, value in enumerate(as_list(data.get("endpoints"), "endpoints")):
        at = f"endpoints[{number}]"
        item = as_mapping(value, at)
        hosts = as_list(item.get("addresses"), f"{at}.addresses")
        if not hosts or not as_text(hosts[0], f"{at}.addresses[0]"):
            continue
        state = as_mapping(item.get("conditions"), f"{at}.conditions")
        serving = as_flag(state.get("serving"), f"{at}.conditions.serving", True)
        terminating = as_flag(state.get("terminating"), f"{at}.conditions.terminating", False)
        addresses.append(
            EndpointAddress(
                hosts[0],
                _pod(item, at),
                as_flag(state.get("ready"), f"{at}.conditions.ready", True),
                serving and terminating,
            )
        )
    service = as_text(labels.get(SERVICE_NAME_LABEL), f"metadata.labels[{SERVICE_NAME_LABEL}]")
    return EndpointSlice(*identity, service, _subset(addresses, data.get("ports"), "ports"))


def _endpoints(
    data: Mapping[str, Any], metadata: Mapping[str, Any], identity: Identity
) -> Endpoints:
    subsets = []
    for number, value in enumerate(as_list(data.get("subsets"), "subsets")):
        at = f"subsets[{number}]"
        subset = as_mapping(value, at)
        addresses = []
        for raw in as_list(subset.get("addresses"), f"{at}.addresses"):
            item = as_mapping(raw, f"{at}.addresses")
            host = as_text(item.get("ip"), f"{at}.addresses.ip")
            if host:
                addresses.append(EndpointAddress(host, _pod(item, at)))
        subsets.append(_subset(addresses, subset.get("ports"), f"{at}.ports"))
    return Endpoints(*identity, tuple(subsets))


def _secret(data: Mapping[str, Any], metadata: Mapping[str, Any], identity: Identity) -> Secret:
    values = {}
    for key, text in as_texts(data.get("data"), "data").items():
        try:
            values[key] = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            wrong(f"data[{key}]", "is not base64", None)
    for key, text in as_texts(data.get("stringData"), "stringData").items():
        values[key] = text.encode()
    return Secret(*identity, values)


def _ingress_class(
    data: Mapping[str, Any], metadata: Mapping[str, Any], identity: Identity
) -> IngressClass:
    spec = as_mapping(data.get("spec"), "spec")
    return IngressClass("", identity.name, as_text(spec.get("controller"), "spec.controller"))


class Identity(NamedTuple):
    namespace: str
    name: str


READERS: Mapping[str, tuple[tuple[str, ...], Callable[[Any, Any, Identity], KubernetesObject]]] = {
    "Ingress": (
        ("networking.k8s.io/v1", "networking.k8s.io/v1beta1", "extensions/v1beta1"),
        _ingress,
    ),
    "Service": (("v1",), _service),
    "EndpointSlice": (("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1"), _slice),
    "Endpoints": (("v1",), _endpoints),
    "Secret": (("v1",), _secret),
    "IngressClass": (("networking.k8s.io/v1", "networking.k8s.io/v1beta1"), _ingress_class),
}


def reference_of(data: Any) -> ObjectReference:
    """Name an object for a finding, however broken it is."""
    document = data if isinstance(data, dict) else {}
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    kind, namespace, name = document.get("kind"), metadata.get("namespace"), metadata.get("name")
    if not isinstance(namespace, str):
        namespace = ""
    if not namespace and kind in READERS and kind != "IngressClass":
        namespace = DEFAULT_NAMESPACE
    return ObjectReference(
        kind if isinstance(kind, str) else "",
        namespace,
        name if isinstance(name, str) else "",
    )


def parse_object(data: Any, default_namespace: str = DEFAULT_NAMESPACE) -> KubernetesObject | None:
    """Read one object; None for kinds and versions that are not used here.

    Raises `Malformed`. `data` must carry `apiVersion` and `kind` (list items of the API server do
    not; `parse_kind` reads those).
    """
    document = present(data, "the object")
    kind, version = document.get("kind"), document.get("apiVersion")
    known = READERS.get(kind) if isinstance(kind, str) else None
    if known is None or version not in known[0]:
        return None
    return parse_kind(str(kind), document, default_namespace)


def unknown_version(data: Any) -> tuple[str, ...]:
    """The versions that are known of an object which is one of ours but for its version.

    Other groups may use our names for their kinds (a Knative Service), which is not our business.
    """
    document = data if isinstance(data, dict) else {}
    kind, version = document.get("kind"), document.get("apiVersion")
    known = READERS[kind][0] if isinstance(kind, str) and kind in READERS else ()
    if version is None:
        return known
    if not isinstance(version, str) or version in known:
        return ()
    groups = {name.rpartition("/")[0] for name in known}
    return known if version.rpartition("/")[0] in groups else ()


def parse_kind(
    kind: str, data: Any, default_namespace: str = DEFAULT_NAMESPACE
) -> KubernetesObject:
    """Read an object whose kind is already known. Raises `Malformed` with all that is wrong."""
    with collected() as faults:
        document = present(data, "the object")
        metadata = as_mapping(document.get("metadata"), "metadata")
        name = as_text(metadata.get("name"), "metadata.name")
        if not name:
            raise Malformed("metadata.name", "is missing")
        namespace = as_text(metadata.get("namespace"), "metadata.namespace") or default_namespace
        item = READERS[kind][1](document, metadata, Identity(namespace, name))
    if faults:
        first, *more = faults
        raise Malformed(*first, *more, object=item)
    return item
