"""Sections of Traefik 1.7 which fastproxy does not have: one sentence for each of them.

A provider's routes would be lost, so it is refused. Of the others nothing that is served depends on
them, so they are warnings.
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
