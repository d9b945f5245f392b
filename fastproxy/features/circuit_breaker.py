"""Answer 503 for a while when a backend fails too often or is too slow.

The expression is evaluated on the answers of the last seconds, seen by the whole proxy, per route
and entry point (`features.md` 3.19).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastproxy.engine.operations.writer import CircuitBreaker as CircuitBreakerOperation
from fastproxy.engine.operations.writer import Operation
from fastproxy.expression import BREAKER, Expression, parse, program
from fastproxy.feature import Annotation, BuildContext, Feature, Notes, OnInvalid, Refs, Scope
from fastproxy.model.configuration import Config


def expression(value: str) -> Expression | None:
    return parse(value, BREAKER) if value else None


EXPRESSION: Annotation[Expression | None] = Annotation(
    name="circuit-breaker-expression",
    parse=expression,
    default=None,
    doc="When true, requests get 503 for 10 s: `NetworkErrorRatio()`, "
    "`ResponseCodeRatio(from, to, of, until)` and `LatencyAtQuantileMS(q)`, compared with numbers, "
    "joined by `&&`, `||` and parentheses.",
    example="NetworkErrorRatio() > 0.30 || LatencyAtQuantileMS(95.0) > 800",
    aliases=("traefik.backend.circuitbreaker",),
    on_invalid=OnInvalid.DROP,
    public=True,
)


@dataclass(frozen=True, slots=True)
class CircuitBreaker(Config):
    expression: Expression


def read(notes: Notes, refs: Refs) -> CircuitBreaker | None:
    found = notes.get(EXPRESSION)
    return None if found is None else CircuitBreaker(found)


def build(config: CircuitBreaker, context: BuildContext) -> Sequence[Operation]:
    slot = context.counters("breaker", 0)
    return [CircuitBreakerOperation(slot, program(config.expression))]


FEATURE = Feature(
    name="Circuit breaker",
    scope=Scope.SERVICE,
    annotations=(EXPRESSION,),
    read=read,
    on_invalid=OnInvalid.DROP,
    config=CircuitBreaker,
    build=build,
    doc=__doc__ or "",
)
