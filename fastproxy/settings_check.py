"""What must hold between options: implicit entry points, aliases, and impossible values.

Every check yields `(key, sentence)`; the sentence ends with the remedy.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator
from dataclasses import replace

import re2  # type: ignore[import-untyped]

from fastproxy.settings import (
    AccessLog,
    ClientCa,
    EntryPoint,
    EntryPointAuth,
    EntryPointTls,
    Ping,
    Settings,
    TraefikLog,
    Users,
    WhiteList,
    split_address,
)

Found = Iterator[tuple[str, str]]

IMPLICIT = "traefik"  # the entry point 1.7 creates on :8080 for ping, api and metrics
PATTERN_SIZE = 1024  # bytes of a regular expression


def resolve(settings: Settings, given: Collection[str]) -> tuple[Settings, list[tuple[str, str]]]:
    """Return the settings with aliases and implicit entry points filled in, and warnings.

    `given` are the lower-case top-level keys the file contains.
    """
    warnings: list[tuple[str, str]] = []
    settings = _aliases(settings)
    points = {name: _entry_point(point) for name, point in settings.entry_points.items()}
    if not points:
        points["http"] = EntryPoint(address=":80")
    if settings.ping is None:
        taken = [name for name, point in points.items() if point.address.endswith(":8080")]
        if not taken or IMPLICIT in points or settings.api is not None:
            settings = replace(settings, ping=Ping())
        else:
            sentence = (
                f"/ping and /ready are off, because entry point {taken[0]!r} has their port 8080;"
                f" add [ping] with an entryPoint, or [entryPoints.{IMPLICIT}] with another address"
            )
            warnings.append(("ping", sentence))
    if IMPLICIT in _internal_users(settings).values() and IMPLICIT not in points:
        points[IMPLICIT] = EntryPoint(address=":8080")
    settings = replace(settings, entry_points=points)
    if "defaultentrypoints" not in given and "http" not in points:
        sentence = (
            "is not set and there is no entry point 'http': routes which name no entry point are"
            " not served; set it"
        )
        warnings.append(("defaultEntryPoints", sentence))
    return settings, warnings + list(_warnings(settings))


def problems(settings: Settings) -> Found:
    """Yield every impossible value of resolved settings."""
    yield from _default_entry_points(settings)
    yield from _addresses(settings)
    for key, name in _internal_users(settings).items():
        if name not in settings.entry_points:
            yield key, f"names the unknown entry point {name!r}; {_known(settings)}"
    for name, point in sorted(settings.entry_points.items()):
        path = f"entryPoints.{name}"
        yield from _white_list(path, point)
        yield from _redirect(path, point, settings)
        yield from _auth(f"{path}.auth", point.auth)
        yield from _trust(path, point)
        yield from _tls(f"{path}.tls", point.tls)
    yield from _kubernetes(settings)
    yield from _observability(settings)
    limits = settings.limits
    if limits.header_block < limits.request_line:
        yield (
            "limits.headerBlock",
            f"is {limits.header_block}, less than requestLine ({limits.request_line}) which it"
            " includes; raise it or lower requestLine",
        )
    if settings.workers > 1024:
        yield "workers", f"is {settings.workers}; write at most 1024, or 0 for one per processor"


def _warnings(settings: Settings) -> Found:
    if settings.kubernetes is not None and settings.kubernetes.filename:
        yield (
            "kubernetes.filename",
            "configuration templates of Traefik cannot be run here; the built-in mapping is used",
        )
    if settings.access_log is not None and settings.access_log.format not in ("common", "json"):
        yield (
            "accessLog.format",
            f"is {settings.access_log.format!r} and switches the access log off;"
            " write 'common' or 'json'",
        )
    versions = ("", "VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13")
    for name, point in sorted(settings.entry_points.items()):
        if point.tls is not None and point.tls.min_version not in versions:
            yield (
                f"entryPoints.{name}.tls.minVersion",
                f"is {point.tls.min_version!r} and is ignored; write one of"
                f" {', '.join(versions[1:])}",
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
    if settings.access_logs_file and access is not None and not access.file_path:
        access = replace(access, file_path=settings.access_logs_file)
    elif settings.access_logs_file and access is None:
        access = AccessLog(file_path=settings.access_logs_file)
    return replace(
        settings,
        life_cycle=life,
        responding_timeouts=responding,
        traefik_log=log,
        access_log=access,
        log_level=settings.log_level or ("DEBUG" if settings.debug else "ERROR"),
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


def _internal_users(settings: Settings) -> dict[str, str]:
    """Return which option asks for fastproxy's own pages on which entry point."""
    users = {}
    if settings.ping is not None:
        users["ping.entryPoint"] = settings.ping.entry_point
    if settings.api is not None:
        users["api.entryPoint"] = settings.api.entry_point
    if settings.metrics is not None and settings.metrics.prometheus is not None:
        users["metrics.prometheus.entryPoint"] = settings.metrics.prometheus.entry_point
    return users


def _known(settings: Settings) -> str:
    return f"define it or write one of {', '.join(sorted(settings.entry_points))}"


def _default_entry_points(settings: Settings) -> Found:
    names = settings.default_entry_points
    if names == ("http",):  # the default, of which `resolve` warns when it does not exist
        return
    key = "defaultEntryPoints"
    if not names:
        yield key, f"is empty; {_known(settings)}"
    for name in names:
        if name not in settings.entry_points:
            yield key, f"names the unknown entry point {name!r}; {_known(settings)}"


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


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the network of an address or CIDR range as Go reads it: host bits may be set."""
    return ipaddress.ip_network(text.strip(), strict=False)


def _ranges(key: str, texts: tuple[str, ...]) -> Found:
    for text in texts:
        try:
            network(text)
        except ValueError:
            yield key, f'{text!r} is not an address or a range; write for example "10.0.0.0/8"'


def _white_list(path: str, point: EntryPoint) -> Found:
    if point.white_list is None:
        return
    key = f"{path}.whiteList.sourceRange"
    if not point.white_list.source_range:
        yield key, "is empty; list the ranges that may connect, or remove the table"
    yield from _ranges(key, point.white_list.source_range)


def pattern_problem(pattern: str) -> str | None:
    """Return why RE2 refuses a pattern, or None; patterns of settings run on RE2 only."""
    if len(pattern.encode()) > PATTERN_SIZE:
        return f"is longer than {PATTERN_SIZE} bytes; shorten it"
    if re.search(r"(?<!\\)(?:\\\\)*\\C", pattern):
        return r"contains \C, which is refused; write . instead"
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        return f"is not a regular expression ({error}); correct it (RE2 syntax)"
    return None


def _redirect(path: str, point: EntryPoint, settings: Settings) -> Found:
    redirect = point.redirect
    if redirect is None:
        return
    path = f"{path}.redirect"
    if redirect.entry_point:
        target = settings.entry_points.get(redirect.entry_point)
        if target is None:
            sentence = f"names the unknown entry point {redirect.entry_point!r}; {_known(settings)}"
            yield f"{path}.entryPoint", sentence
        return
    if not redirect.regex or not redirect.replacement:
        yield path, "needs either entryPoint, or both regex and replacement; add what is missing"
    refusal = pattern_problem(redirect.regex)
    if refusal is not None:
        yield f"{path}.regex", refusal


def _auth(path: str, auth: EntryPointAuth | None) -> Found:
    if auth is None:
        return
    if auth.basic is None and auth.digest is None and auth.forward is None:
        yield path, "names no method; add a table basic, digest or forward"
    for name, users, colons in (("basic", auth.basic, 1), ("digest", auth.digest, 2)):
        if users is not None:
            yield from _users(f"{path}.{name}", users, colons)
    if auth.forward is not None:
        address = auth.forward.address
        if not re.fullmatch(r"https?://[^/\s]+\S*", address):
            yield (
                f"{path}.forward.address",
                f'{address!r} is not a URL; write for example "https://auth.example/check"',
            )


def _users(path: str, users: Users, colons: int) -> Found:
    if not users.users and not users.users_file:
        yield path, "has no users; add users or usersFile"
    form = "name:hash" if colons == 1 else "name:realm:hash"
    for index, line in enumerate(users.users):
        if line.count(":") != colons:  # the line itself is a secret and is not shown
            yield f"{path}.users[{index}]", f"is not of the form {form}; correct it"


def _trust(path: str, point: EntryPoint) -> Found:
    proxy, forwarded = point.proxy_protocol, point.forwarded_headers
    if proxy is not None:
        if not proxy.trusted_ips and not proxy.insecure:
            yield f"{path}.proxyProtocol", "trusts nobody; add trustedIPs or insecure = true"
        yield from _ranges(f"{path}.proxyProtocol.trustedIPs", proxy.trusted_ips)
    if not forwarded.trusted_ips and not forwarded.insecure:
        # Traefik 1.7 starts, and then drops every route of this entry point.
        yield f"{path}.forwardedHeaders", "trusts nobody; add trustedIPs or insecure = true"
    yield from _ranges(f"{path}.forwardedHeaders.trustedIPs", forwarded.trusted_ips)


def _tls(path: str, tls: EntryPointTls | None) -> Found:
    if tls is None:
        return
    pairs = [(f"{path}.certificates[{i}]", pair) for i, pair in enumerate(tls.certificates)]
    if tls.default_certificate is not None:
        pairs.append((f"{path}.defaultCertificate", tls.default_certificate))
    for key, pair in pairs:
        if not pair.cert_file or not pair.key_file:
            yield key, "needs both certFile and keyFile; add what is missing"
    if tls.client_ca is not None and not tls.client_ca.files:
        yield f"{path}.clientCA.files", "is empty; list the CA files, or remove the table"


def _kubernetes(settings: Settings) -> Found:
    kubernetes = settings.kubernetes
    if kubernetes is None or kubernetes.ingress_endpoint is None:
        return
    service = kubernetes.ingress_endpoint.published_service
    if service and (service.count("/") != 1 or not all(service.split("/"))):
        yield (
            "kubernetes.ingressEndpoint.publishedService",
            f"is {service!r}; write namespace/name",
        )


def _observability(settings: Settings) -> Found:
    filters = settings.access_log.filters if settings.access_log is not None else None
    for text in filters.status_codes if filters is not None else ():
        if not re.fullmatch(r"[1-5][0-9]{2}(-[1-5][0-9]{2})?", text):
            yield (
                "accessLog.filters.statusCodes",
                f'{text!r} is not a status or a range; write for example "200" or "500-599"',
            )
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
