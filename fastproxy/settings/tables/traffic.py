"""How long and how much: limits, timeouts, attempts, names."""

from __future__ import annotations

from dataclasses import dataclass

from fastproxy.settings.declare import ignored, option


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message or connection may take (own table)."""

    request_line: int = option(8 * 1024, "bytes; more is answered 414", minimum=64)
    header_block: int = option(
        32 * 1024,
        "bytes of request line and headers; more is answered 431",
        minimum=256,
    )
    header_lines: int = option(128, "more is answered 431", minimum=1)
    trailer_block: int = option(8 * 1024, "bytes, at most 8192; more is answered 400")
    trailer_lines: int = option(32, "more is answered 400")
    request_body: int = option(0, "bytes; more is answered 413; 0 = unlimited")
    buffer: int = option(
        64 * 1024,
        "bytes waiting in one direction of a request before reading stops",
        minimum=4096,
    )
    unread_body: int = option(
        64 * 1024,
        "bytes read off after an early answer before the connection is closed",
    )
    head_timeout: float = option(10.0, "time for a complete request head (408)")
    tls_handshake_timeout: float = option(10.0, "time for a TLS handshake with a client")
    body_timeout: float = option(60.0, "longest pause inside a request body (408)")
    requests_per_connection: int = option(0, "0 = unlimited")
    max_connections: int = option(
        10_000,
        "client connections of one worker, as far as there are descriptors for them and for as "
        "many connections to endpoints (8,192 at most); beyond them the longest idle one is "
        "closed for a new one, and accepting pauses while none is idle (`/ping` and `/ready` "
        "are answered all the same)",
        minimum=1,
    )
    upstream_tls_handshake_timeout: float = option(
        10.0,
        "time for a TLS handshake with an endpoint (504)",
    )
    websocket_handshake_timeout: float = option(
        45.0,
        "time for an endpoint's answer to a WebSocket handshake (504)",
    )
    upstream_idle_timeout: float = option(
        90.0,
        "how long an unused connection to an endpoint is kept",
    )
    upstream_head_block: int = option(
        64 * 1024,
        "bytes of a response head; more is answered 502",
        minimum=256,
    )
    continue_timeout: float = option(1.0, "how long to wait for an endpoint's `100 Continue`")


@dataclass(frozen=True, slots=True)
class LifeCycle:
    request_accept_grace_timeout: float = option(
        0.0,
        "keep accepting that long, while `/ping` and `/ready` fail",
    )
    grace_time_out: float = option(
        10.0,
        "then wait that long for requests and upgraded connections to end",
    )


@dataclass(frozen=True, slots=True)
class RespondingTimeouts:
    """0 = unlimited."""

    read_timeout: float = option(0.0, "time for a whole request")
    write_timeout: float = option(
        0.0,
        "time from the end of the request head to the end of the response",
    )
    idle_timeout: float = option(180.0, "how long an unused connection of a client is kept")


@dataclass(frozen=True, slots=True)
class ForwardingTimeouts:
    """0 = unlimited."""

    dial_timeout: float = option(30.0, "time to connect (504)")
    response_header_timeout: float = option(
        0.0,
        "time for the response head once the request is written (504)",
    )


@dataclass(frozen=True, slots=True)
class Retry:
    """`attempts` 0 = the number of servers of the backend."""

    attempts: int = option(0, "attempts in all; 0 = as many as the backend has endpoints")
    max_mem: object = ignored()


@dataclass(frozen=True, slots=True)
class HealthCheck:
    interval: float = option(30.0, "accepted, without effect")


@dataclass(frozen=True, slots=True)
class HostResolver:
    cname_flattening: bool = option(
        False,
        "let `Host` rules also match the end of the CNAME chain of a host",
    )
    resolv_conf: str = option(
        "/etc/resolv.conf",
        "where the name servers stand, also for ExternalName Services",
    )
    resolv_depth: int = option(5, "how many CNAMEs of a chain are followed")
