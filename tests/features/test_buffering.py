"""Buffering and retries: annotations -> configuration, operations, behaviour."""

from __future__ import annotations

import pytest

from fastproxy.engine.operations import Buffer as Native
from fastproxy.engine.operations import Phase, Scripted
from fastproxy.expression import RETRY, parse
from fastproxy.feature import OnInvalid
from fastproxy.features.buffering import FEATURE, Buffering
from fastproxy.reply import Reply, Response, plain
from tests.support.exchange import MemoryExchange, run
from tests.support.features import Bad, assert_outcome, context, outcome

EXPRESSION = "IsNetworkError() && Attempts() <= 2"
READ = [
    ({}, None),
    ({"buffering": "{}"}, Buffering()),
    ({"buffering": ""}, Buffering()),
    ({"buffering": "maxrequestbodybytes: 10\nother: 1"}, Buffering(10)),
    (
        {
            "buffering": "maxrequestbodybytes: 1\nmemrequestbodybytes: 2\n"
            "maxresponsebodybytes: 1_000\nmemresponsebodybytes: 0x10\n"
            f"retryexpression: {EXPRESSION}\n"
        },
        Buffering(1, 2, 1000, 16, parse(EXPRESSION, RETRY)),
    ),
    ({"buffering": "maxrequestbodybytes: many"}, Bad(OnInvalid.OFF, "whole number")),
    ({"buffering": "a: ["}, Bad(OnInvalid.OFF, "YAML")),
    ({"buffering": "[]"}, Bad(OnInvalid.OFF, "mapping")),
    ({"buffering": "maxrequestbodybytes: -1"}, Bad(OnInvalid.DROP, "maxrequestbodybytes")),
    ({"buffering": "memresponsebodybytes: -1"}, Bad(OnInvalid.DROP, "memresponsebodybytes")),
    ({"buffering": "retryexpression: Attempts()"}, Bad(OnInvalid.DROP, "compare Attempts()")),
]


@pytest.mark.parametrize(("annotations", "expected"), READ)
def test_annotations_become_buffering(annotations, expected):
    assert_outcome(outcome(FEATURE, annotations), expected)


BUILT = [
    (Buffering(), [Native(0, 0, 0)]),
    (Buffering(1, 2, 3, 4), [Native(1, 3, 4)]),
    (Buffering(retry=parse("Attempts() < 2", RETRY)), []),
]


@pytest.mark.parametrize(("config", "native"), BUILT)
def test_buffering_wraps_what_follows(config, native):
    """The engine's operation stands in front of the one it may leave out."""
    around = Scripted(in_phase=Phase.AROUND, config=config)
    assert FEATURE.build(config, context()) == [*native, around]


def backend(*statuses, body=b"hello"):
    """Answers the statuses in turn, the last one for ever; remembers what it got."""
    seen = []

    def answer(exchange, request):
        seen.append(request)
        status = statuses[min(len(seen), len(statuses)) - 1]
        return Response(status, [("X-Try", str(len(seen)))], body)

    answer.seen = seen
    return answer


def retry(text):
    return Buffering(retry=parse(text, RETRY))


FOREVER = "Attempts() > 0"
TRIES = [  # configuration, statuses of the backend, method, tries, status
    (Buffering(), [502], "GET", 1, 502),
    (retry(EXPRESSION), [200], "GET", 1, 200),
    (retry(EXPRESSION), [502], "GET", 3, 502),
    (retry(EXPRESSION), [504, 200], "POST", 2, 200),
    (retry(EXPRESSION), [503], "GET", 1, 503),
    (retry("ResponseCode() == 503"), [503], "GET", 11, 503),
    (retry(FOREVER), [200], "GET", 11, 200),
    (retry('IsNetworkError() && RequestMethod() == "GET"'), [502], "POST", 1, 502),
    (retry("IsNetworkError() || ResponseCode() >= 500 && Attempts() < 2"), [500], "GET", 2, 500),
]


@pytest.mark.parametrize(("config", "statuses", "method", "tries", "status"), TRIES)
def test_retries(config, statuses, method, tries, status):
    answers = backend(*statuses)
    exchange = MemoryExchange("/", method=method, body=b"data", backend=answers)
    reply = run(FEATURE.filter(config).around(exchange))
    assert reply == Reply(status, b"hello", [("X-Try", str(tries))])
    assert answers.seen == [b"data"] * tries


LIMITS = [
    (Buffering(max_request=3), b"1234", plain(413)),
    (Buffering(max_request=4), b"1234", Reply(200, b"hello", [("X-Try", "1")])),
    (Buffering(max_response=4), b"", plain(500)),
    (Buffering(max_response=5), b"", Reply(200, b"hello", [("X-Try", "1")])),
]


@pytest.mark.parametrize(("config", "body", "answer"), LIMITS)
def test_limits(config, body, answer):
    exchange = MemoryExchange("/", body=body, backend=backend(200))
    assert run(FEATURE.filter(config).around(exchange)) == answer


def test_too_large_requests_never_reach_the_backend_and_upgrades_are_not_buffered():
    answers = backend(200)
    live = FEATURE.filter(Buffering(max_request=1))
    assert run(live.around(MemoryExchange(body=b"12", backend=answers))).status == 413
    upgrade = MemoryExchange(headers=[("Upgrade", "websocket")], body=b"12", backend=answers)
    assert run(live.around(upgrade)) is None
    assert answers.seen == []
