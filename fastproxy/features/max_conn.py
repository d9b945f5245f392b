"""Limit the requests in progress per client (or host, or header value).

Both annotations are needed. A request above the limit gets 429; a WebSocket counts until it ends.
The limit holds for the whole proxy, per route and entry point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastproxy.annotation_values import as_written, integer
from fastproxy.engine.operations.writer import Extractor, MaxConnections, Operation
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
from fastproxy.model import findings
from fastproxy.model.configuration import Config

AMOUNT = Annotation(
    name="max-conn-amount",
    parse=integer,
    default=-1,
    doc="How many requests may be in progress per key; 0 or less: no limit.",
    example="50",
    public=True,
)
EXTRACTOR = as_written(
    "max-conn-extractor-func",
    "The key: `client.ip`, `request.host` or `request.header.NAME`.",
    "client.ip",
    on_invalid=OnInvalid.DROP,
    public=True,
)


@dataclass(frozen=True, slots=True)
class MaxConn(Config):
    amount: int
    extractor: Extractor
    header: str = ""


def read(notes: Notes, refs: Refs) -> MaxConn | None:
    amount, function = notes.get(AMOUNT), notes.get(EXTRACTOR)
    if amount <= 0 or not function:
        there, missing = (AMOUNT, EXTRACTOR) if amount > 0 else (EXTRACTOR, AMOUNT)
        if amount > 0 or (function and not notes.has(AMOUNT)):
            notes.warn(
                there,
                f"needs {missing.name} beside it; write for example {missing.example}",
                "Nothing is limited.",
                findings.ANNOTATION_UNPROTECTED,
            )
        return None
    try:
        return MaxConn(amount, *extractor(function))
    except ValueError as problem:
        raise Invalid(EXTRACTOR.name, str(problem), OnInvalid.DROP) from None


def build(config: MaxConn, context: BuildContext) -> Sequence[Operation]:
    slot = context.counters("connections", 0)
    return [MaxConnections(slot, config.amount, config.extractor, config.header.encode())]


FEATURE = Feature(
    name="Maximum connections",
    scope=Scope.SERVICE,
    annotations=(AMOUNT, EXTRACTOR),
    read=read,
    on_invalid=OnInvalid.DROP,
    config=MaxConn,
    build=build,
    doc=__doc__ or "",
)
