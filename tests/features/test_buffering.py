"""Buffering and retries: annotations -> configuration -> operations."""

from __future__ import annotations

import pytest

from fastproxy.engine.operations.writer import Buffer
from fastproxy.expression import RETRY, parse, retry_program
from fastproxy.feature import OnInvalid
from fastproxy.features.buffering import FEATURE, Buffering
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


MIB = 1 << 20
EXPRESSION_PARSED = parse(EXPRESSION, RETRY)
BUILT = [
    (Buffering(), Buffer(0, MIB, 0, 0)),
    (Buffering(1, 2, 3, 4), Buffer(1, 2, 3, 4)),
    (
        Buffering(retry=EXPRESSION_PARSED),
        Buffer(0, MIB, 0, 0, retry_program(EXPRESSION_PARSED)),
    ),
]


@pytest.mark.parametrize(("config", "operation"), BUILT)
def test_buffering_is_one_operation(config, operation):
    assert FEATURE.build(config, context()) == [operation]
