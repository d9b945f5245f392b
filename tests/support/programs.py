"""The slow twin of the engine's evaluator: runs a circuit breaker's postfix program."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from fastproxy.expression import COMPARISONS, MAX_DEPTH, OPERATORS

NAMES = {3: "NetworkErrorRatio", 4: "ResponseCodeRatio", 5: "LatencyAtQuantileMS"}


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
