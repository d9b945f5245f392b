"""The static configuration as frozen values: Traefik 1.7's options and fastproxy's own.

Durations are seconds, sizes bytes. The TOML key of an attribute is its name without underscores in
any case (`idle_timeout` is `idleTimeout`); `settings_file.py` reads a file into these values,
`settings_check.py` says which combinations are impossible. Meanings and defaults: Traefik 1.7
(`doc` of each option says where fastproxy differs).

An attribute of type `float` is a duration, of type `object` is accepted and has no effect here.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any


def option(
    default: Any,
    *,
    key: str = "",
    minimum: int = 0,
    choices: tuple[str, ...] = (),
    aliases: Mapping[str, str] | None = None,
    lenient: bool = False,
) -> Any:
    """An option whose TOML spelling is not the usual one, or whose values are restricted.

    `aliases` are other words for a choice. `lenient`: another word than the choices is a warning,
    and the default holds, as in Traefik 1.7.
    """
    metadata = {"key": key, "minimum": minimum, "choices": choices, "lenient": lenient}
    return field(default=default, metadata={**metadata, "aliases": aliases or {}})


def hidden(default: Any) -> Any:
    """What other options lead to; no file and no flag can say it."""
    return field(default=default, metadata={"hidden": True}, repr=False)


def options(cls: Any) -> tuple[Field[Any], ...]:
    """Return the attributes of a table that a file or a flag can give."""
    return tuple(each for each in fields(cls) if not each.metadata.get("hidden"))


def secret(default: Any = "") -> Any:
    return field(default=default, repr=False)


@dataclass(frozen=True, slots=True)
class IngressEndpoint:
    """What is written into the status of an Ingress; `published_service` wins."""

    hostname: str = ""
    ip: str = ""
    published_service: str = ""


@dataclass(frozen=True, slots=True)
class Kubernetes:
    endpoint: str = ""
    token: str = secret()
    cert_auth_file_path: str = ""
    namespaces: tuple[str, ...] = ()
    label_selector: str = option("", key="labelselector")
    ingress_class: str = ""
    disable_pass_host_headers: bool = False
    enable_pass_tls_cert: bool = option(False, key="enablePassTLSCert")
    throttle_duration: float = 0.0
    filename: str = ""  # a Go template: accepted, reported once, not rendered
    debug_log_generated_template: bool = False
    watch: bool = True
    constraints: object = None
    trace: object = None
    template_version: object = None
    ingress_endpoint: IngressEndpoint | None = None
    # Own options. `allow`: a white list with a bad range permits all, as 1.7 documents; `drop`: the
    # route is not created, as 1.7 does.
    whitelist_invalid: str = option("allow", choices=("allow", "drop"))
    route_order: str = option("length", choices=("length", "specificity"))


@dataclass(frozen=True, slots=True)
class WhiteList:
    source_range: tuple[str, ...] = ()
    use_x_forwarded_for: bool = option(False, key="useXForwardedFor")


@dataclass(frozen=True, slots=True)
class EntryPointRedirect:
    """`entry_point` excludes `regex` and `replacement`."""

    entry_point: str = ""
    regex: str = ""
    replacement: str = ""
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class Users:
    """Basic or digest credentials; the file's lines are merged over `users`."""

    users: tuple[str, ...] = secret(())
    users_file: str = ""
    remove_header: bool = False
    realm: str = ""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How fastproxy speaks TLS to a forward authentication server."""

    ca: str = ""
    ca_optional: bool = False
    cert: str = ""
    key: str = secret()
    insecure_skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class Forward:
    address: str = ""
    trust_forward_header: bool = False
    auth_response_headers: tuple[str, ...] = ()
    tls: ClientTls | None = None


@dataclass(frozen=True, slots=True)
class EntryPointAuth:
    """Precedence: basic, digest, forward."""

    header_field: str = ""
    basic: Users | None = None
    digest: Users | None = None
    forward: Forward | None = None


@dataclass(frozen=True, slots=True)
class ProxyProtocol:
    trusted_ips: tuple[str, ...] = option((), key="trustedIPs")
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class ForwardedHeaders:
    """Who may supply `X-Forwarded-*`. Without this table everybody may (1.7)."""

    trusted_ips: tuple[str, ...] = option((), key="trustedIPs")
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Each is a path or the PEM text itself."""

    cert_file: str = ""
    key_file: str = secret()


@dataclass(frozen=True, slots=True)
class ClientCa:
    files: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class EntryPointTls:
    certificates: tuple[CertificateFiles, ...] = ()
    default_certificate: CertificateFiles | None = None
    sni_strict: bool = False
    min_version: str = ""  # "VersionTLS10" .. "VersionTLS13"; anything else is ignored
    cipher_suites: tuple[str, ...] = ()
    client_ca: ClientCa | None = field(default=None, metadata={"key": "clientCA"})
    client_ca_files: tuple[str, ...] = option((), key="clientCAFiles")  # deprecated: mandatory
    fetched: tuple[CertificateFiles, ...] = hidden(())  # of [acme]; behind those of Secrets


@dataclass(frozen=True, slots=True)
class EntryPoint:
    address: str = ""
    compress: bool = False
    white_list: WhiteList | None = None
    whitelist_source_range: tuple[str, ...] = ()  # deprecated alias of white_list.source_range
    redirect: EntryPointRedirect | None = None
    auth: EntryPointAuth | None = None
    proxy_protocol: ProxyProtocol | None = None
    forwarded_headers: ForwardedHeaders = ForwardedHeaders(insecure=True)
    tls: EntryPointTls | None = None
    # Own option: the kernel hands over a connection only once it has sent something.
    defer_accept: bool = False
    # Nobody has written it down: `traefik` on :8080. Where that port is taken it is left out.
    implicit: bool = hidden(False)

    @property
    def host(self) -> str:
        """The address to listen on without brackets; "" means every address, IPv4 and IPv6."""
        return split_address(self.address)[0]

    @property
    def port(self) -> int:
        return split_address(self.address)[1]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message or connection may take (own table)."""

    request_line: int = option(8 * 1024, minimum=64)
    header_block: int = option(32 * 1024, minimum=256)
    header_lines: int = option(128, minimum=1)
    trailer_block: int = 8 * 1024
    trailer_lines: int = 32
    request_body: int = 0  # 0 = unlimited
    buffer: int = option(64 * 1024, minimum=4096)  # high-water mark of one direction
    unread_body: int = 64 * 1024  # drained after an early answer before the connection is closed
    head_timeout: float = 10.0
    tls_handshake_timeout: float = 10.0
    body_timeout: float = 60.0
    requests_per_connection: int = 0  # 0 = unlimited
    max_connections: int = option(10_000, minimum=1)  # client connections of one worker
    upstream_tls_handshake_timeout: float = 10.0
    websocket_handshake_timeout: float = 45.0
    upstream_idle_timeout: float = 90.0
    upstream_head_block: int = option(64 * 1024, minimum=256)
    continue_timeout: float = 1.0


@dataclass(frozen=True, slots=True)
class LifeCycle:
    request_accept_grace_timeout: float = 0.0
    grace_time_out: float = 10.0


@dataclass(frozen=True, slots=True)
class RespondingTimeouts:
    """0 = unlimited."""

    read_timeout: float = 0.0
    write_timeout: float = 0.0
    idle_timeout: float = 180.0


@dataclass(frozen=True, slots=True)
class ForwardingTimeouts:
    """0 = unlimited."""

    dial_timeout: float = 30.0
    response_header_timeout: float = 0.0


@dataclass(frozen=True, slots=True)
class Retry:
    """`attempts` 0 = the number of servers of the backend."""

    attempts: int = 0
    max_mem: object = None


@dataclass(frozen=True, slots=True)
class HealthCheck:
    interval: float = 30.0


@dataclass(frozen=True, slots=True)
class HostResolver:
    cname_flattening: bool = False
    resolv_conf: str = "/etc/resolv.conf"
    resolv_depth: int = 5


@dataclass(frozen=True, slots=True)
class TraefikLog:
    file_path: str = ""
    format: str = option("common", choices=("common", "json"), lenient=True)


@dataclass(frozen=True, slots=True)
class AccessLogFilters:
    status_codes: tuple[str, ...] = ()
    retry_attempts: bool = False
    min_duration: float = 0.0


@dataclass(frozen=True, slots=True)
class FieldHeaders:
    default_mode: str = option("keep", choices=("keep", "drop", "redact"))
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccessLogFields:
    default_mode: str = option("keep", choices=("keep", "drop"))
    names: Mapping[str, str] = field(default_factory=dict)
    headers: FieldHeaders = FieldHeaders()


@dataclass(frozen=True, slots=True)
class AccessLog:
    file_path: str = ""
    format: str = "common"  # or "json"; anything else switches the access log off (1.7)
    buffering_size: int = 0
    filters: AccessLogFilters | None = None
    fields: AccessLogFields = AccessLogFields()


@dataclass(frozen=True, slots=True)
class Prometheus:
    entry_point: str = "traefik"
    buckets: tuple[float, ...] = (0.1, 0.3, 1.2, 5.0)


@dataclass(frozen=True, slots=True)
class Datadog:
    address: str = "localhost:8125"
    push_interval: float = 10.0


@dataclass(frozen=True, slots=True)
class Statsd:
    address: str = "localhost:8125"
    push_interval: float = 10.0


@dataclass(frozen=True, slots=True)
class InfluxDb:
    address: str = "localhost:8089"
    protocol: str = option("udp", choices=("udp", "http"), lenient=True)
    push_interval: float = 10.0
    database: str = ""
    retention_policy: str = ""
    username: str = ""
    password: str = secret()


@dataclass(frozen=True, slots=True)
class Metrics:
    prometheus: Prometheus | None = None
    datadog: Datadog | None = None
    statsd: Statsd | None = None
    influxdb: InfluxDb | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    entry_point: str = "traefik"
    prefix: str = hidden("")  # of /ping and /ready, from `web.path`


@dataclass(frozen=True, slots=True)
class Statistics:
    recent_errors: int = 10


@dataclass(frozen=True, slots=True)
class Api:
    entry_point: str = "traefik"
    dashboard: bool = True
    debug: bool = False
    statistics: Statistics = Statistics()
    prefix: str = hidden("")  # of its paths, from `web.path`


@dataclass(frozen=True, slots=True)
class Web:
    """The deprecated way to write entry point `traefik` with [api], [ping] and [metrics]."""

    address: str = ":8080"
    path: str = ""
    cert_file: str = ""
    key_file: str = secret()
    auth: EntryPointAuth | None = None
    statistics: Statistics = Statistics()
    metrics: Metrics | None = None
    debug: bool = False
    read_only: object = None


@dataclass(frozen=True, slots=True)
class AcmeCertificate:
    """One certificate of an `acme.json`: what it is for, and until when (`2027-01-31`)."""

    names: tuple[str, ...]
    until: str
    expired: bool


@dataclass(frozen=True, slots=True)
class Acme:
    """Only where the certificates are that Traefik 1.7 has fetched; none is fetched here."""

    storage: str = ""
    storage_file: str = ""  # deprecated alias of `storage`
    entry_point: str = ""
    email: object = None
    on_demand: object = None
    on_host_rule: object = None
    ca_server: object = None
    key_type: object = None
    dns_challenge: object = None
    http_challenge: object = None
    tls_challenge: object = None
    dns_provider: object = None
    delay_dont_check_dns: object = option(None, key="delayDontCheckDNS")
    domains: object = None
    acme_logging: object = None
    override_certificates: object = None
    tls_config: object = None
    certificates: tuple[AcmeCertificate, ...] = hidden(())


LOG_LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "FATAL", "PANIC")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the file can say, with the implicit entry points and aliases resolved."""

    entry_points: Mapping[str, EntryPoint] = field(default_factory=dict)
    default_entry_points: tuple[str, ...] = ("http",)
    kubernetes: Kubernetes | None = None
    providers_throttle_duration: float = 2.0
    max_idle_conns_per_host: int = 200
    insecure_skip_verify: bool = False
    root_cas: tuple[str, ...] = option((), key="rootCAs")
    allow_min_weight_zero: bool = False
    keep_trailing_slash: bool = False
    # "": the default, or DEBUG with `debug`
    log_level: str = option(
        "", choices=("", *LOG_LEVELS), aliases={"WARNING": "WARN"}, lenient=True
    )
    debug: bool = False
    traefik_log: TraefikLog = TraefikLog()
    access_log: AccessLog | None = None
    host_resolver: HostResolver | None = None
    life_cycle: LifeCycle = LifeCycle()
    responding_timeouts: RespondingTimeouts = RespondingTimeouts()
    forwarding_timeouts: ForwardingTimeouts = ForwardingTimeouts()
    retry: Retry | None = None
    healthcheck: HealthCheck | None = None
    ping: Ping | None = None
    api: Api | None = None
    metrics: Metrics | None = None
    web: Web | None = None  # deprecated; `settings_web` turns it into the three above
    acme: Acme | None = None
    limits: Limits = Limits()
    workers: int = 0  # own option; 0 = one for every processor this process may use
    # Deprecated aliases: non-zero ones win over the new option, then stand here as 0 or "".
    grace_time_out: float = 0.0
    idle_timeout: float = 0.0
    access_logs_file: str = ""
    traefik_logs_file: str = ""
    check_new_version: object = None
    send_anonymous_usage: object = None
    constraints: object = None


# Of Go's net/port.go, for images without /etc/services.
PORTS = {
    **{"domain": 53, "ftp": 21, "ftps": 990, "gopher": 70, "http": 80, "https": 443, "imap2": 143},
    **{"imap3": 220, "imaps": 993, "pop3": 110, "pop3s": 995, "smtp": 25, "ssh": 22, "telnet": 23},
}


def split_address(address: str) -> tuple[str, int]:
    """Return host without brackets and port of `host:port`, `:port` or `[::1]:port`.

    The port may be a name (`:http`). Raises ValueError with a sentence.
    """
    host, colon, port = address.rpartition(":")
    number = port_number(port)
    if not colon or number is None:
        known = "" if not colon or port.isdigit() else f" and {port!r} no name of a service"
        raise ValueError(
            f'{address!r} is not an address{known}; write for example ":80" or "10.0.0.1:80"'
        )
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], number
    if ":" in host or "[" in host or "]" in host:
        raise ValueError(f'the IPv6 address in {address!r} needs brackets, as in "[::1]:80"')
    return host, number


def port_number(text: str) -> int | None:
    """Return the port of a number or name, as Go's `net.LookupPort` does; None: there is none.

    Names are those of /etc/services, and those which Go knows where that file is missing.
    """
    if text.isascii() and text.isdigit():
        return int(text) if int(text) <= 65535 else None
    try:
        return socket.getservbyname(text.lower(), "tcp")
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return PORTS.get(text.lower())
