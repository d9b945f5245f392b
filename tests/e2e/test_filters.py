"""Features which are Python filters: manifest -> request -> backend and client."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import bcrypt
import pytest

from tests.support.feature_rows import Ask, Backend, Field, Row, answering, ingress, running, secret

TEXT = "text/plain; charset=utf-8"
HTML = "text/html"


def ask(target="/", *headers, **more):
    return Ask(target, headers=headers, **more)


def basic(user, password):
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return ("Authorization", f"Basic {token}")


def regex(expression, replacement, **more):
    return {"redirect-regex": expression, "redirect-replacement": replacement, **more}


def moved(title, annotations, location, **more):
    return Row(
        title,
        annotations,
        status=302,
        target="",
        client={"Location": location, "Content-Type": TEXT},
        body=b"Found",
        **more,
    )


STRIP = {"rule-type": "PathPrefixStrip"}
REWRITES = [
    Row(
        "regex rewrite",
        {"request-modifier": "ReplacePathRegex: ^/v1/(.*) /v2/$1"},
        ask=Ask("/v1/a%20b?x"),
        target="/v2/a%20b?x",
        backend={"X-Replaced-Path": "/v1/a%20b"},
    ),
    Row(
        "regex rewrite, no match",
        {"request-modifier": "ReplacePathRegex: ^/v1/(.*) /v2/$1"},
        ask=Ask("/v3/a"),
        target="/v3/a",
        backend={"X-Replaced-Path": None},
    ),
    Row(
        "regex rewrite to a bad path",
        {"request-modifier": "ReplacePathRegex: ^/x(.*) /a/../b"},
        ask=Ask("/x"),
        target="",
        status=400,
    ),
    Row(
        "rewrite-target with a pattern",
        {"rewrite-target": "/v2/$0/"},
        ask=Ask("/a"),
        target="/v2//a/a",  # empty segments are kept (http-safety.md 3)
    ),
    Row(
        "rewrite-target after AddPrefix",
        {"rewrite-target": "/c", "request-modifier": "AddPrefix: /p"},
        path="/a.b",
        ask=Ask("/a.b/x"),
        target="/p/a.b/x",
    ),
]

REDIRECTS = [
    moved(
        "regex redirect",
        regex("^http://row[0-9]*\\\\.test/old/(.*)", "https://new.example/$1"),
        "https://new.example/a?b=c",
        ask=Ask("/old/a?b=c"),
    ),
    Row(
        "regex redirect, no match",
        regex("^https://", "http://"),
        ask=Ask("/a"),
        target="/a",
    ),
    Row(
        "regex redirect to itself",
        regex("^http://(.*)", "http://$1"),
        ask=Ask("/a?b"),
        target="/a?b",
    ),
    moved(
        "regex redirect with a placeholder",
        regex("^http://[^/]*", "https://{{ .Request.Host }}.example"),
        "https://HOST.example/a",
        ask=ask("/a", ("X-A", "{{ .Request.Method }}")),
    ),
    moved(
        "regex redirect after strip",
        regex("^http://[^/]*(.*)", "https://x.example/y$1", **STRIP),
        "https://x.example/a/b",
        path="/a",
        ask=Ask("/a/b"),
    ),
    Row(
        "regex redirect to no url",
        regex("^http://(.*)", "http://a:b/"),
        status=502,
        target="",
        body=b"Bad Gateway",
        client={"Content-Type": TEXT},
    ),
    Row("regex redirect, bad regex", regex("(", "b"), status=404, target=""),
    Row("regex redirect, unquotable", regex("a\\d", "b"), ask=Ask("/a5"), target="/a5"),
    Row("regex redirect, bad placeholder", regex("a", "{{ env }}"), status=404, target=""),
    Row(
        "white list before regex redirect",
        {**regex(".*", "b"), "whitelist-source-range": "10.0.0.0/8"},
        status=403,
    ),
    Row(
        "regex redirect before auth",
        {**regex("^http:", "https:"), "auth-type": "basic", "auth-secret": "users"},
        status=302,
        client={"Location": "https://HOST/"},
    ),
]

BASIC = {"auth-type": "basic", "auth-secret": "users"}
TOLD = {**BASIC, "auth-header-field": "X-User", "auth-remove-header": "true"}
REFUSED = {
    "status": 401,
    "target": "",
    "client": {"WWW-Authenticate": 'Basic realm="traefik"', "Content-Type": "text/plain"},
    "body": b"401 Unauthorized\n",
}
AUTH = [
    Row("basic, nobody", BASIC, **REFUSED),
    Row("basic, sha", BASIC, ask=ask("/a", basic("ann", "secret")), target="/a",
        backend={"Authorization": basic("ann", "secret")[1]}),
    Row("basic, md5", BASIC, ask=ask("/a", basic("bob", "secret")), target="/a"),
    Row("basic, bcrypt", BASIC, ask=ask("/a", basic("joe", "secret")), target="/a"),
    Row("basic, bcrypt again", BASIC, again=3, ask=ask("/a", basic("joe", "secret")), target="/a"),
    Row("basic, wrong sha", BASIC, ask=ask("/", basic("ann", "x")), **REFUSED),
    Row("basic, wrong md5", BASIC, ask=ask("/", basic("bob", "x")), **REFUSED),
    Row("basic, wrong bcrypt", BASIC, ask=ask("/", basic("joe", "x")), **REFUSED),
    Row("basic, unknown", BASIC, ask=ask("/", basic("eve", "secret")), **REFUSED),
    Row("basic, body goes on", TOLD,
        ask=ask("/a", basic("joe", "secret"), ("x_user", "root"), ("X-USER", "root"),
                method="POST", body=b"x" * 100_000),
        target="/a", backend={"X-User": "joe", "x_user": None, "Authorization": None}),
    Row("basic, the user cannot be taken off by Connection", TOLD,
        ask=ask("/a", basic("joe", "secret"), ("Connection", "close, X-User, X-Forwarded-For"),
                ("X-User", "root")),
        target="/a", backend={"X-User": "joe", "X-Forwarded-For": "127.0.0.1"}),
    Row("basic, missing secret", {**BASIC, "auth-secret": "nope"}, status=404, target=""),
    Row("basic, bad line", {**BASIC, "auth-secret": "bad"}, status=404, target=""),
    Row("auth, bad type", {"auth-type": "x"}, status=404, target=""),
    Row("digest, nobody", {"auth-type": "digest", "auth-secret": "digest"}, status=401, target="",
        body=b"401 Unauthorized\n"),
    Row("custom request headers may break auth", {**BASIC, "custom-request-headers":
        "Authorization: nothing"}, ask=ask("/", basic("ann", "secret")), status=401),
    Row("ssl-redirect before auth", {**BASIC, "ssl-redirect": "true"}, status=301),
    Row("auth before rate limit", {**BASIC, "rate-limit":
        "{extractorfunc: client.ip, rateset: {a: {period: 1m, average: 1, burst: 1}}}"},
        again=3, status=401),
    Row("rate limit after auth", {**BASIC, "rate-limit":
        "{extractorfunc: client.ip, rateset: {a: {period: 1m, average: 1, burst: 1}}}"},
        ask=ask("/", basic("ann", "secret")), again=1, status=429),
]  # fmt: skip

ASKS = {"auth-type": "forward", "auth-url": "http://127.0.0.1:AUTHPORT/check"}


def told(**wanted):
    return answering("X-Auth-Answer", **wanted)


FORWARD = [
    Row(
        "forward, allowed",
        {**ASKS, "auth-response-headers": "X-User"},
        ask=ask("/a", ("x-user", "root"), ("X_User", "root"), told(headers=[["X-User", "ann"]])),
        target="/a",
        backend={"X-User": "ann", "X_User": None},
    ),
    Row(
        "forward, Connection cannot take headers off",
        {**ASKS, "auth-response-headers": "X-User"},
        ask=ask("/a", ("Connection", "close, x-user"), told(headers=[["X-User", "ann"]])),
        target="/a",
        backend={"X-User": "ann"},
    ),
    Row(
        "forward, allowed, with a body",
        ASKS,
        ask=ask("/a", method="POST", body=b"y" * 200_000),
        target="/a",
        body=b"server 0",
    ),
    Row(
        "forward, refused",
        ASKS,
        ask=ask(
            "/a",
            told(
                status=403,
                body="no",
                headers=[["X-A", "1"], ["Set-Cookie", "a"], ["Set-Cookie", "b"]],
            ),
        ),
        status=403,
        target="",
        body=b"no",
        client={"X-A": "1", "Set-Cookie": ["a", "b"]},
    ),
    Row(
        "forward, login page",
        ASKS,
        ask=ask("/a", told(status=302, body="", headers=[["Location", "/login"]])),
        status=302,
        target="",
        client={"Location": "http://127.0.0.1:AUTHPORT/login"},
    ),
    Row(
        "forward, unreachable",
        {**ASKS, "auth-url": "http://127.0.0.1:1/"},
        status=500,
        target="",
        body=b"",
    ),
    Row("forward, no url", {"auth-type": "forward"}, status=404, target=""),
]

BUFFER = {"buffering": "{maxrequestbodybytes: 1000, maxresponsebodybytes: 1000}"}
RETRY = {"buffering": "retryexpression: ResponseCode() == 500 && Attempts() <= 2"}
BUFFERING = [
    Row(
        "buffered",
        {},
        BUFFER,
        ask=ask("/a", answering(chunked=True), method="POST", body=b"x" * 1000),
        target="/a",
        backend={"Content-Length": "1000", "Transfer-Encoding": None},
        client={"Content-Length": "8", "Transfer-Encoding": None},
        body=b"server 0",
    ),
    Row(
        "request too large",
        {},
        BUFFER,
        ask=ask("/a", method="POST", body=b"x" * 1001),
        target="",
        status=413,
        body=b"Request Entity Too Large",
    ),
    Row(
        "response too large",
        {},
        BUFFER,
        ask=ask("/a", answering(body="y" * 1001)),
        status=500,
        body=b"Internal Server Error",
    ),
    Row("head is not buffered away", {}, BUFFER, ask=Ask("/a", "HEAD"), target="/a",
        client={"Content-Length": "8"}),
    Row(
        "retried",
        {},
        RETRY,
        ask=ask("/retried", answering(statuses=[500, 500, 201]), method="POST", body=b"data"),
        target="/retried",
        status=201,
    ),
    Row(
        "retried in vain",
        {},
        RETRY,
        ask=ask("/vain", answering(statuses=[500])),
        status=500,
        body=b"server 0",
    ),
    Row(
        "buffered in pieces",
        {},
        BUFFER,
        ask=ask("/a", answering(pieces=["x" * 400, "y" * 600], pause=0.05)),
        client={"Content-Length": "1000", "Transfer-Encoding": None},
        body=b"x" * 400 + b"y" * 600,
    ),
    Row(
        "buffered in pieces, too large",
        {},
        BUFFER,
        ask=ask("/a", answering(pieces=["x" * 400, "y" * 601], pause=0.05)),
        status=500,
        body=b"Internal Server Error",
    ),
    Row(
        "buffered in pieces, on disk",
        {},
        {"buffering": "memresponsebodybytes: 10"},
        ask=ask("/a", answering(pieces=["x" * 5, "y" * 6, "z" * 5000], pause=0.05)),
        client={"Content-Length": "5011"},
        body=b"x" * 5 + b"y" * 6 + b"z" * 5000,
    ),
    Row(
        "buffered, no body",
        {},
        BUFFER,
        ask=ask("/a", answering(status=204, body="")),
        status=204,
        body=b"",
    ),
    Row(
        "buffered, sticky, with an own answer for the backend",
        {},
        {**BUFFER, "affinity": "true"},
        ask=ask("/a", answering(status=404, body="no")),
        status=404,
        body=b"no",
    ),
    Row(
        "response headers inside buffering",
        {"custom-response-headers": "X-A: 1"},
        BUFFER,
        client={"X-A": "1"},
    ),
    Row("own answers inside buffering", {"protocol": "gopher"}, BUFFER, status=503,
        body=b"Service Unavailable"),
]  # fmt: skip


def test_buffered_answers_keep_their_connection(proxy: Field) -> None:
    """One after the other, and sent at once: whole, in pieces, refused, whole."""
    row = next(row for row in ROWS if row.title == "buffered")
    wanted = [{}, {"pieces": ["a", "b" * 300], "pause": 0.02}, {"body": "y" * 1001}, {}]
    requests = [
        f"GET /a HTTP/1.1\r\nHost: {proxy.host(row)}\r\nX-Answer: {json.dumps(one)}\r\n\r\n"
        for one in wanted
    ]
    expected = [(200, b"server 0"), (200, b"a" + b"b" * 300)]
    expected += [(500, b"Internal Server Error"), (200, b"server 0")]
    for together in (False, True):
        with socket.create_connection(("127.0.0.1", proxy.ports["http"]), timeout=10) as client:
            reader = client.makefile("rb")
            if together:
                client.sendall("".join(requests).encode())
            answers = []
            for request in requests:
                if not together:
                    client.sendall(request.encode())
                status = int(reader.readline().split()[1])
                headers = http.client.parse_headers(reader)
                answers.append((status, reader.read(int(headers["Content-Length"]))))
            assert answers == expected


PAGES = {
    "error-pages": "a: {status: ['404', '500-599', '403', '401', '429'], "
    "backend: pages.test/, query: '/{status}.html'}"
}
ERRORS = [
    Row(
        "page",
        PAGES,
        ask=ask("/x", answering(status=503, headers=[["X-Theirs", "1"]])),
        status=503,
        client={"X-Theirs": None, "X-Page": "1"},
        body=b"page GET /503.html 0.0.0.0",
    ),
    Row(
        "page for a post",
        PAGES,
        ask=ask("/x", answering(status=500), method="POST", body=b"x" * 50_000),
        status=500,
        body=b"page GET /500.html 0.0.0.0",
    ),
    Row("no page for other statuses", PAGES, ask=ask("/x", answering(status=418)), status=418,
        body=b"server 0"),
    Row(
        "page for an own answer",
        {**PAGES, "whitelist-source-range": "10.0.0.0/8"},
        status=403,
        body=b"page GET /403.html 0.0.0.0",
    ),
    Row(
        "page for a buffered answer",
        PAGES,
        BUFFER,
        ask=ask("/x", answering(status=503, pieces=["a", "b"], pause=0.02)),
        status=503,
        body=b"page GET /503.html 0.0.0.0",
    ),
    Row(
        "page for an answer too large for the buffer",
        PAGES,
        BUFFER,
        ask=ask("/x", answering(body="y" * 1001)),
        status=500,
        body=b"page GET /500.html 0.0.0.0",
    ),
    Row("page for auth", {**PAGES, **BASIC}, status=401, body=b"page GET /401.html 0.0.0.0"),
    Row("page for 503", {**PAGES, "protocol": "gopher"}, status=503,
        body=b"page GET /503.html 0.0.0.0"),
    Row("page for a page", PAGES, ask=ask("/x", answering(status=404), ("X-Page-Status", "500")),
        status=404, body=b"page GET /404.html 0.0.0.0"),
    Row(
        "unknown backend",
        {"error-pages": "a: {status: ['404'], backend: nope.test/, query: /}"},
        ask=ask("/x", answering(status=404)),
        status=404,
        body=b"server 0",
    ),
    Row(
        "the first page whose backend there is",
        {
            "error-pages": "a: {status: ['404'], backend: nope.test/, query: /}\n"
            "b: {status: ['404'], backend: pages.test/, query: /b}\n"
            "c: {status: ['404'], backend: pages.test/, query: /c}"
        },
        ask=ask("/x", answering(status=404)),
        status=404,
        body=b"page GET /b 0.0.0.0",
    ),
    Row(
        "backend of another entry point",
        {"error-pages": "a: {status: ['404'], backend: other_pages2.test/, query: /}"},
        ask=ask("/x", answering(status=404)),
        status=404,
        body=b"Internal Server Error",
    ),
    Row(
        "strip stands outside of error pages",
        {**PAGES, **STRIP},
        path="/a/",
        ask=Ask("/a"),
        status=404,
        body=b"404 page not found\n",
    ),
]  # fmt: skip

ROWS = [*REWRITES, *REDIRECTS, *AUTH, *FORWARD, *BUFFERING, *ERRORS]
HA1 = hashlib.md5(b"ann:traefik:secret").hexdigest()
USERS = (
    "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n"
    "bob:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\n"
    f"joe:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n"
)
SECRETS = [
    secret("users", {"auth": USERS}),
    secret("digest", {"auth": f"ann:traefik:{HA1}"}),
    secret("bad", {"auth": "ann"}),
]


@pytest.fixture(scope="module")
def auth_server() -> Iterator[Backend]:
    server = Backend(1, "X-Auth-Answer")
    yield server
    server.close()


@pytest.fixture(scope="module", params=["ingress", "traefik"])
def proxy(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    auth_server: Backend,
) -> Iterator[Field]:
    """Every row with either prefix."""
    yield from running(
        tmp_path_factory.mktemp("filters"),
        ROWS,
        spelling=request.param,
        manifests="\n---\n".join(SECRETS),
        words={"AUTHPORT": str(auth_server.ports[0])},
    )


@pytest.mark.parametrize("row", [row for row in ROWS if row not in ERRORS], ids=str)
def test_rows(proxy: Field, row: Row) -> None:
    proxy.check(row)


def test_forward_auth_sees_the_request_as_received(proxy: Field, auth_server: Backend) -> None:
    row = next(row for row in ROWS if row.title == "forward, allowed, with a body")
    headers = (
        ("X-Forwarded-For", "10.9.8.7"),
        ("X-Forwarded-Method", "EVIL"),
        ("Cookie", "a=b"),
        ("Connection", "keep-alive"),
    )
    auth_server.seen.clear()
    proxy.ask(Ask("/a?b=c", "POST", headers, b"abc"), proxy.host(row))
    [seen] = auth_server.seen
    assert (seen.method, seen.target, seen.body) == ("GET", "/check", b"")
    found = {name: seen.headers.get_all(name) for name in set(seen.headers)}
    assert found == {
        "Host": [f"127.0.0.1:{auth_server.ports[0]}"],
        "Cookie": ["a=b"],
        "X-Forwarded-For": ["127.0.0.1"],
        "X-Forwarded-Method": ["POST"],
        "X-Forwarded-Proto": ["http"],
        "X-Forwarded-Host": [proxy.host(row)],
        "X-Forwarded-Uri": ["/a?b=c"],
    }


def test_digest_end_to_end(proxy: Field) -> None:
    row = next(row for row in ROWS if row.title == "digest, nobody")
    host = proxy.host(row)
    challenge = proxy.ask(Ask("/a"), host).headers["WWW-Authenticate"]
    nonce = re.search('nonce="([^"]*)"', challenge)[1]
    opaque = re.search('opaque="([^"]*)"', challenge)[1]

    def answer(count: str, ha1: str = HA1) -> int:
        ha2 = hashlib.md5(b"GET:/a").hexdigest()
        text = f"{ha1}:{nonce}:{count}:abc:auth:{ha2}"
        header = (
            f'Digest username="ann", realm="traefik", nonce="{nonce}", uri="/a", '
            f'response="{hashlib.md5(text.encode()).hexdigest()}", opaque="{opaque}", '
            f'algorithm="MD5", qop=auth, nc={count}, cnonce="abc"'
        )
        return proxy.ask(Ask("/a", headers=(("Authorization", header),)), host).status

    assert [answer("00000001"), answer("00000001"), answer("00000002")] == [200, 401, 200]
    assert answer("00000003", "0" * 32) == 401


def test_slow_hashes_do_not_hold_up_other_requests(proxy: Field) -> None:
    """Ten wrong passwords at once, each a bcrypt: every one is 401, and others are served."""
    row = next(row for row in ROWS if row.title == "basic, bcrypt")
    other = next(row for row in ROWS if row.title == "regex rewrite, no match")
    statuses = []

    def wrong(number: int) -> None:
        answer = proxy.ask(ask("/", basic("joe", f"wrong{number}")), proxy.host(row))
        statuses.append(answer.status)

    threads = [threading.Thread(target=wrong, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    assert proxy.send(other).status == 200
    for thread in threads:
        thread.join(10)
    assert statuses == [401] * 10


POINTS = {
    "guarded": '[entryPoints.guarded.auth.basic]\nusersFile = "USERSFILE"\n',
    "listed": '[entryPoints.listed.whiteList]\nsourceRange = ["10.0.0.0/8"]\n',
    "named": '[entryPoints.named.whiteList]\nsourceRange = ["10.0.0.0/8"]\n'
    "useXForwardedFor = true\n",
    "moved": '[entryPoints.moved.redirect]\nentryPoint = "http"\n',
    "regex": '[entryPoints.regex.redirect]\nregex = "^http://[^/]*/old/(.*)"\n'
    'replacement = "http://new.example/$1"\n',
    "all": '[entryPoints.all.auth.basic]\nusers = ["ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="]\n'
    '[entryPoints.all.whiteList]\nsourceRange = ["10.0.0.0/8"]\n'
    '[entryPoints.all.redirect]\nregex = "/old"\nreplacement = "/new"\n',
}
ANN = basic("ann", "secret")
PLAIN = Row("plain", {"whitelist-source-range": "127.0.0.1"})
ENTRY_POINTS = [  # entry point, request, status, Location
    ("guarded", Ask("/a"), 401, None),
    ("guarded", ask("/a", ANN), 200, None),
    ("guarded", ask("/a", basic("ann", "x")), 401, None),
    ("guarded", ask("/a", host="unknown.test"), 401, None),
    ("guarded", ask("/a", ANN, host="unknown.test"), 404, None),
    ("listed", Ask("/a"), 403, None),
    ("listed", Ask("/a", host="unknown.test"), 403, None),
    ("named", Ask("/a"), 403, None),
    ("named", ask("/a", ("X-Forwarded-For", "192.0.2.1, 10.1.2.3:99")), 200, None),
    ("named", ask("/a", ("X-Forwarded-For", "192.0.2.1")), 403, None),
    ("named", ask("/a", ("X-Forwarded-For", "nobody, 10.1.2.3")), 403, None),
    ("moved", Ask("/a?b"), 302, "http://HOST:HTTP/a?b"),
    ("moved", Ask("/a?b", host="unknown.test"), 302, "http://unknown.test:HTTP/a?b"),
    ("regex", Ask("/old/x"), 302, "http://new.example/x"),
    ("regex", Ask("/x"), 200, None),
    ("regex", Ask("/x", host="unknown.test"), 404, None),
    ("all", Ask("/old"), 302, "http://HOST/new"),  # redirect before auth
    ("all", Ask("/x"), 401, None),  # auth before white list
    ("all", ask("/x", ANN), 403, None),
]


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("points")
    (folder / "users").write_text("# users\n\nann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")
    tables = {k: v.replace("USERSFILE", str(folder / "users")) for k, v in POINTS.items()}
    names = ", ".join(f'"{name}"' for name in ["http", *POINTS])
    yield from running(folder, [PLAIN], entry_points=tables, default_entry_points=f"[{names}]")


@pytest.mark.parametrize(("name", "request_", "status", "location"), ENTRY_POINTS)
def test_entry_points(points: Field, name, request_, status, location) -> None:
    request = replace(request_, entry_point=name)
    answer = points.ask(request, request.host or points.host(PLAIN))
    assert answer.status == status
    if location is not None:
        host = request.host or points.host(PLAIN)
        expected = location.replace("HOST", host).replace("HTTP", str(points.ports["http"]))
        assert answer.headers["Location"] == expected


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    page = ingress("pages", "pages.test", "/", "pages", {})
    page += "\n---\n"
    page += ingress("pages2", "pages2.test", "/", "pages", {"frontend-entry-points": "other"})
    yield from running(
        tmp_path_factory.mktemp("pages"), ERRORS, manifests=f"{page}\n---\n{SECRETS[0]}",
        pages=True,
        entry_points={"wary": '[entryPoints.wary.forwardedHeaders]\ntrustedIPs = ["10.0.0.9"]\n'},
        default_entry_points='["http", "wary"]',
    )  # fmt: skip


FORGED = (("X-Forwarded-For", "10.1.1.1"), ("x-real-ip", "10.1.1.1"), ("Cookie", "a=b"))


@pytest.mark.parametrize(("entry_point", "kept"), [("http", True), ("wary", False)])
def test_a_page_gets_the_headers_of_the_request(pages: Field, entry_point: str, kept: bool) -> None:
    """Those of a client nobody trusts without the ones that only proxies may set."""
    assert pages.pages is not None
    pages.pages.seen.clear()
    row = next(row for row in ERRORS if row.title == "page")
    request = replace(row.ask, headers=(*row.ask.headers, *FORGED), entry_point=entry_point)
    assert pages.ask(request, pages.host(row)).status == 503
    [seen] = pages.pages.seen
    found = [seen.headers[name] for name, _ in FORGED]
    assert found == (["10.1.1.1", "10.1.1.1", "a=b"] if kept else [None, None, "a=b"])


@pytest.mark.parametrize("row", ERRORS, ids=str)
def test_error_pages(pages: Field, row: Row) -> None:
    pages.check(row)
