"""Which endpoints a backend gets from one Service (`provider.md` 5.7, `kubernetes.md` 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from controller.kubernetes.objects import (
    TCP,
    EndpointAddress,
    EndpointPort,
    PortReference,
    Service,
    ServicePort,
    Subset,
)
from fastproxy.model.configuration import Endpoint

# The protocol names of KEP-3726 and the two IANA names, as what they mean for a connection.
APP_PROTOCOLS = {
    "kubernetes.io/h2c": "h2c",
    "kubernetes.io/ws": "http",
    "kubernetes.io/wss": "https",
    "https": "https",
}


class Target(NamedTuple):
    """One port of one Service as the source of endpoints; everything but the addresses."""

    namespace: str
    service: str
    external_name: str | None
    port: ServicePort
    scheme: str  # the annotation's; "" leaves it to the ports
    weight: int = 1
    by_endpoint_port: str | None = None  # default backend: `servicePort` as written


class Resolved(NamedTuple):
    endpoints: tuple[Endpoint, ...]
    unusable: bool = False  # an endpoint had no port


def matching_ports(service: Service, reference: PortReference) -> list[ServicePort]:
    """The Service ports which `servicePort` means, by number or by name; HTTP goes over TCP."""
    return [
        port
        for port in service.ports
        if (port.number == reference.number or (port.name and port.name == reference.text))
        and port.protocol == TCP
    ]


def count_addresses(subsets: Sequence[Subset]) -> int:
    """How many addresses requests may go to, whatever their ports.

    A host counts once for each set of ports it has, as in the subsets of Traefik 1.7; what two
    EndpointSlices both hold is one.
    """
    every = [(a, subset.ports) for subset in subsets for a in subset.addresses]
    ready = {(address.host, ports) for address, ports in every if address.ready}
    draining = {(address.host, ports) for address, ports in every if address.draining}
    return len(ready or draining)


def resolve(target: Target, subsets: Sequence[Subset] | None) -> Resolved:
    if target.external_name is not None:
        return _external(target)
    subsets = subsets or ()
    any_ready = any(a.ready for subset in subsets for a in subset.addresses)
    endpoints: dict[tuple[str, int], Endpoint] = {}
    unusable = False
    for subset in subsets:
        port = _endpoint_port(subset.ports, target.port)
        if port is None:
            continue
        if not port.number:
            unusable = True
            continue
        scheme = _scheme(target, port)
        for address in subset.addresses:
            if address.ready if any_ready else address.draining:
                endpoints[address.host, port.number] = _endpoint(target, scheme, address, port)
    return Resolved(tuple(endpoints.values()), unusable)


def _endpoint(
    target: Target, scheme: str, address: EndpointAddress, port: EndpointPort
) -> Endpoint:
    return Endpoint(scheme, address.host, port.number, target.weight, address.pod)


def _external(target: Target) -> Resolved:
    port = EndpointPort(target.port.name, target.port.number, target.port.app_protocol)
    if not target.external_name or not port.number:
        return Resolved((), unusable=True)
    scheme = target.scheme or _by_service_port(target.port)
    return Resolved((Endpoint(scheme, target.external_name, port.number, target.weight),))


def _endpoint_port(ports: Iterable[EndpointPort], service: ServicePort) -> EndpointPort | None:
    if not ports:
        return EndpointPort(service.name, service.number, service.app_protocol)
    return next((port for port in ports if port.name == service.name), None)


def _scheme(target: Target, port: EndpointPort) -> str:
    if target.scheme:
        return target.scheme
    named = APP_PROTOCOLS.get(target.port.app_protocol or port.app_protocol)
    if named:
        return named
    if target.by_endpoint_port is not None:
        https = port.number == 443 or target.by_endpoint_port.startswith("https")
        return "https" if https else "http"
    return _by_service_port(target.port)


def _by_service_port(port: ServicePort) -> str:
    named = APP_PROTOCOLS.get(port.app_protocol)
    if named:
        return named
    return "https" if port.number == 443 or port.name.startswith("https") else "http"


def united(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """By URL: what is named twice is one endpoint, and the last weight counts (FIX 10)."""
    return tuple(endpoint for _, endpoint in sorted({e.url: e for e in endpoints}.items()))
