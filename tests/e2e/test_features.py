"""Features which the engine executes by itself: manifest -> request -> backend and client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.feature_rows import Ask, Field, Row, answering, running, secret

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
FORWARDED = (("X-Forwarded-For", "10.1.2.3, 192.0.2.1"),)


def ask(target="/", *headers, **more):
    return Ask(target, headers=headers, **more)


def path_row(title, path, target, expected, prefix=None, replaced=None, status=200, **notes):
    annotations = {key.replace("_", "-"): value for key, value in notes.items()}
    return Row(
        title,
        annotations,
        path=path,
        ask=Ask(target),
        target=expected,
        status=status,
        backend={"X-Forwarded-Prefix": prefix, "X-Replaced-Path": replaced} if expected else {},
    )


STRIP = {"rule_type": "PathPrefixStrip"}
PATHS = [  # features.md 3.5, provider.md 5.5
    path_row("prefix", "/a", "/a/b?x", "/a/b?x"),
    path_row("string prefix", "/a", "/ab", "/ab"),
    path_row("strip", "/a", "/a/b?x=1", "/b?x=1", "/a", **STRIP),
    path_row("strip all", "/a", "/a", "/", "/a", **STRIP),
    path_row("strip with slash", "/a/", "/a/b", "/b", "/a/", **STRIP),
    path_row("strip with slash, none", "/a/", "/a", "", status=404, **STRIP),
    path_row("strip root", "/", "/x", "/x", "/", **STRIP),
    path_row("strip inside a word", "/stat", "/status", "/us", "/stat", **STRIP),
    path_row("path strip", "/a", "/a", "/", "/a", rule_type="PathStrip"),
    path_row("path", "/a", "/a", "/a", rule_type="Path"),
    path_row("path, longer", "/a", "/a/b", "", status=404, rule_type="Path"),
    path_row("rewrite", "/api", "/api/u?x=1", "/v2/u?x=1", None, "/api/u", rewrite_target="/v2"),
    path_row("rewrite to root", "/api", "/api/u", "/u", None, "/api/u", rewrite_target="/"),
    path_row("rewrite all to root", "/api", "/api", "/", None, "/api", rewrite_target="/"),
    path_row("rewrite root", "/", "/x", "/app/x", None, "/x", rewrite_target="/app"),
    path_row("rewrite, FIX 7", "/api", "/apix", "/x", None, "/apix", rewrite_target="/"),
    path_row("rewrite with a dot", "/v1.0", "/v1.0/x", "/v2/x", None, "/v1.0/x",
             rewrite_target="/v2"),
    path_row("strip, then rewrite", "/a", "/a/b", "/b", "/a", rewrite_target="/c", **STRIP),
    path_row("add prefix", "/", "/a?b", "/p/a?b", request_modifier="AddPrefix: /p"),
    path_row("replace path", "/", "/a/b?c", "/e?c", None, "/a/b",
             request_modifier="ReplacePath: /e"),
    path_row("replace path by rule type", "/e", "/a", "/e", None, "/a", rule_type="ReplacePath"),
    path_row("strip, then add", "/a", "/a/b", "/p/b", "/a", request_modifier="AddPrefix: /p",
             **STRIP),
    path_row("a broken modifier", "/a", "/a", "", status=404, request_modifier="Nonsense: /p"),
    path_row("a broken rule type", "/a", "/a", "", status=404, rule_type="pathprefix"),
    path_row("a broken regex", "/a", "/a/b", "/a/b", request_modifier="ReplacePathRegex: ( /x"),
    Row(
        "headers of the client are kept beside ours",
        {"rule-type": "PathPrefixStrip"},
        path="/a",
        ask=ask("/a/b", ("X-Replaced-Path", "/old")),
        target="/b",
        backend={"X-Forwarded-Prefix": "/a", "X-Replaced-Path": "/old"},
    ),
    Row(
        "slash redirect",
        {"rule-type": "Path", "whitelist-source-range": "10.0.0.0/8"},
        path="/a",
        ask=Ask("/a/?q=1"),
        status=301,
        target="",
        client={"Location": "/a?q=1", "Content-Type": HTML},
        body=b'<a href="/a?q=1">Moved Permanently</a>.\n\n',
    ),
]  # fmt: skip

HOSTS = [
    Row("host preserved", backend={"Host": "HOST", "X-Forwarded-Host": "HOST"}),
    Row(
        "host of the endpoint",
        {"preserve-host": "false"},
        backend={"X-Forwarded-Host": "HOST"},
    ),
    Row("entry point not listed", {"frontend-entry-points": "other"}, status=404, target=""),
    Row(
        "entry point listed",
        {"frontend-entry-points": "other"},
        ask=Ask(entry_point="other"),
        target="/",
    ),
    Row("entry point unknown", {"frontend-entry-points": "nope"}, status=404, target=""),
    Row("unknown protocol", {"protocol": "gopher"}, status=503, body=b"Service Unavailable"),
]

LOCAL = {"whitelist-source-range": "127.0.0.0/8"}
FAR = {"whitelist-source-range": "10.0.0.0/8, 2001:db8::/32"}
FAR_FORWARDED = {**FAR, "whitelist-x-forwarded-for": "true"}
FORBIDDEN = {"status": 403, "target": "", "body": b"Forbidden", "client": {"Content-Type": TEXT}}
WHITELIST = [
    Row("inside", LOCAL),
    Row("outside", FAR, **FORBIDDEN),
    Row("forwarded is not looked at", FAR, ask=ask("/", *FORWARDED), **FORBIDDEN),
    Row("forwarded inside", FAR_FORWARDED, ask=ask("/", *FORWARDED)),
    Row("forwarded outside", FAR_FORWARDED, ask=ask("/", ("X-Forwarded-For", "1.2.3.4")),
        **FORBIDDEN),
    Row("forwarded is no address", FAR_FORWARDED,
        ask=ask("/", ("X-Forwarded-For", "x, 10.0.0.1")), **FORBIDDEN),
    Row("forwarded with a port", FAR_FORWARDED, ask=ask("/", ("X-Forwarded-For", "10.0.0.1:99"))),
    Row("forwarded, second line", FAR_FORWARDED,
        ask=ask("/", ("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "[2001:db8::1]:4"))),
    Row("no forwarded, client outside", FAR_FORWARDED, **FORBIDDEN),
    Row("no forwarded, client inside", {**LOCAL, "whitelist-x-forwarded-for": "true"}),
    Row("void white list, FIX 15", {"whitelist-source-range": "10.0.0.0/8, nonsense"}),
]  # fmt: skip


def moved(title, annotations, location, status=302, reason=b"Found", **more):
    return Row(
        title,
        annotations,
        status=status,
        target="",
        client={"Location": location, "Content-Type": TEXT},
        body=reason,
        **more,
    )


ROOT = {"app-root": "//start"}
TO_OTHER = {"redirect-entry-point": "other"}
REDIRECTS = [
    moved("app-root", ROOT, "http://HOST/start"),
    Row("app-root, other path", ROOT, ask=Ask("/x"), target="/x"),
    Row("app-root, with query", ROOT, ask=Ask("/?a"), target="/?a"),
    moved(
        "app-root, permanent post",
        {**ROOT, "redirect-permanent": "true"},
        "http://HOST/start",
        308,
        b"Permanent Redirect",
        ask=Ask(method="POST", body=b"x"),
    ),
    moved(
        "app-root behind tls",
        ROOT,
        "https://HOST/start",
        ask=ask("/", ("X-Forwarded-Proto", "https")),
    ),
    moved("app-root with rewrite", {**ROOT, "rewrite-target": "/app"}, "http://HOST/start"),
    Row("app-root of another path", ROOT, path="/a", ask=Ask("/a"), target="/a"),
    moved(
        "app-root before entry point",
        {**ROOT, **TO_OTHER},
        "http://HOST/start",
    ),
    Row("entry point, itself", TO_OTHER, ask=Ask("/a", entry_point="other"), target="/a"),
    Row("entry point, unknown", {"redirect-entry-point": "nope"}, status=404, target=""),
    moved(
        "entry point, HEAD",
        TO_OTHER,
        "http://HOST:OTHER/a?b=c",
        307,
        b"",
        ask=Ask("/a?b=c", "HEAD"),
    ),
    moved("entry point", TO_OTHER, "http://HOST:OTHER/a?b=c", ask=Ask("/a?b=c")),
    moved(
        "entry point after strip",
        {**TO_OTHER, "rule-type": "PathPrefixStrip"},
        "http://HOST:OTHER/a/b",
        path="/a",
        ask=Ask("/a/b"),
    ),
]

HEADERS = [
    Row(
        "custom request headers",
        {"custom-request-headers": "x-team: blue:1 || X-Debug: || Host: evil"},
        ask=ask("/", ("X-Team", "red"), ("x_debug", "1"), ("X-Debug", "1")),
        backend={"X-Team": "blue:1", "X-Debug": None, "Host": "HOST"},
    ),
    Row(
        "custom request headers cannot be taken off by Connection",
        {"custom-request-headers": "X-Team: blue"},
        ask=ask("/", ("Connection", "close, X-Team"), ("X_Team", "red")),
        backend={"X-Team": "blue", "X_Team": None},
    ),
    Row(
        "custom response headers",
        {"custom-response-headers": "Cache-Control: no-store||Server:"},
        ask=ask("/", answering(headers=[["Server", "x"], ["Cache-Control", "a"]])),
        client={"Cache-Control": "no-store", "Server": None},
    ),
    Row(
        "a deleted Server header is not replaced by ours",
        {"custom-response-headers": "Server:"},
        client={"Server": None},
    ),
    Row(
        "custom response headers only on responses of the backend",
        {"custom-response-headers": "X-A: 1", **FAR},
        status=403,
        client={"X-A": None},
    ),
    Row(
        "custom headers win over security headers",
        {"custom-response-headers": "X-Frame-Options: MINE", "frame-deny": "true"},
        client={"X-Frame-Options": "MINE"},
    ),
]

SECURE = {
    "hsts-max-age": "60",
    "hsts-include-subdomains": "true",
    "hsts-preload": "true",
    "frame-deny": "true",
    "content-type-nosniff": "true",
    "browser-xss-filter": "true",
    "public-key": "pin",
    "referrer-policy": "same-origin",
    "ssl-proxy-headers": "X-Forwarded-Proto: https",
}
PLAIN_SECURITY = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "X-XSS-Protection": "1; mode=block",
    "Referrer-Policy": "same-origin",
}
HSTS = "max-age=60; includeSubDomains; preload"
SECURITY = [
    Row(
        "plain",
        SECURE,
        ask=ask("/", answering(headers=[["X-Frame-Options", "theirs"]])),
        client={
            **PLAIN_SECURITY,
            "Strict-Transport-Security": None,
            "Public-Key-Pins": None,
        },
    ),
    Row(
        "ssl by proxy header",
        SECURE,
        ask=ask("/", ("X-Forwarded-Proto", "https")),
        client={
            **PLAIN_SECURITY,
            "Strict-Transport-Security": HSTS,
            "Public-Key-Pins": "pin",
        },
    ),
    Row(
        "ssl needs the exact value",
        SECURE,
        ask=ask("/", ("X-Forwarded-Proto", "HTTPS")),
        client={"Strict-Transport-Security": None},
    ),
    Row(
        "forced hsts",
        {"hsts-max-age": "60", "force-hsts": "true"},
        client={"Strict-Transport-Security": "max-age=60"},
    ),
    Row(
        "development",
        {**SECURE, "is-development": "true", "allowed-hosts": "x", "ssl-redirect": "true"},
        ask=ask("/", ("X-Forwarded-Proto", "https")),
        client={
            **PLAIN_SECURITY,
            "Strict-Transport-Security": None,
            "Public-Key-Pins": None,
        },
    ),
    Row(
        "custom values",
        {
            "frame-deny": "true",
            "custom-frame-options-value": "SAMEORIGIN",
            "browser-xss-filter": "true",
            "custom-browser-xss-value": "0",
        },
        client={"X-Frame-Options": "SAMEORIGIN", "X-XSS-Protection": "0"},
    ),
    Row(
        "allowed host, with another case",
        {"allowed-hosts": "Shop.Example, b"},
        ask=ask("/", ("X-H", "SHOP.example")),
        status=500,
        target="",
        client={"Content-Type": TEXT, "X-Content-Type-Options": "nosniff"},
        body=b"Bad Host\n",
    ),
    Row(
        "allowed host by proxy header",
        {"allowed-hosts": "Shop.Example, b", "proxy-headers": "X-G, X-H"},
        ask=ask("/", ("X-G", ""), ("X-H", "SHOP.example")),
    ),
    Row(
        "the first of several proxy headers decides, and what stands behind them is still read",
        {
            "proxy-headers": "X-G, X-H",
            "ssl-redirect": "true",
            "ssl-proxy-headers": "X-Forwarded-Proto: https",
        },
        ask=ask("/", ("X-G", "a.test"), ("X-H", "b.test"), ("X-Forwarded-Proto", "https")),
    ),
    Row(
        "ssl-redirect",
        {"ssl-redirect": "true"},
        ask=Ask("/a?b=c", "POST", body=b"x"),
        status=301,
        target="",
        client={"Location": "https://HOST/a?b=c"},
    ),
    Row(
        "ssl-redirect, body of GET",
        {"ssl-redirect": "true", "ssl-host": "s.test", "ssl-temporary-redirect": "true"},
        ask=Ask("/a"),
        status=307,
        target="",
        client={"Location": "https://s.test/a", "Content-Type": HTML},
        body=b'<a href="https://s.test/a">Temporary Redirect</a>.\n\n',
    ),
    Row(
        "ssl-redirect after strip, FIX 20",
        {"ssl-redirect": "true", "rule-type": "PathPrefixStrip"},
        path="/a",
        ask=Ask("/a/b"),
        status=301,
        client={"Location": "https://HOST/a/b"},
    ),
    Row(
        "ssl-force-host",
        {
            "ssl-force-host": "true",
            "ssl-host": "s.test",
            "ssl-proxy-headers": "X-Forwarded-Proto: https",
        },
        ask=ask("/a", ("X-Forwarded-Proto", "https")),
        status=301,
        client={"Location": "https://s.test/a"},
    ),
    Row("ssl-temporary-redirect alone", {"ssl-temporary-redirect": "true"}),
    Row(
        "location fixed",
        {"ssl-host": "s.test", "ssl-proxy-headers": "X-Forwarded-Proto: https"},
        ask=ask(
            "/",
            ("X-Forwarded-Proto", "https"),
            answering(status=302, headers=[["Location", "http://s.test/x"]]),
        ),
        status=302,
        client={"Location": "https://s.test/x"},
    ),
    Row(
        "location of another host",
        {"ssl-host": "s.test", "ssl-proxy-headers": "X-Forwarded-Proto: https"},
        ask=ask(
            "/",
            ("X-Forwarded-Proto", "https"),
            answering(status=302, headers=[["Location", "http://s.test.evil/x"]]),
        ),
        status=302,
        client={"Location": "http://s.test.evil/x"},
    ),
]


def waiting(period, average, seconds, written):
    """The second request has to wait for a token: rounded half to even, and as Go writes it."""
    rate = f"{{period: {period}, average: {average}, burst: 1}}"
    return Row(
        f"rate limit, {written}",
        {"rate-limit": f"{{extractorfunc: client.ip, rateset: {{a: {rate}}}}}"},
        again=1,
        target="",
        status=429,
        client={"Retry-After": seconds, "X-Retry-In": written},
        body=f"max rate reached: retry-in {written}".encode(),
    )


BY_HEADER = """
extractorfunc: request.header.X-Key
rateset: {a: {period: 3s, average: 6, burst: 2}}
"""
LIMITS = [
    Row("rate limit, within", {"rate-limit": BY_HEADER}, again=1, target="/"),
    Row(
        "rate limit, beyond",
        {"rate-limit": BY_HEADER},
        again=2,
        target="",
        status=429,
        client={"Retry-After": "0", "Content-Type": TEXT},
    ),
    waiting("3s", 2, "2", "1.5s"),
    waiting("5s", 2, "2", "2.5s"),
    waiting("7s", 2, "4", "3.5s"),
    waiting("10s", 1, "10", "10s"),
    waiting("3m", 2, "90", "1m30s"),
    waiting("1h", 1, "3600", "1h0m0s"),
    waiting("90061s", 1, "90061", "25h1m1s"),
    Row(
        "breaker stays closed",
        {},
        {"circuit-breaker-expression": "NetworkErrorRatio() > 0.5"},
        target="/",
    ),
    Row(
        "max connections, within",
        {},
        {"max-conn-amount": "1", "max-conn-extractor-func": "client.ip"},
        again=3,
        target="/",
    ),
]

COOKIE = {"affinity": "true", "session-cookie-name": "a b"}
AFFINITY = [
    Row(
        "cookie set",
        {},
        {
            **COOKIE,
            "session-secure": "true",
            "session-http-only": "true",
            "session-same-site": "lax",
        },
        client={"Set-Cookie": "a_b=http://127.0.0.1:FIRST; Path=/; HttpOnly; Secure; SameSite=Lax"},
    ),
    Row(
        "cookie of a gone endpoint",
        {},
        COOKIE,
        ask=ask("/", ("Cookie", "a_b=http://127.0.0.1:1")),
        client={"Set-Cookie": "a_b=http://127.0.0.1:FIRST; Path=/"},
    ),
    Row(
        "deprecated sticky",
        {},
        {"traefik.backend.loadbalancer.sticky": "true"},
        ask=ask("/", answering(status=404)),
        status=404,
        client={"Set-Cookie": "_TRAEFIK_BACKEND=http://127.0.0.1:FIRST; Path=/"},
    ),
]

DEAD = Row("a dead endpoint sets its cookie too", {}, COOKIE, endpoints=0, dead=1, status=502)

ORDER = [
    Row(
        "strip before white list",
        {**FAR, "rule-type": "PathPrefixStrip"},
        path="/a/",
        ask=Ask("/a"),
        status=404,
    ),
    Row("white list before redirect", {**FAR, **TO_OTHER}, status=403),
    Row("white list before ssl-redirect", {**FAR, "ssl-redirect": "true"}, status=403),
    Row(
        "white list before auth", {**FAR, "auth-type": "basic", "auth-secret": "users"}, status=403
    ),
    Row(
        "redirect before ssl-redirect",
        {**TO_OTHER, "ssl-redirect": "true"},
        status=302,
    ),
    Row(
        "custom request headers before ssl-redirect",
        {
            "custom-request-headers": "X-Forwarded-Proto: https",
            "ssl-redirect": "true",
            "ssl-proxy-headers": "X-Forwarded-Proto: https",
        },
        target="/",
    ),
    Row(
        "security headers not on own answers",
        {**FAR, "frame-deny": "true", "hsts-max-age": "1", "force-hsts": "true"},
        status=403,
        client={"X-Frame-Options": None, "Strict-Transport-Security": None},
    ),
    Row(
        "security headers not on 503",
        {"frame-deny": "true", "protocol": "gopher"},
        status=503,
        client={"X-Frame-Options": None},
    ),
]

ROWS = [
    *PATHS,
    *HOSTS,
    *WHITELIST,
    *REDIRECTS,
    *HEADERS,
    *SECURITY,
    *LIMITS,
    *AFFINITY,
    DEAD,
    *ORDER,
]


@pytest.fixture(scope="module", params=["ingress", "traefik", "legacy"])
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Field]:
    """Every row with either prefix, and with the older names where there are some."""
    users = secret("users", {"auth": "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="})
    folder = tmp_path_factory.mktemp("features")
    yield from running(folder, ROWS, manifests=users, spelling=request.param)


def test_a_dead_endpoint_sets_its_cookie_too(proxy: Field) -> None:
    """1.7 sets it when it picks: on the response, "whatever its status"."""
    answer = proxy.send(DEAD)
    assert (answer.status, answer.body) == (502, b"Bad Gateway")
    [cookie] = answer.headers.get_all("Set-Cookie")
    assert re.fullmatch("a_b=http://127\\.0\\.0\\.1:[0-9]+; Path=/", cookie)
    headers = (("Cookie", cookie.partition(";")[0]),)
    again = proxy.ask(replace(DEAD.ask, headers=headers), proxy.host(DEAD))
    assert (again.status, again.headers["Set-Cookie"]) == (502, None)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_rows(proxy: Field, row: Row) -> None:
    proxy.check(row)
