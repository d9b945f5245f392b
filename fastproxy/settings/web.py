"""`[web]` of Traefik 1.7 (deprecated there): entry point `traefik` with API, ping and metrics."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from fastproxy.settings.options import (
    Api,
    CertificateFiles,
    EntryPoint,
    EntryPointTls,
    Ping,
    Settings,
    Web,
)

POINT = "traefik"
REPLACED_BY = ("api", "ping", "metrics", "rest")

Warnings = list[tuple[str, str]]


def resolve(settings: Settings, given: Collection[str]) -> tuple[Settings, Warnings]:
    """Return the settings with what `[web]` stands for, and warnings.

    `given` are the lower-case top-level keys. The entry point has the authentication of `[web]`; if
    that is impossible, `settings_points` refuses it as any other.
    """
    web = settings.web
    if web is None:
        return settings, []
    beside = [f"[{key}]" for key in REPLACED_BY if key in given]
    if beside:
        return replace(settings, web=None), [("web", _ignored(web, beside))]
    prefix = f"/{web.path.strip('/')}".rstrip("/")
    points = {**settings.entry_points, POINT: _point(web, settings.entry_points.get(POINT))}
    resolved = replace(
        settings,
        entry_points=points,
        api=Api(statistics=web.statistics, prefix=prefix),
        ping=Ping(prefix=prefix),
        metrics=web.metrics,
        debug=settings.debug or web.debug,
    )
    return resolved, _warnings(settings, web, prefix)


def _ignored(web: Web, beside: list[str]) -> str:
    unguarded = f"; its auth protects nothing, write [entryPoints.{POINT}.auth]" if web.auth else ""
    return f"is ignored beside {', '.join(beside)}, as by Traefik 1.7{unguarded}; remove it"


def _point(web: Web, known: EntryPoint | None) -> EntryPoint:
    """What was written for the entry point itself holds where [web] says nothing about it."""
    point = replace(known or EntryPoint(), address=web.address)
    if web.auth is not None:
        point = replace(point, auth=web.auth)
    if web.cert_file or web.key_file:
        pair = CertificateFiles(web.cert_file, web.key_file)
        point = replace(point, tls=replace(point.tls or EntryPointTls(), certificates=(pair,)))
    return point


def _warnings(settings: Settings, web: Web, prefix: str) -> Warnings:
    found = [
        (
            "web",
            f"is deprecated: entry point {POINT!r} on {web.address} serves /ping, /ready and the"
            f" API for it; write [entryPoints.{POINT}] with this address, [api] and [ping] instead",
        )
    ]
    if prefix:
        found.append(
            (
                "web.path",
                f"is {web.path!r}: only below it there are {prefix}/ping, {prefix}/ready and"
                f" {prefix}/api; probes have to name it",
            )
        )
    if POINT in settings.entry_points:
        sentence = f"gives entry point {POINT!r} its address; remove one of the two tables"
        found.append(("web.address", sentence))
    return found
