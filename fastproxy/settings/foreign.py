"""Sections of Traefik 1.7 which fastproxy does not have, and names of Traefik 2 and 3: one sentence
for each of them.

A provider's routes would be lost, so it is refused. Of the others nothing that is served depends on
them, so they are warnings. What becomes of a name of Traefik 2 is decided by what stands below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Section:
    """What has to be said about a section, or about several that belong together."""

    keys: tuple[str, ...]
    refused: bool
    sentence: str


_LOST = (
    "; fastproxy takes routes from Kubernetes (or --manifests) only, so they would be lost:"
    " describe them as Ingresses and Services, then remove "
)
_PROVIDERS: Mapping[str, str] = {
    "docker": "the containers of Docker",
    "marathon": "Marathon",
    "mesos": "Mesos",
    "consul": "the key-value store Consul",
    "consulCatalog": "Consul's catalogue of services",
    "etcd": "the key-value store etcd",
    "zookeeper": "the key-value store ZooKeeper",
    "boltdb": "a BoltDB file",
    "dynamodb": "DynamoDB",
    "ecs": "Amazon ECS",
    "eureka": "Eureka",
    "rancher": "Rancher",
    "serviceFabric": "Service Fabric",
}
SECTIONS = (
    *(
        Section((name,), True, f"takes routes from {source}{_LOST}it")
        for name, source in _PROVIDERS.items()
    ),
    Section(
        ("file", "backends", "frontends", "tls"),
        True,
        f"are routes and certificates of Traefik's file provider{_LOST}"
        "these tables (certificates go to [[entryPoints.NAME.tls.certificates]] or into Secrets)",
    ),
    Section(
        ("tracing",),
        False,
        "is ignored: no spans are sent; nothing that is served depends on them, remove it",
    ),
    Section(
        ("rest",),
        False,
        "is ignored: nobody can put routes over HTTP; describe them as Ingresses and remove it",
    ),
    Section(
        ("cluster",),
        False,
        "is ignored: replicas need no store, each of them asks the API server; remove it",
    ),
)
# Table and key in lower case (`NAME` for any entry point): what to write instead.
LATER: Mapping[tuple[str, str], str] = {
    ("", "providers"): "routes come from [kubernetes]: write that table, with what"
    " [providers.kubernetesIngress] says",
    ("", "certificatesresolvers"): "no certificate is fetched here: put certificates into Secrets"
    " (for example by cert-manager) and name them in spec.tls of the Ingresses",
    ("", "log"): "write logLevel at the top of the file, and [traefikLog] for file and format",
    ("", "serverstransport"): "write insecureSkipVerify, rootCAs and maxIdleConnsPerHost at the top"
    " of the file, and [forwardingTimeouts]",
    ("", "global"): "remove it",
    ("", "experimental"): "remove it",
    ("", "pilot"): "remove it",
    ("", "hub"): "remove it",
    ("", "http"): "describe routes as Ingresses and Services",
    ("", "tcp"): "fastproxy speaks HTTP only",
    ("", "udp"): "fastproxy speaks HTTP only",
    ("entrypoints.NAME", "http"): "write [entryPoints.NAME.redirect] with entryPoint for its"
    " redirections and [entryPoints.NAME.tls] for its tls; middlewares are annotations here",
    ("entrypoints.NAME", "transport"): "write [lifeCycle] and [respondingTimeouts]",
    ("entrypoints.NAME", "asdefault"): "write defaultEntryPoints at the top of the file",
    ("entrypoints.NAME", "http2"): "remove it",
    ("entrypoints.NAME", "http3"): "remove it",
    ("entrypoints.NAME", "udp"): "remove it",
}


def later(path: str, key: str) -> str:
    """Return what to write instead of a name of Traefik 2; "" if it is none."""
    table, _, name = path.partition(".")
    place = f"{table.lower()}.NAME" if name and "." not in name else path.lower()
    return LATER.get((place, key.lower()), "").replace("NAME", name)


KEYS: Mapping[str, Section] = {key.lower(): section for section in SECTIONS for key in section.keys}

Found = list[tuple[str, str]]


def without(document: Mapping[str, Any]) -> tuple[dict[str, Any], Found, Found]:
    """Return what is left of a document without these sections, problems, and warnings."""
    given: dict[Section, list[str]] = {}
    for key in document:
        section = KEYS.get(key.lower())
        if section is not None:
            given.setdefault(section, []).append(key)
    problems: Found = []
    warnings: Found = []
    for section, keys in given.items():
        found = problems if section.refused else warnings
        found.append((", ".join(keys), section.sentence))
    left = {key: value for key, value in document.items() if key.lower() not in KEYS}
    return left, problems, warnings
