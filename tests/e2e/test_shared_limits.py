"""Limits, breakers and stickiness with two workers: they hold for the whole proxy."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.feature_rows import (
    Answer,
    Ask,
    Backend,
    Field,
    Row,
    answering,
    ingress,
    running,
)
from tests.support.processes import wait_until
from tests.support.running import dead_port

ONE_PER_HOUR = "period: 1h, average: 1, burst: "
ROWS = {
    row.title: row
    for row in (
        Row("plain"),
        Row(
            "rate",
            {"rate-limit": f"{{extractorfunc: client.ip, rateset: {{a: {{{ONE_PER_HOUR}7}}}}}}"},
        ),
        Row(
            "rate by header",
            {
                "rate-limit": "{extractorfunc: request.header.X-Key, "
                f"rateset: {{a: {{{ONE_PER_HOUR}2}}}}}}"
            },
        ),
        Row(
            "two rates",
            {
                "rate-limit": "{extractorfunc: client.ip, "
                f"rateset: {{a: {{{ONE_PER_HOUR}5}}, b: {{period: 2h, average: 1, burst: 3}}}}}}"
            },
        ),
        Row("connections", {}, {"max-conn-amount": "2", "max-conn-extractor-func": "request.host"}),
        Row(
            "breaker",
            {},
            {"circuit-breaker-expression": "ResponseCodeRatio(500, 600, 0, 600) > 0.5"},
        ),
        Row("sticky", {}, {"affinity": "true"}, endpoints=3),
        Row(
            "buffered",
            {},
            {"buffering": "maxrequestbodybytes: 6000000"},
        ),
        Row(
            "rate inside breaker",
            {"rate-limit": f"{{extractorfunc: client.ip, rateset: {{a: {{{ONE_PER_HOUR}1}}}}}}"},
            {"circuit-breaker-expression": "ResponseCodeRatio(429, 430, 0, 600) > 0.4"},
        ),
        Row(
            "max connections before rate",
            {"rate-limit": f"{{extractorfunc: client.ip, rateset: {{a: {{{ONE_PER_HOUR}2}}}}}}"},
            {"max-conn-amount": "1", "max-conn-extractor-func": "client.ip"},
        ),
        Row(
            "auth outside of the breaker",
            {"auth-type": "forward", "auth-url": "http://127.0.0.1:AUTHPORT/"},
            {"circuit-breaker-expression": "LatencyAtQuantileMS(50.0) > 300"},
        ),
        Row("leaving", {}, {"circuit-breaker-expression": "NetworkErrorRatio() > 0.1"}),
    )
}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    rows, folder = list(ROWS.values()), tmp_path_factory.mktemp("limits")
    asked = Backend(1, "X-Auth-Answer")
    yield from running(folder, rows, workers=2, words={"AUTHPORT": str(asked.ports[0])})
    asked.close()


def ask(proxy: Field, title: str, *headers: tuple[str, str], target: str = "/", **more) -> Answer:
    return proxy.ask(Ask(target, headers=headers, **more), proxy.host(ROWS[title]))


def at_once(proxy: Field, title: str, count: int, *headers: tuple[str, str]) -> list[Answer]:
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask(proxy, title, *headers)))
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return answers


def statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


def test_two_workers_answer(proxy: Field) -> None:
    assert statuses(at_once(proxy, "plain", 8)) == {200: 8}


def test_a_rate_holds_for_all_workers(proxy: Field) -> None:
    answers = at_once(proxy, "rate", 20)
    assert statuses(answers) == {200: 7, 429: 13}
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.headers["X-Retry-In"] == "1h0m0s"
    assert refused.headers["Retry-After"] == "3600"
    assert refused.body == b"max rate reached: retry-in 1h0m0s"


def test_a_rate_is_counted_by_key(proxy: Field) -> None:
    for key in ("a", "b"):
        assert statuses(at_once(proxy, "rate by header", 5, ("x-key", key))) == {200: 2, 429: 3}
    assert statuses(at_once(proxy, "rate by header", 5)) == {200: 2, 429: 3}


def test_the_smallest_of_several_rates_counts(proxy: Field) -> None:
    assert statuses(at_once(proxy, "two rates", 8)) == {200: 3, 429: 5}


def test_connections_are_counted_over_all_workers_and_given_back(proxy: Field) -> None:
    slow = answering(delay=0.7)
    for _ in range(2):
        answers = at_once(proxy, "connections", 5, slow)
        assert statuses(answers) == {200: 2, 429: 3}
        refused = next(answer for answer in answers if answer.status == 429)
        assert refused.body == b"max connections reached: 2"
        assert refused.headers["Retry-After"] is None


def test_a_host_is_a_key_as_it_was_sent(proxy: Field) -> None:
    """Case and port count; a header that is not there is one key for all."""
    slow, found = answering(delay=0.8), []
    host = proxy.host(ROWS["connections"])

    def one(host: str) -> None:
        found.append((proxy.ask(Ask(headers=(slow,)), host).status, host))

    hosts = [host, host, host.upper(), host.upper(), f"{host}:80", host]
    threads = [threading.Thread(target=one, args=(name,)) for name in hosts]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join(20)
    refused = [name for status, name in found if status == 429]
    assert (refused, len(found)) == ([host], 6)


def test_a_breaker_opens_for_all_workers_and_recovers(proxy: Field) -> None:
    """10 s closed to everybody, then 10 s in which the share of admitted requests grows."""
    assert ask(proxy, "breaker", answering(status=500)).status == 500
    proxy.backend.seen.clear()
    answers = at_once(proxy, "breaker", 10)
    assert statuses(answers) == {503: 10}
    assert answers[0].body == b"Service Unavailable"
    assert proxy.backend.seen == []
    deadline = time.monotonic() + 30
    while ask(proxy, "breaker").status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    time.sleep(10)
    assert statuses(at_once(proxy, "breaker", 10)) == {200: 10}


def test_a_cookie_keeps_the_endpoint_on_every_worker(proxy: Field) -> None:
    for _ in range(3):
        first = ask(proxy, "sticky")
        cookie = first.headers["Set-Cookie"].partition(";")[0]
        for _ in range(6):
            answer = ask(proxy, "sticky", ("Cookie", f"a=b; {cookie}; c=d"))
            assert answer.body == first.body
            assert answer.headers["Set-Cookie"] is None
    bodies = Counter(ask(proxy, "sticky").body for _ in range(24))
    assert len(bodies) == 3


def test_large_bodies_pass_the_buffer_whole(proxy: Field) -> None:
    body = bytes(range(256)) * 20_000
    proxy.backend.seen.clear()
    answer = ask(proxy, "buffered", method="POST", body=body)
    assert answer.status == 200
    assert proxy.backend.seen[-1].body == body


def test_a_rate_limit_lies_inside_the_breaker(proxy: Field) -> None:
    """The 429 of the limit is an answer the breaker sees, and opens on."""
    assert ask(proxy, "rate inside breaker").status == 200
    # It looks at its condition at most ten times a second.
    found: list[int] = []
    while 503 not in found:
        assert len(found) < 20
        time.sleep(0.2)
        found.append(ask(proxy, "rate inside breaker").status)
    assert set(found) <= {429, 503} and found[0] == 429


def test_the_breaker_does_not_see_what_authentication_takes(proxy: Field) -> None:
    slow = answering("X-Auth-Answer", delay=0.5)
    found = [ask(proxy, "auth outside of the breaker", slow).status for _ in range(3)]
    assert found == [200, 200, 200]
    found = [ask(proxy, "auth outside of the breaker", answering(delay=0.5)) for _ in range(5)]
    assert [answer.status for answer in found] == [200, 200, 200, 200, 503]


def test_a_client_that_leaves_is_no_network_error(proxy: Field) -> None:
    """499 in 1.7. It leaves by a reset: an end alone may be a client that waits for its answer."""
    host = proxy.host(ROWS["leaving"])
    slow = ": ".join(answering(delay=0.5))
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", proxy.ports["http"]), 10) as client:
            client.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n{slow}\r\n\r\n".encode())
            time.sleep(0.2)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.2)
    assert ask(proxy, "leaving").status == 200


def test_a_connection_too_many_takes_no_token(proxy: Field) -> None:
    """max-conn stands before the rate limit: what it refuses costs no token of the rate."""
    answers = at_once(proxy, "max connections before rate", 4, answering(delay=0.7))
    assert statuses(answers) == {200: 1, 429: 3}
    assert [ask(proxy, "max connections before rate").status for _ in range(2)] == [200, 429]


def test_limits_outlive_every_process_but_the_parent(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Counters stand in memory of the parent, and slots stay with what has not changed."""
    rate = Row("rate", ROWS["rate"].ingress)
    breaker = Row("breaker", {}, ROWS["breaker"].service)
    folder = tmp_path_factory.mktemp("outlive")
    with Field(folder, [rate, breaker], workers=2) as field:
        assert [field.send(rate).status for _ in range(8)] == [200] * 7 + [429]
        ask = Ask("/", headers=(answering(status=500),))
        assert field.ask(ask, field.host(breaker)).status == 500
        tripped = time.monotonic()

        def check() -> None:
            assert field.send(rate).status == 429
            status = field.send(breaker).status
            assert status == 503 or time.monotonic() > tripped + 9

        check()
        more = ingress("more", "more.test", "/", "fence", {})
        (folder / "manifests" / "more.yaml").write_text(more)
        wait_until(lambda: field.ask(Ask(), "more.test").status == 200, "the new route")
        check()
        before = set(field.proxy.children())
        for process in before:
            os.kill(process, signal.SIGKILL)
        wait_until(lambda: len(set(field.proxy.children()) - before) == len(before), "new ones")
        check()


def test_a_dead_endpoint_opens_a_breaker_on_network_errors(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    row = Row("dead", {}, {"circuit-breaker-expression": "NetworkErrorRatio() > 0.9"})
    dead = dead_port()
    for field in running(tmp_path_factory.mktemp("dead"), [row], workers=1, only_port=dead):
        host = field.host(row)
        assert [field.ask(Ask(), host).status for _ in range(3)] == [502, 503, 503]
