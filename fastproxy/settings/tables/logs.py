"""The options of `[traefikLog]` and `[accessLog]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastproxy.settings.declare import option

LOG_FORMATS = ("common", "json", "genericCLF")
# Field of a line of the access log -> whether Traefik 1.7 has it: then it is there by default. In
# the order of a JSON line, which `engine/observe/program.pxd` follows.
LOG_FIELDS: Mapping[str, bool] = {
    "BackendAddr": True,
    "BackendName": True,
    "BackendURL": True,
    "BytesReceived": False,
    "BytesSent": False,
    "ClientAddr": True,
    "ClientHost": True,
    "ClientPort": True,
    "ClientUsername": True,
    "DownstreamContentSize": True,
    "DownstreamStatus": True,
    "DownstreamStatusLine": True,
    "Duration": True,
    "EntryPointName": False,
    "Flags": False,
    "FrontendName": True,
    "Generation": False,
    "GzipRatio": True,
    "OriginContentSize": True,
    "OriginDuration": True,
    "OriginStatus": True,
    "OriginStatusLine": True,
    "Overhead": True,
    "RequestAddr": True,
    "RequestContentSize": True,
    "RequestCount": True,
    "RequestHost": True,
    "RequestLine": True,
    "RequestMethod": True,
    "RequestPath": True,
    "RequestPort": True,
    "RequestProtocol": True,
    "RequestScheme": False,
    "RetryAttempts": True,
    "StartLocal": True,
    "StartUTC": True,
    "TimeBody": False,
    "TimeConnect": False,
    "TimeFirstByte": False,
    "TimeHead": False,
    "TimeResponse": False,
    "TimeTLS": False,
    "TimeWait": False,
    "UpstreamReused": False,
    "Worker": False,
}


@dataclass(frozen=True, slots=True)
class TraefikLog:
    file_path: str = option("", "empty = standard output; SIGUSR1 opens it anew")
    format: str = option(
        "common",
        "`common` or `json`; anything else is `common`",
        choices=("common", "json"),
        lenient=True,
    )


@dataclass(frozen=True, slots=True)
class AccessLogFilters:
    status_codes: tuple[str, ...] = option((), '`"200"` or `"500-599"`')
    retry_attempts: bool = option(False, "keep what was retried")
    min_duration: float = option(0.0, "keep what took longer than that")


@dataclass(frozen=True, slots=True)
class FieldHeaders:
    default_mode: str = option(
        "keep",
        "`keep`, `drop` or `redact`",
        choices=("keep", "drop", "redact"),
    )
    names: Mapping[str, str] = option({}, "header = `keep`, `drop` or `redact`")


@dataclass(frozen=True, slots=True)
class QueryParameters:
    default_mode: str = option("keep", "`keep`; `drop`: paths end at `?`", choices=("keep", "drop"))


@dataclass(frozen=True, slots=True)
class AccessLogFields:
    default_mode: str = option("keep", "`keep` or `drop`", choices=("keep", "drop"))
    names: Mapping[str, str] = option({}, "field = `keep` or `drop`")
    extended: str = option(
        "drop",
        "`keep`: also the fields that Traefik 1.7 does not know (JSON lines only)",
        choices=("keep", "drop"),
    )
    headers: FieldHeaders = option(FieldHeaders(), "headers of request and response")
    query_parameters: QueryParameters = option(QueryParameters(), "what is behind `?`")


@dataclass(frozen=True, slots=True)
class AccessLog:
    file_path: str = option("", "empty = standard output; SIGUSR1 opens it anew")
    format: str = option(
        "common", "`common`, `json` or `genericCLF`; anything else switches it off"
    )
    buffering_size: int = option(
        0, "lines that may wait 200 ms to be written together; 0 = they are written within 5 ms"
    )
    buffer_bytes: int = option(
        1 << 20,
        "bytes of one worker's lines that may wait; what is more is dropped and counted",
        minimum=65536,
    )
    invalid: bool = option(False, "also what was refused before it was a request (400, 408, ...)")
    filters: AccessLogFilters | None = option(
        None,
        "keep a line when one of these holds; none given = keep all",
    )
    fields: AccessLogFields = option(AccessLogFields(), "what stands in a JSON line")
