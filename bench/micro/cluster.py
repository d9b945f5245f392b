"""A made-up cluster of any size: one Ingress, Service and EndpointSlice per number."""

from __future__ import annotations

from typing import Any

from controller.kubernetes.objects import KubernetesObject, parse_kind

PODS = 4  # endpoints of each Service
RATE = "extractorfunc: client.ip\nrateset: {a: {period: 3s, average: %d, burst: 50}}"


def metadata(number: int, name: str, **more: Any) -> dict[str, Any]:
    created = "2020-01-01T00:00:00Z"
    return {
        "metadata": {
            "name": name,
            "namespace": f"n{number % 50}",
            "creationTimestamp": created,
            **more,
        }
    }


def ingress(number: int, path: str = "") -> KubernetesObject:
    """Every fifth strips its prefix, every seventh has a rate limit."""
    annotations = {"kubernetes.io/ingress.class": "traefik"}
    if number % 5 == 0:
        annotations["traefik.ingress.kubernetes.io/rule-type"] = "PathPrefixStrip"
    if number % 7 == 0:
        annotations["traefik.ingress.kubernetes.io/rate-limit"] = RATE % (5 + number % 10)
    backend = {"service": {"name": f"s{number}", "port": {"number": 80}}}
    item = {"path": path or f"/p{number % 30}", "pathType": "Prefix", "backend": backend}
    rules = [{"host": f"h{number}.example.com", "http": {"paths": [item]}}]
    body = {**metadata(number, f"i{number}", annotations=annotations), "spec": {"rules": rules}}
    return parse_kind("Ingress", body)


def service(number: int) -> KubernetesObject:
    ports = [{"name": "http", "port": 80}]
    return parse_kind("Service", {**metadata(number, f"s{number}"), "spec": {"ports": ports}})


def endpoints(number: int, first: int = 0) -> KubernetesObject:
    labels = {"kubernetes.io/service-name": f"s{number}"}
    hosts = [f"10.{number // 250}.{number % 250}.{first + pod}" for pod in range(PODS)]
    return parse_kind(
        "EndpointSlice",
        {
            **metadata(number, f"s{number}-x", labels=labels),
            "endpoints": [{"addresses": [host], "conditions": {"ready": True}} for host in hosts],
            "ports": [{"name": "http", "port": 8080}],
        },
    )


def cluster(size: int) -> list[KubernetesObject]:
    return [make(number) for number in range(size) for make in (ingress, service, endpoints)]
