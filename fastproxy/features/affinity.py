"""Keep a client on the endpoint that answered it first, by a cookie.

The cookie's value is the endpoint's URL; it is only compared with the configured endpoints, never
connected to (`features.md` 3.17).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fastproxy.annotation_values import as_written, flag, shown
from fastproxy.engine.operations.writer import Affinity as AffinityOperation
from fastproxy.engine.operations.writer import Operation
from fastproxy.feature import Annotation, BuildContext, Feature, Notes, OnInvalid, Refs, Scope
from fastproxy.model import findings
from fastproxy.model.configuration import Config

NO_COOKIE_NAME = re.compile(r"[^A-Za-z0-9!#$%&'*+.^`|~-]")
SAME_SITE = {"none": "None", "lax": "Lax", "strict": "Strict"}
STICKY_COOKIE = "_TRAEFIK_BACKEND"


def cookie_name(value: str) -> str:
    return NO_COOKIE_NAME.sub("_", value)


def same_site(value: str) -> str:
    if value and value not in SAME_SITE:
        raise ValueError(f"{shown(value)} is no SameSite value; write none, lax or strict")
    return value


AFFINITY = flag(
    "affinity", "Switch sticky sessions on.", aliases=("traefik.backend.loadbalancer.stickiness",)
)
COOKIE_NAME = as_written(
    "session-cookie-name",
    "Name of the cookie; default: `_` and 5 hex digits made of the backend's name.",
    "shop_srv",
    parse=cookie_name,
    aliases=("traefik.backend.loadbalancer.stickiness.cookieName",),
)
SECURE = flag("session-secure", "Add `Secure`.")
HTTP_ONLY = flag("session-http-only", "Add `HttpOnly`.")
SAME_SITE_ANNOTATION = as_written(
    "session-same-site",
    "Add `SameSite`: `none`, `lax` or `strict`.",
    "lax",
    parse=same_site,
    public=True,
)
STICKY = Annotation(
    name="sticky",
    parse=lambda value: value.strip().lower() == "true",
    default=False,
    doc="Deprecated, only this spelling: sticky sessions with the cookie `_TRAEFIK_BACKEND`.",
    example="true",
    aliases=("traefik.backend.loadbalancer.sticky",),
    prefixed=False,
    public=True,
)


@dataclass(frozen=True, slots=True)
class Affinity(Config):
    cookie: str = ""  # empty: made of the backend's name
    secure: bool = False
    http_only: bool = False
    same_site: str = ""


def read(notes: Notes, refs: Refs) -> Affinity | None:
    if notes.get(AFFINITY):
        return Affinity(
            notes.get(COOKIE_NAME),
            notes.get(SECURE),
            notes.get(HTTP_ONLY),
            notes.get(SAME_SITE_ANNOTATION),
        )
    sticky = notes.get(STICKY)
    if not notes.has(AFFINITY):
        for annotation in (COOKIE_NAME, SECURE, HTTP_ONLY, SAME_SITE_ANNOTATION):
            if notes.has(annotation):
                notes.warn(
                    annotation,
                    'it needs affinity: "true" beside it',
                    kind=findings.ANNOTATION_ALONE,
                )
    return Affinity(STICKY_COOKIE) if sticky else None


def generated_name(backend: str) -> str:
    digest = hashlib.sha1(f"_TRAEFIK_BACKEND_{backend}".encode(), usedforsecurity=False)
    return f"_{digest.hexdigest()[:5]}"


def build(config: Affinity, context: BuildContext) -> Sequence[Operation]:
    attributes = (
        "; Path=/"
        + ("; HttpOnly" if config.http_only else "")
        + ("; Secure" if config.secure else "")
        + (f"; SameSite={SAME_SITE[config.same_site]}" if config.same_site else "")
    )
    name = config.cookie or generated_name(context.backend.name)
    return [AffinityOperation(name.encode(), attributes.encode())]


FEATURE = Feature(
    name="Sticky sessions",
    scope=Scope.SERVICE,
    annotations=(AFFINITY, COOKIE_NAME, SECURE, HTTP_ONLY, SAME_SITE_ANNOTATION, STICKY),
    read=read,
    on_invalid=OnInvalid.DEFAULT,
    config=Affinity,
    build=build,
    doc=__doc__ or "",
)
