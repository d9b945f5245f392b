"""Slow twins of the engine's evaluators: of an expression, and of a breaker's program."""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Mapping
from typing import Any

from fastproxy.expression import COMPARISONS, MAX_DEPTH, Call, Either, Expression, Literal

OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

NAMES = {3: "NetworkErrorRatio", 4: "ResponseCodeRatio", 5: "LatencyAtQuantileMS"}


def evaluate(expression: Expression, value_of: Callable[[str, tuple[Literal, ...]], Any]) -> bool:
    """The truth of an expression; `value_of(function, arguments)` gives the functions' values."""
    if isinstance(expression, Call):
        value = value_of(expression.function, expression.arguments)
        if not expression.comparison:
            return bool(value)
        return OPERATORS[expression.comparison](value, expression.literal)
    left = evaluate(expression.left, value_of)
    if left is isinstance(expression, Either):
        return left
    return evaluate(expression.right, value_of)


def run(program: bytes, value_of: Callable[[str, tuple[Any, ...]], Any]) -> bool:
    stack: list[bool] = []
    for start in range(0, len(program), 40):
        code, comparison, a, b, c, d, quantile, real = struct.unpack_from("<II4idd", program, start)
        (whole,) = struct.unpack_from("<q", program, start + 32)
        if code in (1, 2):
            right, left = stack.pop(), stack.pop()
            stack.append((left and right) if code == 1 else (left or right))
            continue
        arguments: tuple[Any, ...] = {3: (), 4: (a, b, c, d), 5: (quantile,)}[code]
        literal = whole if code == 5 else real
        value = value_of(NAMES[code], arguments)
        stack.append(OPERATORS[COMPARISONS[comparison]](value, literal))
        assert len(stack) <= MAX_DEPTH
    (result,) = stack
    return result
