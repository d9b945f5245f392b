"""The options of `[traefikLog]` and `[accessLog]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastproxy.settings.declare import option


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
    min_duration: float = option(0.0, "keep what took at least that long")


@dataclass(frozen=True, slots=True)
class FieldHeaders:
    default_mode: str = option(
        "keep",
        "`keep`, `drop` or `redact`",
        choices=("keep", "drop", "redact"),
    )
    names: Mapping[str, str] = option({}, "header = `keep`, `drop` or `redact`")


@dataclass(frozen=True, slots=True)
class AccessLogFields:
    default_mode: str = option("keep", "`keep` or `drop`", choices=("keep", "drop"))
    names: Mapping[str, str] = option({}, "field = `keep` or `drop`")
    headers: FieldHeaders = option(FieldHeaders(), "headers in JSON lines")


@dataclass(frozen=True, slots=True)
class AccessLog:
    file_path: str = option("", "empty = standard output; SIGUSR1 opens it anew")
    format: str = option("common", "`common` or `json`; anything else switches it off")
    buffering_size: int = option(0, "lines that may wait to be written; 0 = none")
    filters: AccessLogFilters | None = option(
        None,
        "keep a line when one of these holds; none given = keep all",
    )
    fields: AccessLogFields = option(AccessLogFields(), "what stands in a JSON line")
