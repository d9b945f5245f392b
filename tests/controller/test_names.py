"""Annotations nobody reads: what was meant, and an error where something was to be protected."""

from __future__ import annotations

import pytest

from controller.dialects.traefik.names import unknown_annotations
from fastproxy.feature import Scope
from fastproxy.model.configuration import ObjectReference

ANY = ObjectReference("Ingress", "default", "a")
OURS, LONG = "ingress.kubernetes.io/", "traefik.ingress.kubernetes.io/"
NGINX = "nginx.ingress.kubernetes.io/"

# key, scope, code (none: nothing to say), parts of the sentence
KEYS = [
    (OURS + "auth-type", Scope.INGRESS, "", []),
    (LONG + "rate-limit", Scope.INGRESS, "", []),
    ("kubernetes.io/ingress.class", Scope.INGRESS, "", []),
    ("example.com/auth-type", Scope.INGRESS, "", []),
    ("cert-manager.io/cluster-issuer", Scope.INGRESS, "", []),
    # misspelt
    (OURS + "rewrite-targer", Scope.INGRESS, "FP168", [OURS + "rewrite-target does"]),
    (OURS + "auth-typ", Scope.INGRESS, "FP225", [OURS + "auth-type does"]),
    (LONG + "whitelist-source-ranges", Scope.INGRESS, "FP225", ["whitelist-source-range does"]),
    (LONG + "ratelimit", Scope.INGRESS, "FP225", ["rate-limit does"]),
    (OURS + "nonsense", Scope.INGRESS, "FP168", []),
    ("traefik.frontend.auth.basic", Scope.INGRESS, "FP225", []),
    # on the wrong object
    (OURS + "affinity", Scope.INGRESS, "FP169", ["on the Service, not on the Ingress"]),
    (OURS + "buffering", Scope.INGRESS, "FP226", ["on the Service"]),
    (OURS + "max-conn-amount", Scope.INGRESS, "FP226", ["on the Service"]),
    (OURS + "rate-limit", Scope.SERVICE, "FP226", ["on the Ingress, not on the Service"]),
    (OURS + "whitelist-source-range", Scope.SERVICE, "FP226", ["on the Ingress"]),
    # of Traefik 2
    (LONG + "router.tls", Scope.INGRESS, "FP168", ["Traefik 2"]),
    (LONG + "router.entrypoints", Scope.INGRESS, "FP168", ["Traefik 2"]),
    (LONG + "service.sticky.cookie", Scope.SERVICE, "FP168", ["Traefik 2"]),
    (LONG + "router.middlewares", Scope.INGRESS, "FP225", ["Traefik 2"]),
    ("traefik.http.routers.a.rule", Scope.INGRESS, "FP168", ["Traefik 2"]),
    # of other controllers
    (OURS + "secure-backends", Scope.INGRESS, "FP168", ['protocol: "https"']),
    (NGINX + "auth-url", Scope.INGRESS, "FP225", ["ingress-nginx", OURS + "auth-url"]),
    (NGINX + "limit-rps", Scope.INGRESS, "FP225", ["use rate-limit"]),
    (NGINX + "proxy-read-timeout", Scope.INGRESS, "", []),
    # under a prefix that is none
    ("auth-type", Scope.INGRESS, "FP225", [OURS + "auth-type does"]),
    ("ingress.kubernets.io/auth-type", Scope.INGRESS, "FP225", [OURS + "auth-type does"]),
    ("traefik.ingress.kubernetes/priority", Scope.INGRESS, "FP168", [LONG + "priority does"]),
    ("priority", Scope.INGRESS, "FP168", [OURS + "priority does"]),
]


@pytest.mark.parametrize(("key", "scope", "code", "parts"), KEYS)
def test_keys(key: str, scope: Scope, code: str, parts: list[str]) -> None:
    found = unknown_annotations({key: "x"}, scope, ANY)
    assert [f.code for f in found] == ([code] if code else [])
    for finding in found:
        assert finding.field == f"metadata.annotations[{key}]"
        assert all(part in finding.sentence for part in parts), finding.sentence
