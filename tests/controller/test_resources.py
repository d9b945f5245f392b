"""Paths of collections, as the API server's documentation spells them."""

from __future__ import annotations

import pytest

from controller.kubernetes.resources import CLASSES, INGRESSES, LEASES, SERVICES, Resource


@pytest.mark.parametrize(
    "resource, namespace, path",
    [
        (SERVICES, "", "/api/v1/services"),
        (SERVICES, "blue", "/api/v1/namespaces/blue/services"),
        (INGRESSES[0], "", "/apis/networking.k8s.io/v1/ingresses"),
        (INGRESSES[2], "a", "/apis/extensions/v1beta1/namespaces/a/ingresses"),
        (CLASSES[0], "blue", "/apis/networking.k8s.io/v1/ingressclasses"),
        (LEASES, "a/b", "/apis/coordination.k8s.io/v1/namespaces/a%2Fb/leases"),
    ],
)
def test_path(resource: Resource, namespace: str, path: str) -> None:
    assert resource.path(namespace) == path


def test_items_of_lists_get_their_kind() -> None:
    assert SERVICES.named({"metadata": {}}) == {
        "metadata": {},
        "kind": "Service",
        "apiVersion": "v1",
    }
    assert SERVICES.named(None) is None
