"""What Traefik 1.7 starts with and ignores: taken out of the settings here, with a warning each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from fastproxy.settings.options import CertificateFiles, EntryPoint, EntryPointRedirect, Settings
from fastproxy.settings.points import known_entry_points
from fastproxy.settings.tables.logs import LOG_FIELDS, LOG_FORMATS

Warnings = list[tuple[str, str]]
IMPLICIT = "traefik"  # the entry point 1.7 creates on :8080 for ping, api and metrics


def points(given: Mapping[str, EntryPoint]) -> tuple[dict[str, EntryPoint], Warnings]:
    """Return entry points without tables that say nothing."""
    kept: dict[str, EntryPoint] = {}
    warnings: Warnings = []
    for name, point in given.items():
        kept[name] = _point(f"entryPoints.{name}", point, warnings)
    return kept, warnings


def _point(path: str, point: EntryPoint, warnings: Warnings) -> EntryPoint:
    redirect = point.redirect
    if redirect is not None and replace(redirect, permanent=False) == EntryPointRedirect():
        sentence = "names no target, so nothing is redirected; set entryPoint or remove the table"
        warnings.append((f"{path}.redirect", sentence))
        point = replace(point, redirect=None)
    tls = point.tls
    if tls is None:
        return point
    if CertificateFiles() in tls.certificates:
        sentence = "has an empty table, which is ignored; set certFile and keyFile or remove it"
        warnings.append((f"{path}.tls.certificates", sentence))
        pairs = tuple(pair for pair in tls.certificates if pair != CertificateFiles())
        tls = replace(tls, certificates=pairs)
    if tls.default_certificate == CertificateFiles():
        sentence = "is empty and ignored; set certFile and keyFile or remove it"
        warnings.append((f"{path}.tls.defaultCertificate", sentence))
        tls = replace(tls, default_certificate=None)
    return replace(point, tls=tls)


def default_entry_points(
    settings: Settings, own: bool, were_given: bool
) -> tuple[Settings, Warnings]:
    """Leave out names nobody defined, if one is left. Without entry points of its `own` in the
    settings 1.7 takes its default."""
    key = "defaultEntryPoints"
    if settings.default_entry_points == ("http",) and "http" not in settings.entry_points:
        how = "names none but" if were_given else "is not set and there is no entry point"
        sentence = f"{how} 'http': routes which name no entry point are not served; set it"
        return settings, [(key, sentence)]
    unknown = [n for n in settings.default_entry_points if n not in settings.entry_points]
    left = tuple(n for n in settings.default_entry_points if n in settings.entry_points)
    if not unknown or (own and not left):
        return settings, []
    names, left = ", ".join(map(repr, unknown)), left or ("http",)
    sentence = (
        f"names {names}, which no entry point is called; only {', '.join(left)} holds,"
        f" {known_entry_points(settings)}"
    )
    return replace(settings, default_entry_points=left), [(key, sentence)]


# Option -> what it serves, whether it is on, and the settings without it.
_Row = tuple[str, Callable[[Settings], str | None], Callable[[Settings], Settings]]
INTERNAL: Mapping[str, _Row] = {
    "ping.entryPoint": (
        "/ping and /ready are nowhere",
        lambda s: s.ping.entry_point if s.ping is not None else None,
        lambda s: s,  # the engine answers on no entry point then
    ),
    "api.entryPoint": (
        "the API is nowhere",
        lambda s: s.api.entry_point if s.api is not None else None,
        lambda s: replace(s, api=None),
    ),
    "metrics.prometheus.entryPoint": (
        "/metrics is nowhere",
        lambda s: s.metrics.prometheus.entry_point if s.metrics and s.metrics.prometheus else None,
        lambda s: replace(s, metrics=replace(s.metrics, prometheus=None) if s.metrics else None),
    ),
}


def internal_entry_points(settings: Settings) -> dict[str, str]:
    """Return which option asks for fastproxy's own pages on which entry point."""
    asked = ((key, entry_point(settings)) for key, (_, entry_point, _) in INTERNAL.items())
    return {key: name for key, name in asked if name is not None}


def internal_pages(settings: Settings) -> tuple[Settings, Warnings]:
    """Serve our own pages nowhere when their entry point does not exist."""
    warnings: Warnings = []
    for key, name in internal_entry_points(settings).items():
        if name in settings.entry_points:
            continue
        effect, _, without = INTERNAL[key]
        known = known_entry_points(settings)
        warnings.append((key, f"names the unknown entry point {name!r}, so {effect}; {known}"))
        settings = without(settings)
    return settings, warnings


def others(settings: Settings) -> tuple[Settings, Warnings]:
    """Values without effect in a part that goes on without them."""
    warnings: Warnings = []
    access = settings.access_log
    if access is not None and access.format not in LOG_FORMATS:
        names = ", ".join(map(repr, LOG_FORMATS))
        sentence = f"is {access.format!r} and switches the access log off; write one of {names}"
        warnings.append(("accessLog.format", sentence))
        settings = replace(settings, access_log=None)
        access = None
    if access is not None:
        known = {name.lower() for name in LOG_FIELDS}
        for name in access.fields.names:
            if name.lower() not in known:
                sentence = "is no field of the access log and ignored; see docs/access-log.md"
                warnings.append((f"accessLog.fields.names.{name}", sentence))
    filters = access.filters if access is not None else None
    if access is not None and filters is not None:
        form = r"[1-5][0-9]{2}(-[1-5][0-9]{2})?"
        good = tuple(text for text in filters.status_codes if re.fullmatch(form, text))
        for text in filters.status_codes:
            if text not in good:
                sentence = (
                    f"{text!r} is not a status or a range and ignored;"
                    ' write for example "200" or "500-599"'
                )
                warnings.append(("accessLog.filters.statusCodes", sentence))
        filters = replace(filters, status_codes=good)
        settings = replace(settings, access_log=replace(access, filters=filters))
    endpoint = settings.kubernetes.ingress_endpoint if settings.kubernetes is not None else None
    service = endpoint.published_service if endpoint is not None else ""
    if service and (service.count("/") != 1 or not all(service.split("/"))):
        sentence = f"is {service!r}, so no status is written; write namespace/name"
        warnings.append(("kubernetes.ingressEndpoint.publishedService", sentence))
    return settings, warnings
