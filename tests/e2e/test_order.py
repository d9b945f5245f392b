"""The order of the pipeline (`features.md` 1.1), by effects that another order would not have.

The numbers in the titles are the steps; each pair of neighbours whose order can be seen has a row.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.feature_rows import Ask, Backend, Field, Row, answering, secret
from tests.support.scripted import Client

# --- what entry points do ---

ANNS = "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="
ANN = ("Authorization", "Basic YW5uOnNlY3JldA==")
GZIP = ("Accept-Encoding", "gzip")
AUTH = f'[entryPoints.NAME.auth.basic]\nusers = ["{ANNS}"]\n'
LIST = '[entryPoints.NAME.whiteList]\nsourceRange = ["10.0.0.0/8"]\n'
MOVE = '[entryPoints.NAME.redirect]\nregex = "/old"\nreplacement = "/new"\n'
POINTS = {
    "all": "compress = true\n"
    + "".join(part.replace("NAME", "all") for part in (AUTH, LIST, MOVE)),
    "moving": MOVE.replace("/old", "^http:").replace("/new", "https:").replace("NAME", "moving"),
    "authed": "compress = true\n" + AUTH.replace("NAME", "authed"),
    "listed": "compress = true\n" + LIST.replace("NAME", "listed"),
}
OPEN = Row("open")
FAR = {"whitelist-source-range": "10.0.0.0/8"}
CLOSED = Row("closed", FAR)


def asked(entry_point: str, target: str = "/", *headers: tuple[str, str], **more: Any) -> Ask:
    return Ask(target, headers=headers, entry_point=entry_point, **more)


VARY = "Accept-Encoding"
# title, request, status, Vary (None: absent)
OUTER = [
    ("0 ping, 5 redirect, 6 auth, 8 white list", asked("all", "/ping"), 200, None),
    ("0 white list of the API, then its auth", asked("all", "/api/findings"), 403, None),
    ("0 API, 5 redirect", asked("moving", "/api/findings"), 302, None),
    ("5 redirect, 6 auth", asked("all", "/old"), 302, None),
    ("6 auth, 7 compress", asked("all", "/"), 401, None),
    ("6 auth, 8 white list", asked("all", "/", ANN), 403, VARY),
    ("7 compress, 8 white list", asked("listed", "/"), 403, VARY),
    ("7 compress, 10 router", asked("authed", "/", ANN, host="unknown.test"), 404, VARY),
    ("8 white list, 10 router", asked("listed", "/", host="unknown.test"), 403, VARY),
    ("6 auth, 10 router", asked("authed", "/", host="unknown.test"), 401, None),
]  # fmt: skip


@pytest.fixture(scope="module", params=["all", "moving"])
def points(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Field]]:
    """`[ping]` and `[api]` on one of the entry points."""
    names = ", ".join(f'"{name}"' for name in ["http", *POINTS])
    own = f'[ping]\nentryPoint = "{request.param}"\n[api]\nentryPoint = "{request.param}"\n'
    with Field(
        tmp_path_factory.mktemp("points"), [OPEN, CLOSED], entry_points=POINTS,
        default_entry_points=f"[{names}]", settings=own,
    ) as field:  # fmt: skip
        yield request.param, field


@pytest.mark.parametrize(("title", "ask", "status", "vary"), OUTER, ids=[row[0] for row in OUTER])
def test_entry_points(points: tuple[str, Field], title, ask, status, vary) -> None:
    place, field = points
    if title == "0 API, 5 redirect" and place == "moving":
        status = 200  # the API stands in front of the redirect that every other path gets
    if ask.entry_point == "all" and ask.target in ("/ping", "/api/findings") and place != "all":
        status, vary = 401, None  # a path like any other there
    answer = field.ask(ask, ask.host or field.host(OPEN))
    assert (answer.status, answer.headers["Vary"]) == (status, vary)


def test_the_api_asks_for_a_password_behind_its_white_list(tmp_path: Any) -> None:
    points = {
        "here": "compress = true\n" + AUTH.replace("NAME", "here") + MOVE.replace("NAME", "here")
    }
    with Field(tmp_path, [OPEN], entry_points=points, settings='[api]\nentryPoint = "here"') as it:
        assert it.ask(asked("here", "/api/findings"), "a").status == 401
        answer = it.ask(asked("here", "/api/findings", ANN, GZIP), "a")
        assert (answer.status, answer.headers["Vary"]) == (200, None)  # nor is it compressed
        assert json.loads(answer.body) == []


# --- what routes do ---


def sent(*headers: tuple[str, str], **more: Any) -> Ask:
    return Ask(more.pop("target", "/"), headers=headers, **more)


STRIP = {"rule-type": "PathPrefixStrip"}
TO_TLS = {"ssl-redirect": "true", "ssl-proxy-headers": "X-Forwarded-Proto: https"}
ROOT = {"app-root": "/start"}
CERTIFICATE = "X-Forwarded-Tls-Client-Cert"
ASKS = {"auth-type": "forward", "auth-url": "http://127.0.0.1:AUTHPORT/"}
REFUSES = answering("X-Auth-Answer", status=401, body="no")
RATE = "{extractorfunc: client.ip, rateset: {a: {period: 1m, average: 1, burst: BURST}}}"
ONE_TOKEN = {"rate-limit": RATE.replace("BURST", "1")}
TWO_TOKENS = {"rate-limit": RATE.replace("BURST", "2")}
PAGES = {"error-pages": "a: {status: ['401-404', '429', '500-599'], backend: a.test/, query: /p}"}
PAGE = b"server 0"
HEADERS = {"custom-response-headers": "X-Own: 1", "frame-deny": "true"}
NO_HEADERS = {"X-Own": None, "X-Frame-Options": None}
STICKY = {"affinity": "true", "session-cookie-name": "s"}


def breaker(low: int) -> dict[str, str]:
    return {"circuit-breaker-expression": f"ResponseCodeRatio({low}, {low + 1}, 0, 600) > 0.5"}


def own(title: str, status: int, ingress: dict[str, str], **more: Any) -> Row:
    return Row(
        f"27 no headers on {title}",
        {**HEADERS, **ingress},
        **{"status": status, "client": NO_HEADERS, **more},
    )


ROWS = [
    # a router that kept case or port would not find the host
    Row("9 canonical host, 10 router", ask=Ask(host="CANONICAL.test:99"), group="canonical"),
    Row("11 strip, add, rewrite by regex", {**STRIP, "request-modifier": "AddPrefix: /p",
        "rewrite-target": "/c"}, path="/a", ask=Ask("/a/b"), target="/p/b",
        backend={"X-Forwarded-Prefix": "/a", "X-Replaced-Path": None}),
    Row("11 strip, replace by regex", {**STRIP, "request-modifier": "ReplacePathRegex: ^/b /c"},
        path="/a", ask=Ask("/a/b"), target="/c", backend={"X-Replaced-Path": "/b"}),
    Row("11 rewrite by regex, replace", {"rewrite-target": "/c",
        "request-modifier": "ReplacePath: /d"}, path="/a", ask=Ask("/a/b"), target="/d",
        backend={"X-Replaced-Path": ["/a/b", "/c/b"]}),
    Row("11 add, replace", {"rule-type": "PathPrefixStrip", "request-modifier": "ReplacePath: /d"},
        path="/a", ask=Ask("/a/b"), target="/d",
        backend={"X-Forwarded-Prefix": "/a", "X-Replaced-Path": "/b"}),
    Row("11 strip, 12 error pages", {**STRIP, **PAGES}, path="/a/", ask=Ask("/a"), status=404,
        body=b"404 page not found\n"),
    Row("12 error pages, 14 white list", {**PAGES, **FAR}, status=403, body=PAGE),
    Row("12 error pages, 17 allowed hosts", {**PAGES, "allowed-hosts": "b.test"}, status=500,
        body=PAGE),
    Row("12 error pages, 19 auth", {**PAGES, **ASKS}, ask=sent(REFUSES), status=401, body=PAGE),
    Row("12 error pages, 20 breaker", PAGES, breaker(200), again=1, status=503, body=PAGE),
    Row("12 error pages, 24 rate limit", {**PAGES, **ONE_TOKEN}, again=1, status=429, body=PAGE),
    Row("12 error pages, 25 no server", {**PAGES, "protocol": "gopher"}, status=503, body=PAGE),
    Row("14 white list, 15 redirect", {**FAR, **ROOT}, status=403, target=""),
    Row("11 strip, 15 redirect", {**STRIP, "redirect-regex": "^http://([^/]*)/b$",
        "redirect-replacement": "https://$1/c"}, path="/a", ask=Ask("/a/b"), status=302,
        client={"Location": "https://HOST/a/b"}),
    Row("15 redirect, 16 request headers", {**ROOT,
        "custom-request-headers": "X-Forwarded-Proto: https"}, status=302,
        client={"Location": "http://HOST/start"}),
    Row("15 redirect, 17 allowed hosts", {**ROOT, "allowed-hosts": "b.test"}, status=302),
    Row("14 white list, 16 request headers", {**FAR, "whitelist-x-forwarded-for": "true",
        "custom-request-headers": "X-Forwarded-For: 10.1.1.1"}, status=403, target=""),
    Row("16 request headers, 17 ssl-redirect", {**TO_TLS,
        "custom-request-headers": "X-Forwarded-Proto: https"}, target="/"),
    Row("16 request headers, 17 allowed hosts", {"allowed-hosts": "b.test",
        "proxy-headers": "X-H", "custom-request-headers": "X-H: b.test"}, target="/"),
    Row("16 request headers, 18 certificate", {"pass-client-tls-cert": "pem: true",
        "custom-request-headers": f"{CERTIFICATE}: forged"}, backend={CERTIFICATE: None}),
    Row("16 request headers, 19 auth", {**ASKS, "custom-request-headers":
        f"{REFUSES[0]}: {REFUSES[1]}"}, status=401, target=""),
    Row("17 ssl-redirect, 18 certificate", {"ssl-redirect": "true", "pass-client-tls-cert":
        "pem: true", "ssl-proxy-headers": f"{CERTIFICATE}: mine"}, ask=sent((CERTIFICATE, "mine")),
        target="/", backend={CERTIFICATE: None}),
    Row("17 allowed hosts, 19 auth", {**ASKS, "allowed-hosts": "b.test"}, ask=sent(REFUSES),
        status=500, body=b"Bad Host\n"),
    Row("18 certificate, 19 auth", {**ASKS, "pass-client-tls-cert": "pem: true"},
        ask=sent((CERTIFICATE, "mine")), target="/", backend={CERTIFICATE: None}),
    Row("19 auth, 20 breaker", ASKS, breaker(401), ask=sent(REFUSES), again=2, status=401),
    Row("19 auth, 21 buffering", ASKS, {"buffering": "maxrequestbodybytes: 3"},
        ask=sent(REFUSES, method="POST", body=b"four"), status=401),
    Row("20 breaker, 21 buffering", {}, breaker(413) | {"buffering": "maxrequestbodybytes: 3"},
        ask=sent(method="POST", body=b"four"), again=1, status=503),
    Row("20 breaker, 25 no server", {"protocol": "gopher"}, breaker(503), again=1, status=503),
    Row("21 buffering, 24 rate limit", TWO_TOKENS,
        {"buffering": "retryexpression: ResponseCode() == 500"}, ask=sent(answering(status=500)),
        status=429, target="/"),
    Row("21 buffering first, 24 rate limit untouched", ONE_TOKEN,
        {"buffering": "maxrequestbodybytes: 3"}, ask=sent(method="POST", body=b"four"), again=2,
        status=413),
    Row("24 rate limit, 25 no server", {**ONE_TOKEN, "protocol": "gopher"}, again=1, status=429),
    Row("25 no server, 26 balancer", {"protocol": "gopher"}, STICKY, status=503,
        client={"Set-Cookie": None}),
    Row("27 security, then custom headers", {"custom-response-headers": "X-Frame-Options: MINE",
        "frame-deny": "true"}, client={"X-Frame-Options": "MINE"}),
    own("301 of the slash", 301, {"rule-type": "Path"}, path="/a", ask=Ask("/a/")),
    own("302", 302, ROOT),
    own("404 of strip", 404, STRIP, path="/a/", ask=Ask("/a")),
    own("403", 403, FAR),
    own("500 of allowed hosts", 500, {"allowed-hosts": "b.test"}),
    own("301 of ssl-redirect", 301, {"ssl-redirect": "true"}),
    own("401", 401, ASKS, ask=sent(REFUSES)),
    own("413", 413, {}, service={"buffering": "maxrequestbodybytes: 3"},
        ask=sent(method="POST", body=b"four")),
    own("429", 429, ONE_TOKEN, again=1),
    own("502", 502, {}, endpoints=0, dead=1),
    own("503", 503, {"protocol": "gopher"}),
    own("500 of a backend that speaks no TLS", 500, {"protocol": "https"}),
    own("500 too large", 500, {}, service={"buffering": "maxresponsebodybytes: 3"}),
]  # fmt: skip
CANONICAL = Row("canonical", group="canonical")


@pytest.fixture(scope="module")
def asking() -> Iterator[Backend]:
    server = Backend(1, "X-Auth-Answer")
    yield server
    server.close()


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory, asking: Backend) -> Iterator[Field]:
    with Field(
        tmp_path_factory.mktemp("order"),
        [*ROWS, UPGRADED, BUSY, LIMITED],
        manifests=secret("users", {"auth": ANNS}),
        words={"AUTHPORT": str(asking.ports[0])},
    ) as field:
        yield field


LIMITED = Row("20 breaker, 24 rate limit", ONE_TOKEN, breaker(429))
ANY_PAGE = {"error-pages": PAGES["error-pages"].replace("'401-404'", "'100-404'")}
UPGRADED = Row("upgraded", {**HEADERS, **ANY_PAGE}, STICKY)
BUSY = Row(
    "23 connections, 24 rate limit",
    ONE_TOKEN,
    {"max-conn-amount": "1", "max-conn-extractor-func": "client.ip"},
    ask=sent(answering(delay=0.5)),
)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_routes(order: Field, row: Row) -> None:
    if row.group == "canonical":
        name = order.name(row)
        row = replace(row, ask=replace(row.ask, host=f"{name.upper()}.tEst:99"))
    order.check(row)


def test_certificates_before_authentication(order: Field, asking: Backend) -> None:
    row = next(row for row in ROWS if row.title == "18 certificate, 19 auth")
    asking.seen.clear()
    order.check(row)
    assert asking.seen[-1].headers[CERTIFICATE] is None


def test_the_breaker_sees_the_rate_limit(order: Field) -> None:
    statuses = []
    for _ in range(4):
        statuses.append(order.ask(Ask(), order.host(LIMITED)).status)
        time.sleep(0.12)  # an expression is not evaluated again within 100 ms
    assert statuses == [200, 429, 429, 503]


def test_connections_before_the_rate_limit(order: Field) -> None:
    """The first takes the only token and stays; the second is told of the connection."""
    with Client(order.ports["http"]) as slow:
        name, value = BUSY.ask.headers[0]
        order.backend.seen.clear()
        host = order.host(BUSY)
        slow.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n{name}: {value}\r\n\r\n".encode())
        while not order.backend.seen:
            pass
        assert order.ask(Ask(), host).body == b"max connections reached: 1"
        assert slow.response().status == 200
    assert order.ask(Ask(), host).body.startswith(b"max rate reached")


def test_no_headers_and_no_page_on_handshakes_but_the_cookie(order: Field) -> None:
    lines = [["Upgrade", "websocket"], ["Connection", "Upgrade"], ["Sec-WebSocket-Accept", "x"]]
    name, value = answering(status=101, headers=lines, body="")
    data = (
        f"GET / HTTP/1.1\r\nHost: {order.host(UPGRADED)}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {'x' * 22}==\r\n"
        f"Sec-WebSocket-Version: 13\r\n{name}: {value}\r\n\r\n"
    )
    with Client(order.ports["http"]) as client:
        client.send(data.encode())
        while b"\r\n\r\n" not in client.data:
            assert client.more()
    head = client.data.partition(b"\r\n\r\n")[0].decode()
    assert head.startswith("HTTP/1.1 101 ")
    assert "X-Own" not in head
    assert "X-Frame-Options" not in head
    assert "Set-Cookie: s=" in head
