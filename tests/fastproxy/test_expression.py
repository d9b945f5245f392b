"""Expressions of circuit breakers and retries: grammar, types, evaluation, postfix form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.expression import (
    BREAKER,
    MAX_INSTRUCTIONS,
    RETRY,
    Both,
    Call,
    Either,
    depth,
    parse,
    program,
)
from tests.support.programs import OPERATORS, evaluate, run

ERRORS = Call("NetworkErrorRatio", (), ">", 0.3)
SLOW = Call("LatencyAtQuantileMS", (95.0,), ">", 800)
CODES = Call("ResponseCodeRatio", (500, 600, 0, 600), ">=", 0.25)

PARSED = [
    ("NetworkErrorRatio() > 0.30", BREAKER, ERRORS),
    (" NetworkErrorRatio ( )>.3 ", BREAKER, ERRORS),
    ("NetworkErrorRatio() > 3e-1", BREAKER, ERRORS),
    ("LatencyAtQuantileMS(95.) > 800", BREAKER, SLOW),
    ("ResponseCodeRatio(500, 600, 0, 600) >= 0.25", BREAKER, CODES),
    (
        "NetworkErrorRatio() > 0.30 || LatencyAtQuantileMS(95.0) > 800",
        BREAKER,
        Either(ERRORS, SLOW),
    ),
    (
        "NetworkErrorRatio()>0.3||LatencyAtQuantileMS(95.0)>800"
        "&&ResponseCodeRatio(500,600,0,600)>=0.25",
        BREAKER,
        Either(ERRORS, Both(SLOW, CODES)),
    ),
    (
        "(NetworkErrorRatio()>0.3||LatencyAtQuantileMS(95.0)>800)"
        "&&ResponseCodeRatio(500,600,0,600)>=0.25",
        BREAKER,
        Both(Either(ERRORS, SLOW), CODES),
    ),
    ("IsNetworkError()", RETRY, Call("IsNetworkError")),
    (
        "IsNetworkError() && Attempts() <= 2",
        RETRY,
        Both(Call("IsNetworkError"), Call("Attempts", (), "<=", 2)),
    ),
    ('RequestMethod() == "GET"', RETRY, Call("RequestMethod", (), "==", "GET")),
    ("ResponseCode() != 503", RETRY, Call("ResponseCode", (), "!=", 503)),
]


@pytest.mark.parametrize(("text", "functions", "expected"), PARSED)
def test_expressions_are_read(text, functions, expected):
    assert parse(text, functions) == expected


REFUSED = [
    ("", BREAKER, "NetworkErrorRatio()"),
    ("NetworkErrorRatio()", BREAKER, "compare NetworkErrorRatio()"),
    ("NetworkErrorRatio() > 1", BREAKER, "a decimal"),
    ("NetworkErrorRatio() > -0.5", BREAKER, "cannot read"),
    ("NetworkErrorRatio > 0.5", BREAKER, "`(`"),
    ("NetworkErrorRatio(1) > 0.5", BREAKER, "`)`"),
    ("0.5 < NetworkErrorRatio()", BREAKER, "functions"),
    ("!NetworkErrorRatio() > 0.5", BREAKER, "cannot read"),
    ("NetworkErrorRatio() > 0.5 AND NetworkErrorRatio() > 0.5", BREAKER, "join terms"),
    ("NetworkErrorRatio() > 0.5 ||", BREAKER, "functions"),
    ("(NetworkErrorRatio() > 0.5", BREAKER, "ends where `)`"),
    ("NetworkErrorRatio() > 0.5)", BREAKER, "goes on with ')'"),
    ("LatencyAtQuantileMS(50) > 100", BREAKER, "a decimal"),
    ("LatencyAtQuantileMS(100.5) > 100", BREAKER, "between"),
    ("LatencyAtQuantileMS(50.0) > 100.0", BREAKER, "a whole number"),
    ("ResponseCodeRatio(500, 600, 0) > 0.5", BREAKER, "`,`"),
    ("ResponseCodeRatio(500, 600, 0, 600.0) > 0.5", BREAKER, "whole number"),
    ("ResponseCodeRatio(5000000000, 600, 0, 600) > 0.5", BREAKER, "status code"),
    ("networkErrorRatio() > 0.5", BREAKER, "functions"),
    ("Attempts() > 1", BREAKER, "functions"),
    ("Attempts() > 1.0", RETRY, "whole number"),
    ('RequestMethod() > "GET"', RETRY, "only be compared"),
    ("RequestMethod() == GET", RETRY, "a text"),
    ("IsNetworkError() == 1", RETRY, "goes on"),
    ("(" * 65 + "IsNetworkError()" + ")" * 65, RETRY, "deep"),
    (" || ".join(["IsNetworkError()"] * 65), RETRY, "terms"),
    ("x" * 5000, RETRY, "longer"),
    ("NetworkErrorRatio() > 1e999", BREAKER, "too large"),
    ("Attempts() > 9223372036854775808", RETRY, "too large"),
]


@pytest.mark.parametrize(("text", "functions", "part"), REFUSED)
def test_bad_expressions_are_refused_with_a_sentence(text, functions, part):
    with pytest.raises(ValueError) as caught:
        parse(text, functions)
    assert part in str(caught.value)


comparisons = st.sampled_from(sorted(OPERATORS))
ratios = st.floats(0, 1, allow_nan=False)
statuses = st.integers(0, 999)
calls = st.one_of(
    st.builds(lambda c, v: Call("NetworkErrorRatio", (), c, v), comparisons, ratios),
    st.builds(
        lambda a, c, v: Call("ResponseCodeRatio", a, c, v),
        st.tuples(statuses, statuses, statuses, statuses),
        comparisons,
        ratios,
    ),
    st.builds(
        lambda q, c, v: Call("LatencyAtQuantileMS", (q,), c, v),
        st.floats(0, 100, allow_nan=False),
        comparisons,
        st.integers(0, 1 << 40),
    ),
)
expressions = st.recursive(
    calls,
    lambda inner: st.builds(Both, inner, inner) | st.builds(Either, inner, inner),
    max_leaves=12,
)


def text_of(node):
    if isinstance(node, Call):
        arguments = ", ".join(
            f"{a!r}" if isinstance(a, int) else f"{a:.20f}" for a in node.arguments
        )
        literal = node.literal if isinstance(node.literal, int) else f"{node.literal:.20f}"
        return f"{node.function}({arguments}) {node.comparison} {literal}"
    sign = "&&" if isinstance(node, Both) else "||"
    return f"({text_of(node.left)} {sign} {text_of(node.right)})"


@given(expressions, ratios, ratios, st.integers(0, 1 << 40))
def test_the_postfix_form_means_the_same(node, errors, codes, latency):
    def value_of(function, arguments):
        return {
            "NetworkErrorRatio": errors,
            "ResponseCodeRatio": codes,
            "LatencyAtQuantileMS": latency,
        }[function]

    read = parse(text_of(node), BREAKER)
    written = program(read)
    assert run(written, value_of) is evaluate(read, value_of)
    assert len(written) % 40 == 0 and len(written) // 40 <= MAX_INSTRUCTIONS


@given(expressions)
def test_a_written_expression_reads_back(node):
    read = parse(text_of(node), BREAKER)
    assert parse(text_of(read), BREAKER) == read
    assert shape(read) == shape(node)


def shape(node):
    if isinstance(node, Call):
        return (node.function, node.comparison)
    return (type(node), shape(node.left), shape(node.right))


def test_the_stack_is_bounded_by_the_right_spine():
    text = "IsNetworkError()"
    for _ in range(60):
        text = f"(IsNetworkError() && {text})"
    assert depth(parse(text, RETRY)) == 61
