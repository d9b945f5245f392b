"""Choose the Host header the backend gets: the client's, or that of the endpoint.

`X-Forwarded-Host` is the client's Host either way. Without the annotation the provider option
`disablePassHostHeaders` decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastproxy.annotation_values import boolean
from fastproxy.feature import Annotation, Feature, Notes, OnInvalid, Refs, Scope
from fastproxy.model.configuration import Config, Route

PRESERVE_HOST: Annotation[bool | None] = Annotation(
    name="preserve-host",
    parse=boolean,
    default=None,
    doc="Whether the backend sees the client's Host header; default: not `disablePassHostHeaders`.",
    example="false",
    aliases=("traefik.frontend.passHostHeader",),
    public=True,
)


@dataclass(frozen=True, slots=True)
class PreserveHost(Config):
    enabled: bool


def read(notes: Notes, refs: Refs) -> PreserveHost | None:
    enabled = notes.get(PRESERVE_HOST)
    return None if enabled is None else PreserveHost(enabled)


def shape(route: Route, config: PreserveHost) -> Route:
    return replace(route, preserve_host=config.enabled)


FEATURE = Feature(
    name="Preserve host",
    scope=Scope.INGRESS,
    annotations=(PRESERVE_HOST,),
    read=read,
    on_invalid=OnInvalid.DEFAULT,
    config=PreserveHost,
    shape=shape,
    doc=__doc__ or "",
)
