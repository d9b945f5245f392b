"""Maximum connections, rate limit, circuit breaker: annotations -> configuration, operations."""

from __future__ import annotations

import pytest

from fastproxy.engine.operations.writer import CircuitBreaker as BreakerOperation
from fastproxy.engine.operations.writer import Extractor, MaxConnections
from fastproxy.engine.operations.writer import RateLimit as RateOperation
from fastproxy.expression import Call
from fastproxy.feature import OnInvalid
from fastproxy.features import circuit_breaker, max_conn, rate_limit
from fastproxy.features.circuit_breaker import CircuitBreaker
from fastproxy.features.max_conn import MaxConn
from fastproxy.features.rate_limit import Rate, RateLimit
from fastproxy.model import durations
from tests.support.features import Bad, assert_outcome, context, outcome, problems

S = durations.SECOND


def rate_yaml(function="client.ip", **rates):
    lines = [f"extractorfunc: {function}", "rateset:"]
    for name, (period, average, burst) in rates.items():
        lines += [
            f"  {name}:",
            f"    period: {period}",
            f"    average: {average}",
            f"    burst: {burst}",
        ]
    return {"rate-limit": "\n".join(lines) + "\n"}


def limited(*rates, extractor=Extractor.CLIENT_IP, header=""):
    return RateLimit(extractor, header, rates)


def maximum(amount, function):
    return {"max-conn-amount": amount, "max-conn-extractor-func": function}


READ = [
    (max_conn, {}, None),
    (max_conn, {"max-conn-amount": "50"}, None),
    (max_conn, {"max-conn-extractor-func": "client.ip"}, None),
    (max_conn, {"max-conn-extractor-func": "nonsense"}, None),
    (max_conn, maximum("50", "client.ip"), MaxConn(50, Extractor.CLIENT_IP)),
    (max_conn, maximum("0", "client.ip"), None),
    (max_conn, maximum("-3", "client.ip"), None),
    (max_conn, maximum("many", "client.ip"), None),
    (max_conn, maximum("5", "request.host"), MaxConn(5, Extractor.REQUEST_HOST)),
    (
        max_conn,
        maximum("5", "request.header.x-tenant"),
        MaxConn(5, Extractor.REQUEST_HEADER, "X-Tenant"),
    ),
    (max_conn, maximum("5", "request.header."), Bad(OnInvalid.DROP, "request.header.NAME")),
    (max_conn, maximum("5", "request.header.a b"), Bad(OnInvalid.DROP, "request.header.NAME")),
    (max_conn, maximum("5", "Client.IP"), Bad(OnInvalid.DROP, "client.ip")),
    (rate_limit, {}, None),
    (rate_limit, {"rate-limit": ""}, None),
    (rate_limit, {"rate-limit": "extractorfunc: client.ip"}, None),
    (rate_limit, {"rate-limit": "rateset: {}"}, None),
    (rate_limit, rate_yaml(a=("1s", 20, 40)), limited(Rate(S, 20, 40))),
    (rate_limit, rate_yaml(a=("3", 20, 40)), limited(Rate(3 * S, 20, 40))),  # FIX 34
    (rate_limit, rate_yaml(a=('"3"', 20, 40)), limited(Rate(3 * S, 20, 40))),
    (
        rate_limit,
        rate_yaml(second=("1m", 600, 800), first=("1s", 20, 40)),
        limited(Rate(S, 20, 40), Rate(60 * S, 600, 800)),
    ),
    (
        rate_limit,
        rate_yaml(b=("60s", 2, 2), a=("1m", 1, 1)),
        limited(Rate(60 * S, 2, 2)),  # equal periods: the last name
    ),
    (
        rate_limit,
        {
            "rate-limit": "unknown: 1\nextractorfunc: request.host\nrateset: {a: {period: 1s, "
            "average: 1, burst: 1, colour: red}}"
        },
        limited(Rate(S, 1, 1), extractor=Extractor.REQUEST_HOST),
    ),
    (rate_limit, {"rate-limit": "rateset: ["}, Bad(OnInvalid.OFF, "YAML")),
    (rate_limit, {"rate-limit": "12"}, Bad(OnInvalid.OFF, "mapping")),
    (rate_limit, {"rate-limit": "rateset: [a]"}, Bad(OnInvalid.OFF, "mapping")),
    (rate_limit, rate_yaml(a=("1s", "many", 1)), Bad(OnInvalid.OFF, "whole number")),
    (rate_limit, {"rate-limit": "[" * 5000}, Bad(OnInvalid.OFF, "deep")),
    (rate_limit, rate_yaml(a=("0s", 1, 1)), Bad(OnInvalid.DROP, "above 0")),
    (rate_limit, rate_yaml(a=("-1s", 1, 1)), Bad(OnInvalid.DROP, "above 0")),
    (rate_limit, rate_yaml(a=("soon", 1, 1)), Bad(OnInvalid.DROP, "period")),
    (rate_limit, rate_yaml(a=("1s", 0, 1)), Bad(OnInvalid.DROP, "average")),
    (rate_limit, rate_yaml(a=("1s", 1, -1)), Bad(OnInvalid.DROP, "burst")),
    (rate_limit, rate_yaml(function="ip", a=("1s", 1, 1)), Bad(OnInvalid.DROP, "client.ip")),
    (rate_limit, rate_yaml(function="", a=("1s", 1, 1)), Bad(OnInvalid.DROP, "client.ip")),
    (
        rate_limit,
        rate_yaml(**{f"r{i}": (f"{i}s", 1, 1) for i in range(1, 34)}),
        Bad(OnInvalid.DROP, "32"),
    ),
    (circuit_breaker, {}, None),
    (circuit_breaker, {"circuit-breaker-expression": ""}, None),
    (
        circuit_breaker,
        {"circuit-breaker-expression": "NetworkErrorRatio() > 0.25"},
        CircuitBreaker(Call("NetworkErrorRatio", (), ">", 0.25)),
    ),
    (
        circuit_breaker,
        {"traefik.backend.circuitbreaker": "NetworkErrorRatio() > 0.25\n"},
        CircuitBreaker(Call("NetworkErrorRatio", (), ">", 0.25)),
    ),
    (
        circuit_breaker,
        {"circuit-breaker-expression": "NetworkErrorRatio() > 1"},
        Bad(OnInvalid.DROP, "decimal"),
    ),
]


@pytest.mark.parametrize(("module", "annotations", "expected"), READ)
def test_annotations_become_limits(module, annotations, expected):
    assert_outcome(outcome(module.FEATURE, annotations), expected)


def test_a_bad_amount_is_told_and_means_no_limit():
    [(effect, sentence)] = problems(max_conn.FEATURE, maximum("many", "client.ip"))
    assert effect is OnInvalid.DEFAULT
    assert "whole number" in sentence


def test_limits_become_operations_with_a_slot_each():
    where = context()
    assert max_conn.build(MaxConn(5, Extractor.REQUEST_HEADER, "X-A"), where) == [
        MaxConnections(0, 5, Extractor.REQUEST_HEADER, b"X-A")
    ]
    assert rate_limit.build(limited(Rate(S, 20, 40), Rate(90 * S, 600, 800)), where) == [
        RateOperation(
            1, Extractor.CLIENT_IP, b"", ((S // 20, 40), (90 * S // 600, 800)), lifetime=901
        )
    ]
    [breaker] = circuit_breaker.build(
        CircuitBreaker(Call("NetworkErrorRatio", (), ">", 0.25)), where
    )
    assert isinstance(breaker, BreakerOperation)
    assert (breaker.slot, len(breaker.program)) == (2, 40)


LIFETIMES = [("100ms", 1), ("1s", 11), ("1500ms", 11), ("2m", 1201)]


@pytest.mark.parametrize(("period", "lifetime"), LIFETIMES)
def test_entries_live_ten_times_the_longest_period(period, lifetime):
    [operation] = rate_limit.build(limited(Rate(durations.parse(period), 1, 1)), context())
    assert operation.lifetime == lifetime
