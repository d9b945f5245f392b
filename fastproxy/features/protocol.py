"""Choose how the endpoints of an Ingress are spoken to: http, https or h2c.

Overrides what the Service's port says (`provider.md` 5.7). Not consulted for the default backend
and ExternalName services of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastproxy.annotation_values import shown
from fastproxy.feature import Annotation, Feature, Notes, OnInvalid, Refs, Scope
from fastproxy.model.configuration import Backend, Config

PROTOCOLS = ("http", "https", "h2c")


def protocol(value: str) -> str:
    if value and value not in PROTOCOLS:
        raise ValueError(f"{shown(value)} is no protocol; write http or https")
    return value


PROTOCOL = Annotation(
    name="protocol",
    parse=protocol,
    default="",
    doc="Protocol of the endpoints: `http` or `https`; default: by the Service's port. `h2c` is "
    "not supported: the paths answer 503.",
    example="https",
    on_invalid=OnInvalid.ENDPOINTS,
    public=True,
)


@dataclass(frozen=True, slots=True)
class Protocol(Config):
    scheme: str


def read(notes: Notes, refs: Refs) -> Protocol | None:
    scheme = notes.get(PROTOCOL)
    return Protocol(scheme) if scheme else None


def tune(backend: Backend, config: Protocol) -> Backend:
    """Give every endpoint the scheme; of a backend merged from several Ingresses the translation
    passes only the endpoints of this one."""
    endpoints = tuple(replace(endpoint, scheme=config.scheme) for endpoint in backend.endpoints)
    return replace(backend, endpoints=endpoints)


FEATURE = Feature(
    name="Protocol",
    scope=Scope.INGRESS,
    annotations=(PROTOCOL,),
    read=read,
    on_invalid=OnInvalid.ENDPOINTS,
    config=Protocol,
    tune=tune,
    doc=__doc__ or "",
)
