"""The kinds fastproxy reads and writes, and where the API server keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Resource:
    kind: str
    group_version: str  # "v1" or "networking.k8s.io/v1"
    plural: str
    namespaced: bool = True

    def group_path(self) -> str:
        """Path of the discovery document of the group and version."""
        return f"/apis/{self.group_version}" if "/" in self.group_version else "/api/v1"

    def path(self, namespace: str = "") -> str:
        """Path of the collection; an empty namespace means all of them."""
        if namespace and self.namespaced:
            return f"{self.group_path()}/namespaces/{quote(namespace, safe='')}/{self.plural}"
        return f"{self.group_path()}/{self.plural}"

    def named(self, item: Any) -> Any:
        """Add what items of a list leave out: kind and apiVersion."""
        if isinstance(item, dict):
            item.setdefault("kind", self.kind)
            item.setdefault("apiVersion", self.group_version)
        return item


# Newest first: discovery takes the first one served (`kubernetes.md` 1, 3).
INGRESSES = (
    Resource("Ingress", "networking.k8s.io/v1", "ingresses"),
    Resource("Ingress", "networking.k8s.io/v1beta1", "ingresses"),
    Resource("Ingress", "extensions/v1beta1", "ingresses"),
)
CLASSES = (
    Resource("IngressClass", "networking.k8s.io/v1", "ingressclasses", namespaced=False),
    Resource("IngressClass", "networking.k8s.io/v1beta1", "ingressclasses", namespaced=False),
)
SLICES = (
    Resource("EndpointSlice", "discovery.k8s.io/v1", "endpointslices"),
    Resource("EndpointSlice", "discovery.k8s.io/v1beta1", "endpointslices"),
)
ENDPOINTS = Resource("Endpoints", "v1", "endpoints")
SERVICES = Resource("Service", "v1", "services")
SECRETS = Resource("Secret", "v1", "secrets")
LEASES = Resource("Lease", "coordination.k8s.io/v1", "leases")
EVENTS = Resource("Event", "v1", "events")
