"""Buffered requests sent again: the engine beside an obvious twin, judged at the endpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastproxy.expression import (
    RETRY,
    Both,
    Call,
    Either,
    Expression,
    parse,
    retry_program,
)
from fastproxy.features.buffering import Buffering
from fastproxy.model.configuration import Backend, Desired, Endpoint, Route
from fastproxy.model.matchers import PathPrefix
from fastproxy.settings.options import EntryPoint, Settings
from tests.native.parts_probe import retry_expression
from tests.support.plane import Plane
from tests.support.programs import OPERATORS, evaluate
from tests.support.scripted import Client, Origin, Peer

METHODS = ("GET", "POST", "HEAD", "PURGE", "PUT")
STATUSES = (200, 204, 404, 500, 502, 503, 504)
MAX_ATTEMPTS = 11

comparisons = st.sampled_from(sorted(OPERATORS))
calls = st.one_of(
    st.just(Call("IsNetworkError")),
    st.builds(lambda c, v: Call("Attempts", (), c, v), comparisons, st.integers(0, 12)),
    st.builds(lambda c, v: Call("ResponseCode", (), c, v), comparisons, st.sampled_from(STATUSES)),
    st.builds(
        lambda c, v: Call("RequestMethod", (), c, v),
        st.sampled_from(("==", "!=")),
        st.sampled_from((*METHODS, "", "GE", "é")),
    ),
)
expressions = st.recursive(
    calls,
    lambda inner: st.builds(Both, inner, inner) | st.builds(Either, inner, inner),
    max_leaves=12,
)


def holds(expression: Expression, attempt: int, status: int, method: str) -> bool:
    values: dict[str, Any] = {
        "Attempts": attempt,
        "ResponseCode": status,
        "RequestMethod": method,
        "IsNetworkError": status in (502, 504),
    }
    return evaluate(expression, lambda function, arguments: values[function])


@given(expressions, st.integers(1, 11), st.sampled_from(STATUSES), st.sampled_from(METHODS))
def test_a_program_means_what_its_expression_says(expression, attempt, status, method):
    program = retry_program(expression)
    assert retry_expression(program, attempt, status, method.encode()) is holds(
        expression, attempt, status, method
    )


DEEP = "IsNetworkError() && Attempts() < 3"
for _ in range(31):
    DEEP = f"(ResponseCode() == 502 || ({DEEP}))"
LARGEST = f"Attempts() < {(1 << 63) - 1}"


@pytest.mark.parametrize("text", [DEEP, LARGEST, " || ".join(["Attempts() == 2"] * 64)])
def test_programs_at_their_limits(text):
    expression = parse(text, RETRY)
    for attempt in (1, 2, 3):
        for status in (200, 502):
            found = retry_expression(retry_program(expression), attempt, status, b"GET")
            assert found is holds(expression, attempt, status, "GET")


# --- through sockets ---

MAX_RESPONSE = 30_000
LARGE = b"l" * 20_000


@dataclass(frozen=True)
class Outcome:
    """What the endpoint does with one attempt; `status` is what the proxy makes of it."""

    kind: str
    status: int = 502

    def __call__(self, peer: Peer) -> bool | None:
        if self.kind == "cut":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut")
            return False
        if self.kind == "malformed":
            peer.send(b"HTTP/1.1 abc\r\n\r\n")
            return False
        head = f"HTTP/1.1 {self.status} X\r\nX-Kind: {self.kind}\r\n".encode()
        bodiless = self.status == 204 or peer.head.method == "HEAD"
        if self.kind == "until close" and not bodiless:
            peer.send(head + b"\r\nuntil close")
            return False
        body = {"large": LARGE, "too large": LARGE * 2, "empty": b""}.get(self.kind, b"answer")
        if self.kind in ("chunked", "too large") and not bodiless:
            head += b"Transfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n"
            half = len(body) // 2
            for piece in (body[:half], body[half:]):
                head += b"%x\r\n%b\r\n" % (len(piece), piece)
            peer.send(head + b"0\r\nX-End: 1\r\n\r\n")
            return None
        if self.status != 204:
            head += b"Content-Length: %d\r\n" % len(body)
        peer.send(head + b"\r\n" + (b"" if bodiless else body))
        return None


KINDS = ("plain", "plain", "chunked", "until close", "large", "empty", "too large")
outcomes = st.one_of(
    st.builds(Outcome, st.sampled_from(KINDS), st.sampled_from(STATUSES)),
    st.sampled_from((Outcome("cut"), Outcome("malformed"))),
)


class Endpoint_(Origin):
    """Follows one list of outcomes, the last one for ever; keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: Sequence[Outcome] = ()
        self.asked: list[Any] = []

    def serve(self, connection: Any) -> None:
        self.scripts = {"/": self.follow}
        super().serve(connection)

    def follow(self, peer: Peer) -> bool | None:
        request = peer.read_request()
        self.asked.append(request)
        outcome = self.outcomes[min(len(self.asked), len(self.outcomes)) - 1]
        return outcome(peer)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint_]:
    with closing(Endpoint_()) as made:
        yield made


@pytest.fixture(scope="module")
def plane() -> Iterator[Plane]:
    points = Settings(entry_points={"http": EntryPoint("127.0.0.1:0")})
    with closing(Plane(points)) as made:
        yield made


def publish(plane: Plane, endpoint: Origin, expression: Expression | None) -> None:
    config = Buffering(0, 1000, MAX_RESPONSE, 5000, expression)
    route = Route("r", ("http",), (PathPrefix(("/",)),), 1, "r", (config,))
    backend = Backend("r", (Endpoint("http", "127.0.0.1", endpoint.port),))
    plane.prepare(Desired((route,), (backend,)))
    plane.activate()


def twin(expression: Expression, met: Sequence[Outcome], method: str) -> tuple[int, int]:
    """How often the endpoint is asked, and the status of the answer."""
    for attempt in range(1, MAX_ATTEMPTS + 1):
        outcome = met[min(attempt, len(met)) - 1]
        bodiless = outcome.status == 204 or method == "HEAD"
        if outcome.kind == "too large" and not bodiless:
            return attempt, 500
        # A response to HEAD is over before it can be cut.
        status = 200 if outcome.kind == "cut" and method == "HEAD" else outcome.status
        if attempt == MAX_ATTEMPTS or not holds(expression, attempt, status, method):
            break
    return attempt, status


CHUNKED = "Transfer-Encoding: chunked"
bodies = st.sampled_from(("none", "whole", "chunked", "later", "chunked later", "large", "empty"))


def send(client: Client, method: str, body: str) -> bytes | None:
    """Send a request; returns the body, None = without."""
    if body == "none" or method == "HEAD":
        client.send(f"{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
        return None
    data = {"large": b"x" * 300_000, "empty": b""}.get(body, b"0123456789" * 150)
    if body in ("empty", "chunked", "chunked later"):
        framing = CHUNKED
        pieces = [b"%x\r\n%b\r\n" % (len(data), data)] if data else []
        pieces.append(b"0\r\nX-Trailer: 1\r\n\r\n")
    else:
        framing, pieces = f"Content-Length: {len(data)}", [data[:700], data[700:]]
    head = f"{method} / HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n\r\n".encode()
    if body.endswith("later"):
        client.send(head)
        for piece in pieces:
            time.sleep(0.002)
            client.send(piece)
    else:
        client.send(head + b"".join(pieces))
    return data


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    expression=expressions,
    met=st.lists(outcomes, min_size=1, max_size=5),
    requests=st.lists(st.tuples(st.sampled_from(METHODS), bodies), min_size=1, max_size=3),
)
def test_attempts_are_those_of_the_twin(plane, endpoint, expression, met, requests):
    publish(plane, endpoint, expression)
    with Client(plane.port) as client:
        for method, body in requests:
            endpoint.outcomes, endpoint.asked = met, []
            data = send(client, method, body)
            answer = client.response(method)
            attempts, status = twin(expression, met, method)
            assert (len(endpoint.asked), answer.status) == (attempts, status)
            framing = [] if data is None else [str(len(data))]
            if data is None and method in ("POST", "PUT", "PATCH"):
                framing = ["0"]  # said where a body is usual (RFC 9110 8.6)
            for asked in endpoint.asked:
                assert (asked.method, asked.body) == (method, data or b"")
                assert asked.values("Content-Length") == framing
                assert asked.values("Transfer-Encoding") == []
            if status != 502 and method != "HEAD" and status != 204:
                assert answer.values("Content-Length") == [str(len(answer.body))]
        assert client.ask("/quiet").status == 200 and not client.data
