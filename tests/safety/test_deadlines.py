"""Every wait has an end, and every end its answer (limits and defaults)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.safety.client import PROBE, Client
from tests.safety.conftest import Bench, started
from tests.safety.origin import Answer, Origin
from tests.support.required_fields import lacking

DEADLINE = 0.5  # seconds, all of them
SLACK = 1.5  # one turn of the deadline lists, and a busy machine

SETTINGS = """
[limits]
headTimeout = "500ms"
bodyTimeout = "500ms"
requestsPerConnection = 3

[respondingTimeouts]
idleTimeout = "500ms"

[forwardingTimeouts]
responseHeaderTimeout = "500ms"
"""

HEAD = b"POST / HTTP/1.1\r\nHost: a.test\r\n"


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    origin = Origin({"main": 0, "guarded": 0})
    with started(tmp_path_factory.mktemp("deadlines"), origin, SETTINGS) as proxy:
        yield Bench(proxy.address, origin)
    origin.stop()


# sent, what the origin does, status (0 = closed without an answer)
WAITS = {
    "nothing sent": (b"", None, {0, 408}),
    "request line": (b"GET / HT", None, {408}),
    "head": (b"GET / HTTP/1.1\r\nHost: a.test\r\n", None, {408}),
    "body with a length": (HEAD + b"Content-Length: 9\r\n\r\nabc", None, {408}),
    "body with no byte yet": (HEAD + b"Content-Length: 9\r\n\r\n", None, {408}),
    "body in chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", None, {408}),
    "chunk size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3", None, {408}),
    "trailers": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n", None, {408}),
    "no answer": (PROBE.replace(b"/fence", b"/x"), Answer(b""), {504}),
    "half an answer's head": (PROBE.replace(b"/fence", b"/x"), Answer(b"HTTP/1.1 200 O"), {504}),
}


@pytest.mark.parametrize("name", WAITS)
def test_waiting_ends(hurried: Bench, name: str) -> None:
    sent, answer, statuses = WAITS[name]
    hurried.origin.begin([answer] if answer else [], "whole", 1)
    client = Client(hurried.address)
    with client.socket:
        begin = time.monotonic()
        client.socket.sendall(sent)
        found = client.response("GET")
        client.wait_for_end() if 504 not in statuses else None
        lasted = time.monotonic() - begin
    hurried.origin.quiet()
    assert (found.status if found else 0) in statuses
    assert found is None or list(lacking(found)) == []
    assert DEADLINE * 0.8 <= lasted <= DEADLINE + SLACK
    hurried.origin.forget_connections()


def test_a_slow_head_does_not_prolong_its_deadline(hurried: Bench) -> None:
    """One byte every 100 ms: the whole head has to arrive in time, not each byte."""
    client = Client(hurried.address)
    with client.socket:
        begin = time.monotonic()
        for byte in b"GET / HTTP/1.1\r\nX-A: " + b"x" * 40:
            try:
                client.socket.sendall(bytes([byte]))
            except OSError:
                break
            if client.more(time.monotonic() + 0.1):
                break
        lasted = time.monotonic() - begin
    assert client.data.startswith(b"HTTP/1.1 408 ")
    assert lasted <= DEADLINE + SLACK


def test_an_idle_connection_is_closed_in_silence(hurried: Bench) -> None:
    client = Client(hurried.address)
    with client.socket:
        client.socket.sendall(PROBE)
        assert client.response("GET") is not None
        begin = time.monotonic()
        client.wait_for_end()
    assert (client.ending, client.data) == ("fin", b"")
    assert DEADLINE * 0.8 <= time.monotonic() - begin <= DEADLINE + SLACK


def test_the_last_request_of_a_connection_says_so(hurried: Bench) -> None:
    client = Client(hurried.address)
    with client.socket:
        seen = []
        for _ in range(3):
            client.socket.sendall(PROBE)
            answer = client.response("GET")
            assert answer is not None
            seen.append(answer.values("Connection"))
        client.wait_for_end()
    assert seen == [[], [], ["close"]]
    assert client.ending == "fin"
