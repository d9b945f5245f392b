"""Addresses and ports of a Service become endpoints (`provider.md` 5.7, `kubernetes.md` 3)."""

from __future__ import annotations

import pytest

from controller.kubernetes.objects import (
    EndpointAddress,
    EndpointPort,
    PortReference,
    Service,
    ServicePort,
    Subset,
    port_reference,
)
from controller.translate.endpoints import (
    Resolved,
    Target,
    count_addresses,
    matching_ports,
    resolve,
    united,
)
from fastproxy.model.configuration import Endpoint

READY = EndpointAddress("10.0.0.1", "pod-1")
LATER = EndpointAddress("10.0.0.2", "pod-2", ready=False)
DRAINING = EndpointAddress("10.0.0.3", "pod-3", ready=False, draining=True)
WEB = EndpointPort("web", 8080)


def target(**values: object) -> Target:
    usual: dict[str, object] = {
        "namespace": "d",
        "service": "s",
        "external_name": None,
        "port": ServicePort("web", 80),
        "scheme": "",
    }
    return Target(**{**usual, **values})  # type: ignore[arg-type]  # written by name


def urls(found: Resolved) -> list[str]:
    return [endpoint.url for endpoint in found.endpoints]


# subsets -> hosts
CONDITIONS: list[tuple[list[Subset], list[str]]] = [
    ([], []),
    ([Subset((), (WEB,))], []),
    ([Subset((READY, LATER, DRAINING), (WEB,))], ["10.0.0.1"]),
    ([Subset((LATER, DRAINING), (WEB,))], ["10.0.0.3"]),
    ([Subset((LATER,), (WEB,))], []),
    # One ready endpoint anywhere is enough to leave the draining ones alone.
    ([Subset((DRAINING,), (WEB,)), Subset((READY,), (WEB,))], ["10.0.0.1"]),
]


@pytest.mark.parametrize(("subsets", "hosts"), CONDITIONS)
def test_conditions(subsets: list[Subset], hosts: list[str]) -> None:
    assert [endpoint.host for endpoint in resolve(target(), subsets).endpoints] == hosts
    assert count_addresses(subsets) == len(hosts)


def test_counting_addresses() -> None:
    # Two subsets of Endpoints with different ports count twice, a repeated slice does not.
    other = EndpointPort("other", 1)
    assert count_addresses([Subset((READY,), (WEB,)), Subset((READY,), (other,))]) == 2
    assert count_addresses([Subset((READY,), (WEB,)), Subset((READY,), (WEB,))]) == 1


def test_no_subsets_at_all() -> None:
    assert resolve(target(), None) == Resolved(())


def test_weight_and_pod_go_along() -> None:
    found = resolve(target(weight=7), [Subset((READY,), (WEB,))])
    assert found.endpoints == (Endpoint("http", "10.0.0.1", 8080, 7, "pod-1"),)


# scheme of the annotation, Service port, endpoint port, servicePort of a default backend -> scheme
SCHEMES = [
    ("", ServicePort("", 80), EndpointPort("", 443), None, "http"),
    ("", ServicePort("", 443), EndpointPort("", 80), None, "https"),
    ("", ServicePort("https", 1), EndpointPort("https", 1), None, "https"),
    ("", ServicePort("httpsx", 1), EndpointPort("httpsx", 1), None, "https"),
    ("http", ServicePort("", 443), EndpointPort("", 443), None, "http"),
    ("", ServicePort("", 443, "kubernetes.io/h2c"), EndpointPort("", 1), None, "h2c"),
    ("", ServicePort("", 80), EndpointPort("", 1, "https"), None, "https"),
    ("", ServicePort("", 443, "kubernetes.io/ws"), EndpointPort("", 1), None, "http"),
    ("", ServicePort("", 80, "kubernetes.io/wss"), EndpointPort("", 1), None, "https"),
    ("", ServicePort("", 443, "example.com/own"), EndpointPort("", 1), None, "https"),
    ("https", ServicePort("", 80, "kubernetes.io/h2c"), EndpointPort("", 1), None, "https"),
    # The default backend looks at the endpoint's port and at the Ingress.
    ("", ServicePort("", 443), EndpointPort("", 80), "443", "http"),
    ("", ServicePort("", 80), EndpointPort("", 443), "80", "https"),
    ("", ServicePort("", 80), EndpointPort("", 80), "https-web", "https"),
]


@pytest.mark.parametrize(("scheme", "service", "endpoint", "written", "expected"), SCHEMES)
def test_schemes(
    scheme: str, service: ServicePort, endpoint: EndpointPort, written: str | None, expected: str
) -> None:
    wanted = target(scheme=scheme, port=service, by_endpoint_port=written)
    (found,) = resolve(wanted, [Subset((READY,), (endpoint,))]).endpoints
    assert found.scheme == expected


# externalName, Service port, scheme of the annotation -> URLs
EXTERNAL = [
    ("example.com", ServicePort("", 80), "", ["http://example.com:80"]),
    ("example.com", ServicePort("", 443), "", ["https://example.com:443"]),
    ("example.com", ServicePort("https-x", 8443), "", ["https://example.com:8443"]),
    ("example.com", ServicePort("", 443), "http", ["http://example.com:443"]),
    ("example.com", ServicePort("", 80), "https", ["https://example.com:80"]),
    ("2001:db8::1", ServicePort("", 80), "", ["http://[2001:db8::1]:80"]),
    ("", ServicePort("", 80), "", []),
    ("example.com", ServicePort("", 0), "", []),
]


@pytest.mark.parametrize(("name", "port", "scheme", "expected"), EXTERNAL)
def test_external_names(name: str, port: ServicePort, scheme: str, expected: list[str]) -> None:
    found = resolve(target(external_name=name, port=port, scheme=scheme), None)
    assert urls(found) == expected
    assert found.unusable is not bool(expected)


def test_an_endpoint_without_port_is_told() -> None:
    found = resolve(target(), [Subset((READY,), (EndpointPort("web", 0),))])
    assert found == Resolved((), unusable=True)


def test_the_ports_a_reference_means() -> None:
    service = Service("d", "s", ports=(ServicePort("a", 80), ServicePort("80", 81)))
    names = [
        [port.name for port in matching_ports(service, reference)]
        for reference in (port_reference(80), port_reference("80"), PortReference("a", 0))
    ]
    assert names == [["a", "80"], ["a", "80"], ["a"]]


def test_one_url_is_one_endpoint() -> None:
    first, second = Endpoint("http", "b", 1, 5, "x"), Endpoint("http", "b", 1, 6, "y")
    other = Endpoint("http", "a", 1)
    assert united([first, other, second]) == (other, second)
