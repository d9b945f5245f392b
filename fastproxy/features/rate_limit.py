"""Limit the requests per time of each client (or host, or header value).

Token buckets per key and period; a request that finds one empty gets 429 with `Retry-After` and
`X-Retry-In`. The limit holds for the whole proxy, per route and entry point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastproxy.annotation_values import (
    mapping,
    read_field,
    scalar,
    shown,
    yaml_integer,
    yaml_mapping,
)
from fastproxy.engine.operations.writer import Extractor, Operation
from fastproxy.engine.operations.writer import RateLimit as RateLimitOperation
from fastproxy.feature import (
    Annotation,
    BuildContext,
    Feature,
    Invalid,
    Notes,
    OnInvalid,
    Refs,
    Scope,
)
from fastproxy.limits import extractor
from fastproxy.model import durations, findings
from fastproxy.model.configuration import Config

MAX_BUCKETS = 32  # as many as the engine has room for


@dataclass(frozen=True, slots=True)
class Rate:
    period: int  # nanoseconds
    average: int
    burst: int


@dataclass(frozen=True, slots=True)
class Text:
    """The annotation with its types checked, but not its values."""

    function: str = ""
    rates: tuple[tuple[str, str, int, int], ...] = ()  # name, period, average, burst


def rates(value: str) -> Text:
    fields = yaml_mapping(value)
    found = []
    rateset: Mapping[str, Any] = read_field(fields, "rateset", mapping, {})
    for name, node in sorted(rateset.items()):
        rate = mapping(node, name)
        period = read_field(rate, "period", scalar, "")
        if period and period.lstrip("+-").isdigit():
            period = period.replace("_", "")  # FIX 34: a bare number means seconds
        average = read_field(rate, "average", yaml_integer, 0)
        found.append((name, period, average, read_field(rate, "burst", yaml_integer, 0)))
    return Text(read_field(fields, "extractorfunc", scalar, ""), tuple(found))


RATE_LIMIT = Annotation(
    name="rate-limit",
    parse=rates,
    default=Text(),
    doc="YAML: `extractorfunc` (`client.ip`, `request.host` or `request.header.NAME`) and "
    "`rateset` with `period`, `average` and `burst`, all above 0, for at most 32 different "
    "periods.",
    example=(
        "extractorfunc: client.ip\n"
        "rateset:\n"
        "  second:\n"
        "    period: 1s\n"
        "    average: 20\n"
        "    burst: 40\n"
    ),
    on_invalid=OnInvalid.OFF,
    keys_inside={
        "extractorfunc": None,
        "rateset": {"*": {"period": None, "average": None, "burst": None}},
    },
    public=True,
    unusable=OnInvalid.DROP,
)


@dataclass(frozen=True, slots=True)
class RateLimit(Config):
    extractor: Extractor
    header: str
    rates: tuple[Rate, ...]  # ascending periods, all different


def read(notes: Notes, refs: Refs) -> RateLimit | None:
    text = notes.get(RATE_LIMIT)
    if not text.rates:
        if notes.has(RATE_LIMIT):
            notes.warn(
                RATE_LIMIT,
                "there is no `rateset` with a rate; write one, with period, average and burst",
                "Nothing is limited.",
                findings.ANNOTATION_UNPROTECTED,
            )
        return None
    try:
        function, header = extractor(text.function)
        by_period = {rate.period: rate for rate in map(checked, text.rates)}  # the last name wins
        if len(by_period) > MAX_BUCKETS:
            raise ValueError(
                f"has {len(by_period)} different periods; at most {MAX_BUCKETS} are possible"
            )
    except ValueError as problem:
        raise Invalid(RATE_LIMIT.name, str(problem), OnInvalid.DROP) from None
    return RateLimit(function, header, tuple(by_period[period] for period in sorted(by_period)))


def checked(row: tuple[str, str, int, int]) -> Rate:
    name, text, average, burst = row
    try:
        period = durations.parse(text)
    except ValueError:
        period = 0
    for what, value, given in (
        ("period", period, text),
        ("average", average, str(average)),
        ("burst", burst, str(burst)),
    ):
        if value <= 0:
            raise ValueError(f"{what} of rate {shown(name)} is {shown(given)}; it must be above 0")
    return Rate(period, average, burst)


def build(config: RateLimit, context: BuildContext) -> Sequence[Operation]:
    longest = max(rate.period for rate in config.rates)
    return [
        RateLimitOperation(
            slot=context.counters("rate", 0),
            extractor=config.extractor,
            header=config.header.encode(),
            buckets=tuple((rate.period // rate.average, rate.burst) for rate in config.rates),
            lifetime=10 * (longest // durations.SECOND) + 1,
        )
    ]


FEATURE = Feature(
    name="Rate limit",
    scope=Scope.INGRESS,
    annotations=(RATE_LIMIT,),
    read=read,
    on_invalid=OnInvalid.DROP,
    config=RateLimit,
    build=build,
    doc=__doc__ or "",
)
