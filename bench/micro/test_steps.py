"""Time what features do to a request, without sockets. Run with `make bench-micro`.

Each figure holds the reading of the head; the case `nothing` is that alone.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.test_core import operations_per_second
from bench.micro.test_head import ROUNDS, TWELVE, message
from fastproxy.engine.operations.re2 import Regex
from fastproxy.engine.operations.writer import Operation, StripPrefixes
from fastproxy.feature import BuildContext
from fastproxy.features import headers, path_rules, redirect, secure_headers, whitelist
from fastproxy.model.configuration import Backend, Route
from tests.native.step_probe import Passed, StepProbe

PLACE = BuildContext(Route("r", (), (), 0, "b"), Backend("b"), "http", {}, lambda kind, size: 0)
REWRITE = path_rules.PathRules("/", modifier=("ReplacePathRegex", "^/service-([0-9]+)/(.*) /$2"))
REDIRECT = redirect.Redirect(regex="^https?://old[.]example/(.*)", replacement="https://b/$1")
CASES: dict[str, list[Operation]] = {
    "nothing": [],
    "strip": [StripPrefixes((b"/service-1",))],
    "rewrite-regex": [*path_rules.build(REWRITE, PLACE)],
    "redirect-regex, not found": [*redirect.build(REDIRECT, PLACE)],
    "custom-request-headers": [
        *headers.build_request(headers.CustomRequestHeaders((("X-A", "1"), ("X-B", ""))), PLACE)
    ],
    "allowed-hosts": [
        *secure_headers.build(
            secure_headers.SecureHeaders(allowed_hosts=("a", "b", "shop.example.com")), PLACE
        )
    ],
    "white-list": [
        *whitelist.build(whitelist.Whitelist((whitelist.network("::/0"),)), PLACE),
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_request_steps(benchmark: BenchmarkFixture, name: str) -> None:
    expressions = {"rewrite-regex": REWRITE.regex, "redirect-regex, not found": (REDIRECT.regex,)}
    pattern = expressions.get(name)
    compiled = [] if pattern is None else [Regex(pattern[0].encode())]
    probe = StepProbe(b"".join(operation.encode() for operation in CASES[name]), compiled)
    data = message("GET /service-1/api/v1/items?page=2 HTTP/1.1", TWELVE)
    assert isinstance(benchmark(probe.run, data, ROUNDS), Passed)
    operations_per_second(benchmark, ROUNDS)
