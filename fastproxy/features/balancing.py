"""Choose how the endpoints of a Service share the requests.

`wrr` follows the weights; `drr` also moves weight away from endpoints which answer with 5xx
(`features.md` 3.13).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastproxy.annotation_values import shown
from fastproxy.feature import Annotation, Feature, Notes, OnInvalid, Refs, Scope
from fastproxy.model.configuration import Backend, Config


def method(value: str) -> str:
    if value not in ("", "wrr", "drr"):
        raise ValueError(f"{shown(value)} is no balancing method; write wrr or drr")
    return value or "wrr"


METHOD = Annotation(
    name="load-balancer-method",
    parse=method,
    default="wrr",
    doc="`wrr` (weighted round robin) or `drr` (weights follow measured quality).",
    example="drr",
    aliases=("traefik.backend.loadbalancer.method",),
    public=True,
)


@dataclass(frozen=True, slots=True)
class Balancing(Config):
    method: str


def read(notes: Notes, refs: Refs) -> Balancing | None:
    found = notes.get(METHOD)
    return Balancing(found) if found != "wrr" else None


def tune(backend: Backend, config: Balancing) -> Backend:
    return replace(backend, method=config.method)


FEATURE = Feature(
    name="Balancing",
    scope=Scope.SERVICE,
    annotations=(METHOD,),
    read=read,
    on_invalid=OnInvalid.DEFAULT,
    config=Balancing,
    tune=tune,
    doc=__doc__ or "",
)
