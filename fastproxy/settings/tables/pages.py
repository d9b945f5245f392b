"""What fastproxy itself answers or sends: `[ping]`, `[api]`, `[metrics]`, and the older `[web]`."""

from __future__ import annotations

from dataclasses import dataclass

from fastproxy.settings.declare import hidden, option
from fastproxy.settings.tables.entry_point import EntryPointAuth


@dataclass(frozen=True, slots=True)
class Prometheus:
    entry_point: str = option(
        "traefik",
        "entry point that answers; `traefik` is created on `:8080` when it does not exist",
    )
    buckets: tuple[float, ...] = option(
        (0.1, 0.3, 1.2, 5.0),
        "upper bounds of the histograms in seconds, rising; at most 24",
    )


@dataclass(frozen=True, slots=True)
class Datadog:
    address: str = option("localhost:8125", "host and port to push to")
    push_interval: float = option(10.0, "time between two pushes")


@dataclass(frozen=True, slots=True)
class Statsd:
    address: str = option("localhost:8125", "host and port to push to")
    push_interval: float = option(10.0, "time between two pushes")


@dataclass(frozen=True, slots=True)
class InfluxDb:
    address: str = option("localhost:8089", "host and port to push to")
    protocol: str = option("udp", "`udp` or `http`", choices=("udp", "http"), lenient=True)
    push_interval: float = option(10.0, "time between two pushes")
    database: str = option("", "only for `http`")
    retention_policy: str = option("", "only for `http`")
    username: str = option("", "only for `http`")
    password: str = option("", "only for `http`", secret=True)


@dataclass(frozen=True, slots=True)
class Metrics:
    prometheus: Prometheus | None = option(None, "`GET /metrics`")
    datadog: Datadog | None = option(None, "push to a Datadog agent")
    statsd: Statsd | None = option(None, "push to a StatsD server")
    influxdb: InfluxDb | None = option(None, "push to InfluxDB")


@dataclass(frozen=True, slots=True)
class Ping:
    entry_point: str = option(
        "traefik",
        "entry point that answers; `traefik` is created on `:8080` when it does not exist",
    )
    prefix: str = hidden("")  # of /ping and /ready, from `web.path`


@dataclass(frozen=True, slots=True)
class Statistics:
    recent_errors: int = option(10, "how many errors `/health` lists")


@dataclass(frozen=True, slots=True)
class Api:
    entry_point: str = option(
        "traefik",
        "entry point that answers; `traefik` is created on `:8080` when it does not exist",
    )
    dashboard: bool = option(True, "serve the dashboard")
    debug: bool = option(False, "serve debugging pages")
    statistics: Statistics = option(Statistics(), "figures of `/health`")
    prefix: str = hidden("")  # of its paths, from `web.path`


@dataclass(frozen=True, slots=True)
class Web:
    """The deprecated way to write entry point `traefik` with [api], [ping] and [metrics]."""

    address: str = option(":8080", "of entry point `traefik`")
    path: str = option(
        "",
        "what stands before `/ping`, `/ready` and the paths of the API; without it they are "
        "not found",
    )
    cert_file: str = option("", "PEM file or text; with it the entry point speaks TLS")
    key_file: str = option("", "PEM file or text", secret=True)
    auth: EntryPointAuth | None = option(
        None,
        "as `[entryPoints.NAME.auth]`; `/ping` and `/ready` stay open",
    )
    statistics: Statistics = option(Statistics(), "as `[api.statistics]`")
    metrics: Metrics | None = option(None, "as `[metrics]`")
    debug: bool = option(False, "as `debug`")
    read_only: object = option(None, "accepted, without effect: nothing can be written")
