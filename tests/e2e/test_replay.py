"""The retry expression and what stands behind buffering: limits, balancing, pages, `[retry]`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.feature_rows import Ask, Field, Row, answering, running


def rate(burst: int, key: str = "client.ip") -> dict[str, str]:
    rates = f"{{a: {{period: 1h, average: 1, burst: {burst}}}}}"
    return {"rate-limit": f"{{extractorfunc: {key}, rateset: {rates}}}"}


def buffering(expression: str, **more: str) -> dict[str, str]:
    return {"buffering": f"retryexpression: {expression}", **more}


CROWD = {"max-conn-amount": "1", "max-conn-extractor-func": "request.host"}
NETWORK = buffering("IsNetworkError() && Attempts() <= 3")
FAILED = buffering("ResponseCode() == 500")
REFUSED = buffering("ResponseCode() == 429")
PAGES = {"error-pages": "a: {status: ['429', '500-599'], backend: pages.test/, query: /page}"}
TRIED_ALL = buffering("ResponseCode() == 503")
ROWS = {
    row.title: row
    for row in (
        Row("tokens", rate(3), FAILED),
        Row("no tokens", rate(1), REFUSED),
        Row("tokens by header", rate(2, "request.header.X-Key"), FAILED),
        Row("one place", {}, {**CROWD, **FAILED}),
        Row("no place", {}, {**CROWD, **buffering("ResponseCode() == 429 && Attempts() <= 4")}),
        Row("no endpoint takes tokens", rate(5), TRIED_ALL, endpoints=0),
        Row("one dead", {}, NETWORK, dead=1),
        Row("one dead, by name", {"preserve-host": "false"}, NETWORK, dead=1),
        Row("sticky", {}, {**NETWORK, "affinity": "true"}, dead=1),
        Row("all dead", {}, NETWORK, endpoints=0, dead=1),
        Row("page", PAGES, buffering("ResponseCode() == 500 && Attempts() < 3")),
        Row("page for 429", {**PAGES, **rate(1)}, REFUSED),
        Row("breaker", {}, buffering("ResponseCode() == 500 && Attempts() < 3") | {
            "circuit-breaker-expression": "ResponseCodeRatio(500, 600, 0, 600) > 0.5"
        }),
    )
}  # fmt: skip
PAGE_ROUTE = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: pages, namespace: default}
spec:
  rules:
  - host: pages.test
    http:
      paths:
      - path: /
        pathType: ImplementationSpecific
        backend: {service: {name: pages, port: {number: 80}}}
"""
FAIL = answering(status=500)
BODY = b"x" * 200_000


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("replay")
    yield from running(folder, list(ROWS.values()), manifests=PAGE_ROUTE, pages=True)


@pytest.fixture(scope="module")
def retrying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("retry")
    rows = list(ROWS.values())
    settings = "[retry]\nattempts = 2\n"
    yield from running(folder, rows, manifests=PAGE_ROUTE, pages=True, settings=settings)


def ask(proxy, title, *headers, method="POST", body=BODY):
    """Status, body, and how often an endpoint was asked."""
    proxy.backend.seen.clear()
    answer = proxy.ask(Ask("/a", method, headers, body), proxy.host(ROWS[title]))
    assert all(seen.body == body for seen in proxy.backend.seen)
    return answer.status, answer.body, len(proxy.backend.seen)


NO_TOKEN = b"max rate reached: retry-in 1h0m0s"
UNAVAILABLE = b"Service Unavailable"


@pytest.mark.parametrize(("title", "key"), [("tokens", ""), ("tokens by header", "abc")])
def test_each_attempt_takes_a_token(proxy: Field, title: str, key: str) -> None:
    burst = 2 if key else 3
    assert ask(proxy, title, FAIL, ("X-Key", key)) == (429, NO_TOKEN, burst)
    if key:
        assert ask(proxy, title, FAIL, ("X-Key", "other")) == (429, NO_TOKEN, burst)


def test_a_refusal_can_be_repeated_but_stays_one(proxy: Field) -> None:
    assert ask(proxy, "no tokens")[::2] == (200, 1)
    for _ in range(3):
        assert ask(proxy, "no tokens") == (429, NO_TOKEN, 0)


def test_the_place_among_the_connections_is_kept(proxy: Field) -> None:
    for _ in range(3):
        assert ask(proxy, "one place", answering(statuses=[500, 500, 200]))[::2] == (200, 3)


def test_attempts_that_reach_no_endpoint_take_tokens_too(proxy: Field) -> None:
    """Five attempts answered 503, the sixth 429, which is not repeated."""
    assert ask(proxy, "no endpoint takes tokens") == (429, NO_TOKEN, 0)


def test_a_dead_endpoint_leaves_the_request_to_the_next(proxy: Field) -> None:
    for title in ("one dead", "one dead, by name"):
        for body in (b"", BODY):
            for _ in range(4):
                assert ask(proxy, title, body=body) == (200, b"server 0", 1)
    own = f"127.0.0.1:{proxy.backend.ports[0]}"
    assert proxy.backend.seen[-1].headers["Host"] == own
    assert proxy.backend.seen[-1].headers["X-Forwarded-Host"] == proxy.host(
        ROWS["one dead, by name"]
    )


def test_the_cookie_names_the_endpoint_that_answered_and_is_followed(proxy: Field) -> None:
    host = proxy.host(ROWS["sticky"])
    alive = f"http://127.0.0.1:{proxy.backend.ports[0]}"
    for _ in range(4):
        answer = proxy.ask(Ask("/a"), host)
        assert (answer.status, answer.headers["Set-Cookie"].split("; ")[0].split("=")[1]) == (
            200, alive,
        )  # fmt: skip
    name = answer.headers["Set-Cookie"].partition("=")[0]
    answer = proxy.ask(Ask("/a", headers=(("Cookie", f"{name}={alive}"),)), host)
    assert (answer.status, answer.headers["Set-Cookie"]) == (200, None)


def test_all_endpoints_dead(proxy: Field) -> None:
    assert ask(proxy, "all dead") == (502, b"Bad Gateway", 0)


def test_a_page_replaces_the_last_attempt(proxy: Field) -> None:
    assert ask(proxy, "page", FAIL) == (500, b"page GET /page 0.0.0.0", 3)
    assert ask(proxy, "page", answering(statuses=[500, 201]))[::2] == (201, 2)
    assert ask(proxy, "page for 429")[::2] == (200, 1)
    assert ask(proxy, "page for 429") == (429, b"page GET /page 0.0.0.0", 0)


def test_a_breaker_sees_requests_not_attempts(proxy: Field) -> None:
    """Two attempts fail and the third succeeds: one good answer. Then one bad, which is not more
    than half, and another. The breaker looks at most every 100 ms."""
    for fails in (answering(statuses=[500, 500, 200]), FAIL, FAIL):
        status = 500 if fails is FAIL else 200
        assert ask(proxy, "breaker", fails)[::2] == (status, 3)
        time.sleep(0.12)
    assert ask(proxy, "breaker") == (503, UNAVAILABLE, 0)


def test_retry_runs_inside_each_attempt(retrying: Field) -> None:
    for _ in range(4):
        assert ask(retrying, "one dead") == (200, b"server 0", 1)
    assert ask(retrying, "all dead") == (502, b"Bad Gateway", 0)
    assert ask(retrying, "tokens", FAIL) == (429, NO_TOKEN, 3)
