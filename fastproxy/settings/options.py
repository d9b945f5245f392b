"""The static configuration as frozen values: Traefik 1.7's options and fastproxy's own.

`file.py` reads a file into these values, `check.py` says which combinations are impossible. The
tables below the top of the file stand in `tables/`, and can all be taken from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastproxy.settings.declare import ignored, option
from fastproxy.settings.tables.acme import (
    Acme,
    AcmeCertificate,
)
from fastproxy.settings.tables.entry_point import (
    CertificateFiles,
    ClientCa,
    ClientTls,
    EntryPoint,
    EntryPointAuth,
    EntryPointRedirect,
    EntryPointTls,
    Forward,
    ForwardedHeaders,
    ProxyProtocol,
    Users,
    WhiteList,
)
from fastproxy.settings.tables.kubernetes import (
    IngressEndpoint,
    Kubernetes,
)
from fastproxy.settings.tables.logs import (
    AccessLog,
    AccessLogFields,
    AccessLogFilters,
    FieldHeaders,
    TraefikLog,
)
from fastproxy.settings.tables.pages import (
    Api,
    Datadog,
    InfluxDb,
    Metrics,
    Ping,
    Prometheus,
    Statistics,
    Statsd,
    Web,
)
from fastproxy.settings.tables.traffic import (
    ForwardingTimeouts,
    HealthCheck,
    HostResolver,
    LifeCycle,
    Limits,
    RespondingTimeouts,
    Retry,
)

__all__ = [
    "LOG_LEVELS",
    "AccessLog",
    "AccessLogFields",
    "AccessLogFilters",
    "Acme",
    "AcmeCertificate",
    "Api",
    "CertificateFiles",
    "ClientCa",
    "ClientTls",
    "Datadog",
    "EntryPoint",
    "EntryPointAuth",
    "EntryPointRedirect",
    "EntryPointTls",
    "FieldHeaders",
    "Forward",
    "ForwardedHeaders",
    "ForwardingTimeouts",
    "HealthCheck",
    "HostResolver",
    "InfluxDb",
    "IngressEndpoint",
    "Kubernetes",
    "LifeCycle",
    "Limits",
    "Metrics",
    "Ping",
    "Prometheus",
    "ProxyProtocol",
    "RespondingTimeouts",
    "Retry",
    "Settings",
    "Statistics",
    "Statsd",
    "TraefikLog",
    "Users",
    "Web",
    "WhiteList",
]

LOG_LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "FATAL", "PANIC")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the file can say, with the implicit entry points and aliases resolved."""

    entry_points: Mapping[str, EntryPoint] = option({}, "the sockets; without any: `http` on `:80`")
    default_entry_points: tuple[str, ...] = option(
        ("http",),
        "entry points of routes and certificates that name none",
    )
    kubernetes: Kubernetes | None = option(
        None,
        "read Ingresses from an API server; an empty table is enough in a cluster",
    )
    providers_throttle_duration: float = option(
        2.0,
        "least time between two published configurations",
    )
    max_idle_conns_per_host: int = option(200, "idle connections kept for each endpoint and worker")
    insecure_skip_verify: bool = option(False, "do not verify the certificates of https endpoints")
    root_cas: tuple[str, ...] = option(
        (),
        "PEM files or texts that replace the system's roots for https endpoints and forward "
        "authentication",
        key="rootCAs",
    )
    allow_min_weight_zero: bool = option(
        False,
        "false: weight 0 counts as 1; true: such an endpoint gets no new requests",
    )
    keep_trailing_slash: bool = option(
        False,
        "do not redirect `Path` rules to the form with or without a last slash",
    )
    # "": the default, or DEBUG with `debug`
    log_level: str = option(
        "",
        "`INFO` when empty (Traefik 1.7: `ERROR`), `DEBUG` with `debug`; an unknown one is a "
        "warning",
        choices=("", *LOG_LEVELS),
        aliases={"WARNING": "WARN"},
        lenient=True,
    )
    debug: bool = option(False, 'shorthand for `logLevel = "DEBUG"`')
    traefik_log: TraefikLog = option(TraefikLog(), "fastproxy's own log")
    access_log: AccessLog | None = option(
        None,
        "one line for each request; no effect in this version yet",
    )
    host_resolver: HostResolver | None = option(None, "how names are looked up")
    life_cycle: LifeCycle = option(LifeCycle(), "what happens on SIGTERM")
    responding_timeouts: RespondingTimeouts = option(
        RespondingTimeouts(),
        "client side; 0 = unlimited",
    )
    forwarding_timeouts: ForwardingTimeouts = option(
        ForwardingTimeouts(),
        "endpoint side; 0 = unlimited",
    )
    retry: Retry | None = option(None, "try other endpoints; without the table there is no retry")
    healthcheck: HealthCheck | None = option(
        None,
        "accepted; no annotation switches a health check on",
    )
    ping: Ping | None = option(
        None,
        "`/ping` (200, or 503 while stopping) and `/ready` (200 once the first complete "
        "configuration is live in every worker); on by default unless port 8080 belongs to "
        "another entry point",
    )
    api: Api | None = option(None, "the JSON API and the dashboard; no effect in this version yet")
    metrics: Metrics | None = option(None, "exporters of metrics")
    web: Web | None = option(
        None,
        "deprecated: entry point `traefik` with API, ping and metrics; ignored beside `api`, "
        "`ping`, `metrics` or `rest`",
    )
    acme: Acme | None = option(
        None,
        "no certificate is fetched; those of the `acme.json` it names are served, and it is "
        "refused without",
    )
    limits: Limits = option(Limits(), "own table: what one message or connection may take")
    workers: int = option(
        0,
        "own option: worker processes; 0 = one for each processor this process may use "
        "(affinity and control-group quota)",
    )
    # Deprecated aliases: non-zero ones win over the new option, then stand here as 0 or "".
    grace_time_out: float = option(0.0, "deprecated, wins over `lifeCycle.graceTimeOut` when not 0")
    idle_timeout: float = option(
        0.0,
        "deprecated, wins over `respondingTimeouts.idleTimeout` when not 0",
    )
    access_logs_file: str = option("", "deprecated form of `accessLog.filePath`")
    traefik_logs_file: str = option("", "deprecated form of `traefikLog.filePath`")
    check_new_version: object = ignored()
    send_anonymous_usage: object = ignored()
    constraints: object = ignored()
