"""Short ways to write the Kubernetes objects that tests need."""

from __future__ import annotations

import base64
from typing import Any

Object = dict[str, Any]


def metadata(name: str, namespace: str = "default", **more: Any) -> Object:
    return {"name": name, "namespace": namespace, **more}


def ingress(
    name: str,
    host: str = "",
    path: str = "/",
    service: str = "web",
    port: int | str = 80,
    namespace: str = "default",
    path_type: str = "Prefix",
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    class_name: str = "",
    tls_secret: str = "",
) -> Object:
    number = {"number": port} if isinstance(port, int) else {"name": port}
    backend = {"service": {"name": service, "port": number}}
    http = {"paths": [{"path": path, "pathType": path_type, "backend": backend}]}
    rule: Object = {"http": http}
    if host:
        rule["host"] = host
    spec: Object = {"rules": [rule]}
    if class_name:
        spec["ingressClassName"] = class_name
    if tls_secret:
        spec["tls"] = [{"hosts": [host], "secretName": tls_secret}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(name, namespace, annotations=annotations or {}, labels=labels or {}),
        "spec": spec,
    }


def service(
    name: str = "web",
    port: int = 80,
    target: int | str = 8080,
    namespace: str = "default",
    annotations: dict[str, str] | None = None,
    port_name: str = "http",
    labels: dict[str, str] | None = None,
) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, namespace, annotations=annotations or {}, labels=labels or {}),
        "spec": {
            "ports": [{"name": port_name, "port": port, "targetPort": target, "protocol": "TCP"}]
        },
    }


def endpoint_slice(
    service_name: str = "web",
    addresses: tuple[str, ...] = ("10.0.0.1",),
    port: int = 8080,
    namespace: str = "default",
    suffix: str = "1",
    port_name: str = "http",
) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata(
            f"{service_name}-{suffix}",
            namespace,
            labels={"kubernetes.io/service-name": service_name},
        ),
        "addressType": "IPv6" if addresses and ":" in addresses[0] else "IPv4",
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": True}} for address in addresses
        ],
        "ports": [{"name": port_name, "port": port, "protocol": "TCP"}],
    }


def endpoints(
    name: str = "web",
    addresses: tuple[str, ...] = ("10.0.0.1",),
    port: int = 8080,
    namespace: str = "default",
    port_name: str = "http",
) -> Object:
    subset = {
        "addresses": [{"ip": address} for address in addresses],
        "ports": [{"name": port_name, "port": port, "protocol": "TCP"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": metadata(name, namespace),
        "subsets": [subset] if addresses else [],
    }


def secret(
    name: str, data: dict[str, bytes], namespace: str = "default", type: str = "Opaque"
) -> Object:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(name, namespace),
        "type": type,
        "data": encoded,
    }


def ingress_class(name: str, controller: str = "fastproxy.io/ingress-controller") -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": name},
        "spec": {"controller": controller},
    }
