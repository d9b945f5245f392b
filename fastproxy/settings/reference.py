# ruff: noqa: E501 -- a table of sentences
"""Print docs/settings.md: `python -m fastproxy.settings.reference > docs/settings.md`."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from fastproxy.model import durations
from fastproxy.settings.entry_points import OWN_PATHS
from fastproxy.settings.flags import SHORT
from fastproxy.settings.foreign import SECTIONS
from fastproxy.settings.options import Settings, options
from fastproxy.settings.reader import key_of

# A name that stands in several tables with one meaning is given without its table.
MEANINGS = {
    "Settings.entry_points": "the sockets; without any: `http` on `:80`",
    "Settings.default_entry_points": "entry points of routes and certificates that name none",
    "Settings.kubernetes": "read Ingresses from an API server; an empty table is enough in a cluster",
    "Settings.providers_throttle_duration": "least time between two published configurations",
    "Settings.max_idle_conns_per_host": "idle connections kept for each endpoint and worker",
    "Settings.insecure_skip_verify": "do not verify the certificates of https endpoints",
    "Settings.root_cas": "PEM files or texts that replace the system's roots for https "
    "endpoints and forward authentication",
    "Settings.allow_min_weight_zero": "false: weight 0 counts as 1; true: such an endpoint gets no new requests",
    "Settings.keep_trailing_slash": "do not redirect `Path` rules to the form with or without a last slash",
    "Settings.log_level": "`INFO` when empty (Traefik 1.7: `ERROR`), `DEBUG` with `debug`; an unknown one is a warning",
    "Settings.debug": "shorthand for `logLevel = \"DEBUG\"`",
    "Settings.traefik_log": "fastproxy's own log",
    "Settings.access_log": "one line for each request; no effect in this version yet",
    "Settings.host_resolver": "how names are looked up",
    "Settings.life_cycle": "what happens on SIGTERM",
    "Settings.responding_timeouts": "client side; 0 = unlimited",
    "Settings.forwarding_timeouts": "endpoint side; 0 = unlimited",
    "Settings.retry": "try other endpoints; without the table there is no retry",
    "Settings.healthcheck": "accepted; no annotation switches a health check on",
    "Settings.ping": "`/ping` (200, or 503 while stopping) and `/ready` (200 once the first complete configuration is live in every worker); on by default unless port 8080 belongs to another entry point",
    "Settings.api": "the JSON API and the dashboard; no effect in this version yet",
    "Settings.metrics": "exporters of metrics; no effect in this version yet",
    "Settings.web": "deprecated: entry point `traefik` with API, ping and metrics; ignored beside `api`, `ping`, `metrics` or `rest`",
    "Settings.acme": "no certificate is fetched; those of the `acme.json` it names are served, and it is refused without",
    "Settings.limits": "own table: what one message or connection may take",
    "Settings.workers": "own option: worker processes; 0 = one for each processor this process may use (affinity and control-group quota)",
    "Settings.grace_time_out": "deprecated, wins over `lifeCycle.graceTimeOut` when not 0",
    "Settings.idle_timeout": "deprecated, wins over `respondingTimeouts.idleTimeout` when not 0",
    "Settings.access_logs_file": "deprecated form of `accessLog.filePath`",
    "Settings.traefik_logs_file": "deprecated form of `traefikLog.filePath`",
    "Settings.check_new_version": "accepted, without effect",
    "Settings.send_anonymous_usage": "accepted, without effect",
    "Kubernetes.endpoint": "URL of the API server; in a cluster it only replaces the host part; outside it is mandatory",
    "Kubernetes.token": "bearer token; ignored in a cluster",
    "Kubernetes.cert_auth_file_path": "PEM file with the CAs of the API server; ignored in a cluster",
    "Kubernetes.namespaces": "namespaces to watch; empty = all",
    "Kubernetes.label_selector": "label selector for Ingresses, e.g. `app=web,tier in (a,b),!legacy`",
    "Kubernetes.ingress_class": "serve Ingresses of this class only",
    "Kubernetes.disable_pass_host_headers": "send the endpoint's host instead of the client's, unless `preserve-host` says otherwise",
    "Kubernetes.enable_pass_tls_cert": "default of the deprecated annotation `pass-tls-cert`",
    "Kubernetes.throttle_duration": "least time between two translations",
    "Kubernetes.filename": "a Go template: accepted and reported, not rendered",
    "Kubernetes.debug_log_generated_template": "log the generated configuration at level DEBUG",
    "Kubernetes.watch": "accepted; fastproxy always watches",
    "constraints": "accepted, without effect",
    "trace": "accepted, without effect",
    "template_version": "accepted, without effect",
    "Kubernetes.ingress_endpoint": "write the status of Ingresses",
    "Kubernetes.whitelist_invalid": "own option: what a white list with a bad range means. `allow`: it permits everybody, as 1.7 documents; `drop`: the route is not served, as 1.7 does",
    "Kubernetes.route_order": "own option: `length` of the rule first (1.7), or `specificity` (Gateway API)",
    "IngressEndpoint.hostname": "host name to publish",
    "IngressEndpoint.ip": "address to publish",
    "IngressEndpoint.published_service": "`namespace/name` of a Service whose addresses are published; wins",
    "EntryPoint.address": "`:80`, `10.0.0.1:80` or `[::1]:80`; the port may be a name (`:http`); mandatory",
    "EntryPoint.compress": "gzip responses",
    "EntryPoint.white_list": "who may connect",
    "EntryPoint.whitelist_source_range": "deprecated form of `whiteList.sourceRange`",
    "EntryPoint.redirect": "redirect every request",
    "EntryPoint.auth": "authenticate every request; basic before digest before forward",
    "EntryPoint.proxy_protocol": "read the PROXY protocol, version 1",
    "EntryPoint.forwarded_headers": "who may supply `X-Forwarded-*`; without the table: everybody",
    "EntryPoint.tls": "terminate TLS",
    "EntryPoint.defer_accept": "own option: the kernel hands a connection over once it has sent something (TCP_DEFER_ACCEPT)",
    "WhiteList.source_range": "addresses or ranges; must not be empty",
    "WhiteList.use_x_forwarded_for": "look at `X-Forwarded-For` instead of the connection",
    "EntryPointRedirect.entry_point": "redirect to this entry point; excludes `regex`",
    "EntryPointRedirect.regex": "RE2 pattern for the whole URL",
    "EntryPointRedirect.replacement": "what it becomes, with `$1` or `${1}`",
    "EntryPointRedirect.permanent": "301 instead of 302",
    "EntryPointAuth.header_field": "header that tells endpoints the user's name",
    "EntryPointAuth.basic": "basic authentication",
    "EntryPointAuth.digest": "digest authentication",
    "EntryPointAuth.forward": "ask another server",
    "Users.users": "`name:hash`, for digest `name:realm:hash`",
    "Users.users_file": "file with one user on each line, read at start; its users come on top of `users`",
    "Users.remove_header": "do not pass `Authorization` on",
    "Users.realm": "accepted, without effect: the realm is `traefik`",
    "Forward.address": "URL to ask",
    "Forward.trust_forward_header": "pass the client's `X-Forwarded-*` on to it",
    "Forward.auth_response_headers": "headers copied from its answer into the request",
    "Forward.tls": "how to speak TLS to it",
    "ClientTls.ca": "PEM file or text that replaces the system's roots",
    "ClientTls.ca_optional": "accepted, without effect on a client",
    "ClientTls.cert": "PEM file or text of the client certificate",
    "ClientTls.key": "PEM file or text of its key",
    "ClientTls.insecure_skip_verify": "do not verify its certificate",
    "trusted_ips": "addresses or ranges that are believed",
    "insecure": "believe everybody",
    "CertificateFiles.cert_file": "PEM file or text",
    "CertificateFiles.key_file": "PEM file or text",
    "EntryPointTls.certificates": "`[[entryPoints.NAME.tls.certificates]]`; a pair that cannot be loaded is logged and skipped",
    "EntryPointTls.default_certificate": "served when no name matches; without it the first of `certificates`, else a self-signed one",
    "EntryPointTls.sni_strict": "refuse the handshake when no certificate matches; a request whose "
    "host none matches is answered 421",
    "EntryPointTls.min_version": "`VersionTLS10` to `VersionTLS13`",
    "EntryPointTls.cipher_suites": "Go's names of suites",
    "EntryPointTls.client_ca": "ask clients for certificates",
    "EntryPointTls.client_ca_files": "deprecated form of `clientCA.files`, mandatory",
    "ClientCa.files": "PEM files of the CAs that sign client certificates",
    "ClientCa.optional": "a client may come without a certificate; one that is sent must be valid",
    "Limits.request_line": "bytes; more is answered 414",
    "Limits.header_block": "bytes of request line and headers; more is answered 431",
    "Limits.header_lines": "more is answered 431",
    "Limits.trailer_block": "bytes, at most 8192; more is answered 400",
    "Limits.trailer_lines": "more is answered 400",
    "Limits.request_body": "bytes; more is answered 413; 0 = unlimited",
    "Limits.buffer": "bytes waiting in one direction of a request before reading stops",
    "Limits.unread_body": "bytes read off after an early answer before the connection is closed",
    "Limits.head_timeout": "time for a complete request head (408)",
    "Limits.tls_handshake_timeout": "time for a TLS handshake with a client",
    "Limits.body_timeout": "longest pause inside a request body (408)",
    "Limits.requests_per_connection": "0 = unlimited",
    "Limits.max_connections": "client connections of one worker, as far as there are descriptors for them and for as many connections to endpoints (8,192 at most); beyond them the longest idle one is closed for a new one, and accepting pauses while none is idle (`/ping` and `/ready` are answered all the same)",
    "Limits.upstream_tls_handshake_timeout": "time for a TLS handshake with an endpoint (504)",
    "Limits.websocket_handshake_timeout": "time for an endpoint's answer to a WebSocket handshake (504)",
    "Limits.upstream_idle_timeout": "how long an unused connection to an endpoint is kept",
    "Limits.upstream_head_block": "bytes of a response head; more is answered 502",
    "Limits.continue_timeout": "how long to wait for an endpoint's `100 Continue`",
    "LifeCycle.request_accept_grace_timeout": "keep accepting that long, while `/ping` and `/ready` fail",
    "LifeCycle.grace_time_out": "then wait that long for requests and upgraded connections to end",
    "RespondingTimeouts.read_timeout": "time for a whole request",
    "RespondingTimeouts.write_timeout": "time from the end of the request head to the end of the response",
    "RespondingTimeouts.idle_timeout": "how long an unused connection of a client is kept",
    "ForwardingTimeouts.dial_timeout": "time to connect (504)",
    "ForwardingTimeouts.response_header_timeout": "time for the response head once the request is written (504)",
    "Retry.attempts": "attempts in all; 0 = as many as the backend has endpoints",
    "Retry.max_mem": "accepted, without effect",
    "HealthCheck.interval": "accepted, without effect",
    "HostResolver.cname_flattening": "let `Host` rules also match the end of the CNAME chain of a host",
    "HostResolver.resolv_conf": "where the name servers stand, also for ExternalName Services",
    "HostResolver.resolv_depth": "how many CNAMEs of a chain are followed",
    "TraefikLog.file_path": "empty = standard output; SIGUSR1 opens it anew",
    "TraefikLog.format": "`common` or `json`; anything else is `common`",
    "AccessLog.file_path": "empty = standard output; SIGUSR1 opens it anew",
    "AccessLog.format": "`common` or `json`; anything else switches it off",
    "AccessLog.buffering_size": "lines that may wait to be written; 0 = none",
    "AccessLog.filters": "keep a line when one of these holds; none given = keep all",
    "AccessLog.fields": "what stands in a JSON line",
    "AccessLogFilters.status_codes": "`\"200\"` or `\"500-599\"`",
    "AccessLogFilters.retry_attempts": "keep what was retried",
    "AccessLogFilters.min_duration": "keep what took at least that long",
    "AccessLogFields.default_mode": "`keep` or `drop`",
    "AccessLogFields.names": "field = `keep` or `drop`",
    "AccessLogFields.headers": "headers in JSON lines",
    "FieldHeaders.default_mode": "`keep`, `drop` or `redact`",
    "FieldHeaders.names": "header = `keep`, `drop` or `redact`",
    "Metrics.prometheus": "`GET /metrics`",
    "Metrics.datadog": "push to a Datadog agent",
    "Metrics.statsd": "push to a StatsD server",
    "Metrics.influxdb": "push to InfluxDB",
    "entry_point": "entry point that answers; `traefik` is created on `:8080` when it does not exist",
    "Prometheus.buckets": "upper bounds of the histograms in seconds",
    "address": "host and port to push to",
    "push_interval": "time between two pushes",
    "InfluxDb.protocol": "`udp` or `http`",
    "InfluxDb.database": "only for `http`",
    "InfluxDb.retention_policy": "only for `http`",
    "InfluxDb.username": "only for `http`",
    "InfluxDb.password": "only for `http`",
    "Api.dashboard": "serve the dashboard",
    "Api.debug": "serve debugging pages",
    "Api.statistics": "figures of `/health`",
    "Statistics.recent_errors": "how many errors `/health` lists",
    "Web.address": "of entry point `traefik`",
    "Web.path": "what stands before `/ping`, `/ready` and the paths of the API; without it they are not found",
    "Web.cert_file": "PEM file or text; with it the entry point speaks TLS",
    "Web.key_file": "PEM file or text",
    "Web.auth": "as `[entryPoints.NAME.auth]`; `/ping` and `/ready` stay open",
    "Web.statistics": "as `[api.statistics]`",
    "Web.metrics": "as `[metrics]`",
    "Web.debug": "as `debug`",
    "Web.read_only": "accepted, without effect: nothing can be written",
    "Acme.storage": "the file with its certificates, of Traefik 1.7 or older; only read",
    "Acme.storage_file": "deprecated form of `storage`",
    "Acme.entry_point": "entry point with TLS that serves the certificates",
    **dict.fromkeys(
        (f"Acme.{name}" for name in (
            "email", "on_demand", "on_host_rule", "ca_server", "key_type", "dns_challenge",
            "http_challenge", "tls_challenge", "dns_provider", "delay_dont_check_dns", "domains",
            "acme_logging", "override_certificates", "tls_config",
        )),
        "accepted, without effect",
    ),
}  # fmt: skip

HEAD = """# Settings

Made by `python -m fastproxy.settings.reference > docs/settings.md`; do not edit.

A TOML file, named by `--configfile` (or by its directory), else `fastproxy.toml` or `traefik.toml` in `/etc/fastproxy`, `/etc/traefik`, `$HOME/.traefik` or the current directory.
The names are those of Traefik 1.7; their case does not matter.
A duration is a number of seconds, or text such as `"10s"`, `"1m30s"` or `"250ms"`.
`fastproxy check` names everything that is wrong with a file and a command line, as `fastproxy run` would.
An unknown key is a warning; it is refused where somebody counts on it (users, white lists, certificates).
`/ping` and `/ready` stay open on an entry point with authentication or a white list, as in Traefik 1.7.

## On the command line

Every option is a flag, named by its path in any case: `ingressClass` in `[kubernetes]` is `--kubernetes.ingressclass=edge`.
Flags win over the file. An unknown one is refused. Short ones: {short}.

* A switch alone is on (`--debug`, `--insecureskipverify`), and so is a table (`--kubernetes`, `--api`, `--retry`); `=false` switches it off. Other values follow `=` or a blank.
* A list is parted by commas (`--defaultentrypoints=http,https`); a flag given twice makes it longer. Names with modes: `--accesslog.fields.names="Username=drop Hostname=keep"`.
* An entry point is one text: `--entryPoints='Name:https Address::443 TLS:/a.crt,/a.key;/b.crt,/b.key Redirect.EntryPoint:http Compress:true'`. Its keys are the paths below `[entryPoints.NAME]`, with `.` or `_`, and {own}. `TLS` alone means certificates of Secrets. True is `true`, `enable` or `on`.

## Sections of Traefik 1.7 that are not here

| Section | What becomes of it |
|---|---|
{sections}
"""


def head() -> str:
    """Return what stands before the tables."""
    short = ", ".join(f"`-{letter}` = `--{name}`" for letter, name in SHORT.items())
    own = ", ".join(f"`{key}` (`{path}`)" for key, path in OWN_PATHS.items())
    sections = "\n".join(
        f"| {', '.join(f'`{key}`' for key in section.keys)} |"
        f" {'refused' if section.refused else 'a warning'}: {section.sentence} |"
        for section in SECTIONS
    )
    return HEAD.format(short=short, own=own, sections=sections)


def document() -> str:
    """Return the page."""
    parts = [head()]
    for path, cls in tables(Settings, ""):
        parts.append(f"\n## `[{path}]`\n" if path else "\n## At the top of the file\n")
        parts.append("| Option | Type | Default | Meaning |\n|---|---|---|---|")
        parts += [_row(cls, field, hint) for field, hint in _fields(cls)]
    return "\n".join(parts) + "\n"


def tables(cls: type, path: str) -> Iterator[tuple[str, type]]:
    """Yield every table with its path, outer ones first."""
    yield path, cls
    for field, hint in _fields(cls):
        inner = _table_of(hint)
        if inner is not None:
            below = f"{path}.{key_of(field)}".lstrip(".")
            yield from tables(
                inner, f"{below}.NAME" if typing.get_origin(hint) is Mapping else below
            )


def meaning(cls: type, name: str) -> str:
    """Return what an option means; raises KeyError when nobody has said."""
    return MEANINGS.get(f"{cls.__name__}.{name}") or MEANINGS[name]


def _fields(cls: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(cls)
    return [(field, hints[field.name]) for field in options(cls)]


def _table_of(hint: Any) -> type | None:
    for candidate in (hint, *typing.get_args(hint)):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None


def _row(cls: type, field: dataclasses.Field[Any], hint: Any) -> str:
    return f"| `{key_of(field)}` | {_type(hint)} | {_default(field, hint)} | {meaning(cls, field.name)} |"


def _type(hint: Any) -> str:
    if _table_of(hint) is not None:
        return "list of tables" if typing.get_origin(hint) is tuple else "table"
    if typing.get_origin(hint) is tuple:
        return "list of numbers" if typing.get_args(hint)[0] is float else "list of texts"
    if typing.get_origin(hint) is Mapping:
        return "table of texts"
    return {bool: "true, false", int: "number", float: "duration", str: "text"}.get(hint, "any")


def _default(field: dataclasses.Field[Any], hint: Any) -> str:
    value: Any = field.default
    if _table_of(hint) is not None or typing.get_origin(hint) is Mapping or value is None:
        return "-"
    if isinstance(value, tuple):
        return "`[" + ", ".join(_literal(item) for item in value) + "]`"
    if hint is float:
        return f'`"{durations.format_duration(round(float(value) * durations.SECOND))}"`'
    return f"`{_literal(value)}`"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


if __name__ == "__main__":
    sys.stdout.write(document())
