"""What must hold between options: implicit entry points, aliases, and impossible values.

Every check yields `(key, sentence)`; the sentence ends with the remedy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from fastproxy.settings import ignored as settings_ignored
from fastproxy.settings import points as settings_points
from fastproxy.settings import web as settings_web
from fastproxy.settings.address import split_address
from fastproxy.settings.ignored import IMPLICIT
from fastproxy.settings.options import (
    AccessLog,
    ClientCa,
    EntryPoint,
    Ping,
    Settings,
    TraefikLog,
    WhiteList,
)
from fastproxy.settings.points import known_entry_points
from fastproxy.settings.tables.pages import Metrics

Found = Iterator[tuple[str, str]]

MOST_ENTRY_POINTS = 64  # a table names them by the bits of one word


def resolve(settings: Settings, given: Collection[str]) -> tuple[Settings, list[tuple[str, str]]]:
    """Return the settings with aliases and implicit entry points filled in, and warnings.

    `given` are the lower-case top-level keys the file contains.
    """
    own = bool(settings.entry_points)
    if not own:
        settings = replace(settings, entry_points={"http": EntryPoint(address=":80")})
    settings, warnings = settings_web.resolve(settings, given)
    settings = _aliases(settings)
    points, empty = settings_ignored.points(
        {name: _entry_point(point) for name, point in settings.entry_points.items()}
    )
    settings, unheard = _implicit(replace(settings, entry_points=points))
    were_given = "defaultentrypoints" in given
    settings, unknown = settings_ignored.default_entry_points(settings, own, were_given)
    settings, nowhere = settings_ignored.internal_pages(settings)
    settings, others = settings_ignored.others(settings)
    settings = replace(settings, web=None)
    warnings += [*empty, *unheard, *unknown, *nowhere, *others]
    return settings, warnings + list(_warnings(settings))


def _implicit(settings: Settings) -> tuple[Settings, list[tuple[str, str]]]:
    """Let /ping be answered on :8080 as well, unless another entry point has that port."""
    points = dict(settings.entry_points)
    taken = [name for name, point in points.items() if point.address.endswith(":8080")]
    asked = IMPLICIT in settings_ignored.internal_entry_points(settings).values()
    if settings.ping is None:
        if taken and IMPLICIT not in points and settings.api is None:
            sentence = (
                f"/ping and /ready are off, because entry point {taken[0]!r} has their port 8080;"
                f" add [ping] with an entryPoint, or [entryPoints.{IMPLICIT}] with another address"
            )
            return settings, [("ping", sentence)]
        settings, asked = replace(settings, ping=Ping()), True
    if asked and not taken and IMPLICIT not in points:
        points[IMPLICIT] = EntryPoint(address=":8080", implicit=True)
    return replace(settings, entry_points=points), []


def problems(settings: Settings) -> Found:
    """Yield every impossible value of resolved settings."""
    yield from _default_entry_points(settings)
    yield from _addresses(settings)
    yield from settings_points.problems(settings)
    yield from _observability(settings)
    limits = settings.limits
    if limits.header_block < limits.request_line:
        yield (
            "limits.headerBlock",
            f"is {limits.header_block}, less than requestLine ({limits.request_line}) which it"
            " includes; raise it or lower requestLine",
        )
    if limits.trailer_block > 8192:
        yield "limits.trailerBlock", f"is {limits.trailer_block}; write at most 8192"
    if len(settings.entry_points) > MOST_ENTRY_POINTS:
        yield (
            "entryPoints",
            f"are {len(settings.entry_points)}, with those made for ping and api; write at most "
            f"{MOST_ENTRY_POINTS}",
        )
    if settings.workers > 1024:
        yield "workers", f"is {settings.workers}; write at most 1024, or 0 for one per processor"


def _warnings(settings: Settings) -> Found:
    if settings.metrics is not None:
        yield from _pushed(settings.metrics)
    if settings.api is not None:
        yield "api", "shows /api/findings only; the rest has no effect in this version yet"
    if settings.kubernetes is not None and settings.kubernetes.filename:
        yield (
            "kubernetes.filename",
            "configuration templates of Traefik cannot be run here; the built-in mapping is used",
        )
    versions = ("", "VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13")
    for name, point in sorted(settings.entry_points.items()):
        if point.tls is not None and point.tls.min_version not in versions:
            yield (
                f"entryPoints.{name}.tls.minVersion",
                f"is {point.tls.min_version!r} and is ignored; write one of"
                f" {', '.join(versions[1:])}",
            )


def _pushed(metrics: Metrics) -> Found:
    exporters = ("datadog", metrics.datadog), ("statsd", metrics.statsd)
    for name, table in (*exporters, ("influxdb", metrics.influxdb)):
        if table is not None:
            yield (
                f"metrics.{name}",
                "is understood, but nothing is pushed; let a collector read /metrics of"
                " [metrics.prometheus]",
            )


def _aliases(settings: Settings) -> Settings:
    life, responding = settings.life_cycle, settings.responding_timeouts
    if settings.grace_time_out:
        life = replace(life, grace_time_out=settings.grace_time_out)
    if settings.idle_timeout:
        responding = replace(responding, idle_timeout=settings.idle_timeout)
    log: TraefikLog = settings.traefik_log
    if settings.traefik_logs_file and not log.file_path:
        log = replace(log, file_path=settings.traefik_logs_file)
    access = settings.access_log
    if settings.access_logs_file:  # of the whole table, as in 1.7
        access = AccessLog(file_path=settings.access_logs_file)
    return replace(
        settings,
        life_cycle=life,
        responding_timeouts=responding,
        traefik_log=log,
        access_log=access,
        log_level=settings.log_level or ("DEBUG" if settings.debug else "INFO"),
        grace_time_out=0.0,
        idle_timeout=0.0,
        access_logs_file="",
        traefik_logs_file="",
    )


def _entry_point(point: EntryPoint) -> EntryPoint:
    if point.whitelist_source_range:
        white_list = point.white_list or WhiteList(source_range=point.whitelist_source_range)
        point = replace(point, white_list=white_list, whitelist_source_range=())
    tls = point.tls
    if tls is not None and tls.client_ca_files:
        authority = tls.client_ca or ClientCa(files=tls.client_ca_files)
        point = replace(point, tls=replace(tls, client_ca=authority, client_ca_files=()))
    return point


def _default_entry_points(settings: Settings) -> Found:
    names = settings.default_entry_points
    if names == ("http",):  # the default, of which `resolve` warns when it does not exist
        return
    key = "defaultEntryPoints"
    if not names:
        yield key, f"is empty; {known_entry_points(settings)}"
    for name in names:
        if name not in settings.entry_points:
            yield key, f"names the unknown entry point {name!r}; {known_entry_points(settings)}"


def _addresses(settings: Settings) -> Found:
    seen: list[tuple[str, str, int]] = []
    for name, point in sorted(settings.entry_points.items()):
        key = f"entryPoints.{name}.address"
        if not point.address:
            yield key, 'is missing; write for example address = ":80"'
            continue
        try:
            host, port = split_address(point.address)
        except ValueError as error:
            yield key, str(error)
            continue
        for other, its_host, its_port in seen:
            if port and port == its_port and (host == its_host or not host or not its_host):
                yield key, f"port {port} is also the one of entry point {other!r}; choose another"
                break
        seen.append((name, host, port))


def _observability(settings: Settings) -> Found:
    for mode_key, modes, allowed in _modes(settings):
        for name, mode in modes.items():
            if mode not in allowed:
                yield f"{mode_key}.{name}", f"is {mode!r}; write one of {', '.join(allowed)}"
    prometheus = settings.metrics.prometheus if settings.metrics is not None else None
    if prometheus is not None and list(prometheus.buckets) != sorted(set(prometheus.buckets)):
        yield "metrics.prometheus.buckets", "must increase; sort them and remove duplicates"


def _modes(settings: Settings) -> Iterator[tuple[str, dict[str, str], tuple[str, ...]]]:
    if settings.access_log is not None:
        fields = settings.access_log.fields
        yield "accessLog.fields.names", dict(fields.names), ("keep", "drop")
        headers = dict(fields.headers.names)
        yield "accessLog.fields.headers.names", headers, ("keep", "drop", "redact")
