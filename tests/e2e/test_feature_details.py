"""Sentences of `features.md` 3.4 to 3.12 that the larger tables leave out, through real sockets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.feature_rows import Ask, Field, Row, answering, ingress
from tests.support.scripted import Client

HTML = "text/html; charset=utf-8"


def sent(*headers: tuple[str, str], target: str = "/", **more: Any) -> Ask:
    return Ask(target, headers=headers, **more)


GONE: dict[str, Any] = {"status": 404, "target": ""}
STRIP = {"rule-type": "PathPrefixStrip"}
TLS = ("X-Forwarded-Proto", "https")

PATHS = [  # 3.4, 3.5
    Row("template prefix", path="/{id:[0-9]+}/x", ask=Ask("/42/xy"), target="/42/xy"),
    Row("template prefix, no match", path="/{id:[0-9]+}/x", ask=Ask("/a/x"), **GONE),
    Row("template path", {"rule-type": "Path"}, path="/{id}/x", ask=Ask("/a/x"), target="/a/x"),
    Row("template path, longer", {"rule-type": "Path"}, path="/{id}/x", ask=Ask("/a/x/y"), **GONE),
    Row("template path, slash", {"rule-type": "Path"}, path="/{id}/x", ask=Ask("/a/x/?q"),
        status=301, client={"Location": "/a/x?q"}),
    Row("broken template", path="/{id", ask=Ask("/%7Bid"), status=404),
    Row("path is case-sensitive", path="/A", ask=Ask("/a"), **GONE),
    Row("encoded slash stays encoded", STRIP, path="/a", ask=Ask("/a/b%2Fc?d=%2F"),
        target="/b%2Fc?d=%2F", backend={"X-Forwarded-Prefix": "/a"}),
    Row("encoded letter matches", path="/abc", ask=Ask("/%61bc/x"), status=200),
    Row("dots are resolved before matching", path="/a", ask=Ask("/b/../a/x"), target="/a/x"),
    Row("query is kept by replace", {"request-modifier": "ReplacePath: /e"},
        ask=Ask("/a?b=c&d"), target="/e?b=c&d"),
    Row("X-Forwarded-Prefix is appended", STRIP, path="/a",
        ask=sent(("X-Forwarded-Prefix", "/theirs"), target="/a/b"), target="/b",
        backend={"X-Forwarded-Prefix": ["/theirs", "/a"]}),
    Row("X-Replaced-Path is appended", {"request-modifier": "ReplacePath: /e"},
        ask=sent(("X-Replaced-Path", "/theirs")), target="/e",
        backend={"X-Replaced-Path": ["/theirs", "/"]}),
    Row("modifier text behind a second colon is lost", {"request-modifier": "AddPrefix: /p:q"},
        ask=Ask("/a"), target="/p/a"),
    Row("a comma is part of the path, FIX 8", path="/a,b;c", ask=Ask("/a,b;c/d"),
        target="/a,b;c/d"),
    Row("half of a path with a comma, FIX 8", path="/a,b", ask=Ask("/a"), **GONE),
    Row("every occurrence is replaced", {"request-modifier": "ReplacePathRegex: a b"},
        ask=Ask("/a/a"), target="/b/b", backend={"X-Replaced-Path": "/a/a"}),
    Row("host in capitals, with port", ask=Ask("/x", host="ROWNAME.TEST:81")),
]  # fmt: skip


def slashes(path: str, target: str, status: int, location: str | None = None) -> Row:
    return Row(
        f"Path:{path} asked for {target}", {"rule-type": "Path"}, path=path, ask=Ask(target),
        status=status, client={"Location": location},
        target=target if status == 200 else "",
    )  # fmt: skip


SLASHES = {  # 3.4: keepTrailingSlash -> rows
    "false": [
        slashes("/p", "/p", 200),
        slashes("/p", "/p/", 301, "/p"),
        slashes("/p/", "/p/", 200),
        slashes("/p/", "/p", 301, "/p/"),
        slashes("/p/", "/p?a=%2F&b", 301, "/p/?a=%2F&b"),
    ],
    "true": [
        slashes("/p", "/p", 200),
        slashes("/p", "/p/", 404),
        slashes("/p/", "/p/", 200),
        slashes("/p/", "/p", 404),
    ],
}


def moved(title: str, annotations: dict[str, str], location: str, **more: Any) -> Row:
    expected = {"status": 302, "target": "", "client": {"Location": location}, **more}
    return Row(title, annotations, **expected)


ROOT = {"app-root": "///start?x=1"}
OTHER = {"redirect-entry-point": "other"}
REGEX = {"redirect-regex": "^http://[^/]*/(.*)", "redirect-replacement": "https://b.test/n/$1"}
REDIRECTS = [  # 3.6, 3.7
    moved("app-root with a query of its own", ROOT, "http://HOST/start?x=1"),
    moved("app-root keeps Host as sent", ROOT, "http://ROWNAME.TEST:99/start?x=1",
          ask=Ask(host="ROWNAME.TEST:99")),
    Row("app-root, empty query", ROOT, ask=Ask("/?"), status=200),
    moved("app-root, PUT", ROOT, "http://HOST/start?x=1", status=307, ask=Ask(method="PUT")),
    moved("app-root, HEAD", ROOT, "http://HOST/start?x=1", status=307, ask=Ask(method="HEAD")),
    moved("app-root wins over the regex", {**ROOT, **REGEX}, "http://HOST/start?x=1"),
    moved("entry point wins over the regex", {**OTHER, **REGEX}, "http://HOST:OTHER/"),
    moved("the other redirect for another path", {**ROOT, **REGEX}, "https://b.test/n/a", path="/a",
          ask=Ask("/a")),
    moved("X-Forwarded-Proto is exact", ROOT, "http://HOST/start?x=1",
          ask=sent(("X-Forwarded-Proto", "HTTPS"))),
    moved("the first X-Forwarded-Proto counts", ROOT, "http://HOST/start?x=1",
          ask=sent(("X-Forwarded-Proto", "http"), TLS)),
    moved("X-Forwarded-Proto of whom nobody trusts", ROOT, "http://HOST/start?x=1",
          ask=sent(TLS, entry_point="wary")),
    moved("entry point, behind TLS", OTHER, "http://HOST:OTHER/a", ask=sent(TLS, target="/a")),
    moved("query is kept", REGEX, "https://b.test/n/a?b=%20c", ask=Ask("/a?b=%20c")),
    moved("query is kept behind strip", {**REGEX, **STRIP}, "https://b.test/a/b?c", path="/a",
          ask=Ask("/a/b?c")),
    moved("regex behind a rewrite", {**REGEX, "rewrite-target": "/v2"}, "https://b.test/a/b",
          path="/a", ask=Ask("/a/b")),
    moved("regex behind AddPrefix", {**REGEX, "request-modifier": "AddPrefix: /p"},
          "https://b.test/n/a", ask=Ask("/a")),
    Row("V equals U, behind strip", {"redirect-regex": "^http:", "redirect-replacement": "http:",
        **STRIP}, path="/a", ask=Ask("/a/b"), target="/b"),
    moved("header in the replacement", {"redirect-regex": "^http://.*", "redirect-replacement":
          'https://{{ .Request.Header.Get \\"X-To\\" }}/{{ \\"l\\" }}{{ .Request.Method }}'},
          "https://c.test/lGET", ask=sent(("X-To", "c.test"))),
    moved("request text is no template, FIX 25", REGEX, "https://b.test/n/%7B%7B.Request.Host%7D%7D",
          ask=Ask("/%7B%7B.Request.Host%7D%7D")),
    moved("name of a group", {"redirect-regex": "^http://[^/]*/(?P<rest>[[:alpha:]]+)$",
          "redirect-replacement": "https://b.test/${rest}x$$$rest1"}, "https://b.test/abx$",
          ask=Ask("/ab")),
    Row("end of text only", {"redirect-regex": "/a$", "redirect-replacement": "/b"},
        ask=Ask("/a?"), status=200),
    moved("a flag inside", {"redirect-regex": "/(?i:OLD)$", "redirect-replacement": "/new"},
          "http://HOST/new", ask=Ask("/old")),
]  # fmt: skip

FAR = {"whitelist-source-range": "10.1.2.3/8, 2001:db8::1", "whitelist-x-forwarded-for": "true"}
REFUSED: dict[str, Any] = {"status": 403, "target": "", "body": b"Forbidden"}


def forwarded(title: str, *values: str, refused: bool = False) -> Row:
    headers = tuple(("X-Forwarded-For", value) for value in values)
    return Row(f"forwarded {title}", FAR, ask=sent(*headers), **(REFUSED if refused else {}))


WHITELIST = [  # 3.8; 127.0.0.1 is outside
    forwarded("host bits are masked", "10.9.9.9"),
    forwarded("mapped IPv4 is IPv4", "::ffff:10.1.1.1"),
    forwarded("bare IPv6", "2001:db8::1"),
    forwarded("IPv6 with port", "[2001:db8::1]:99"),
    forwarded("another IPv6", "2001:db8::2", refused=True),
    forwarded("third line", "1.1.1.1:80", "2.2.2.2 , 3.3.3.3", "10.0.0.1:8080"),
    forwarded("no address before the good one", "1.1.1.1, unknown, 10.0.0.1", refused=True),
    forwarded("no address behind the good one", "10.0.0.1, unknown"),
    forwarded("empty", "", refused=True),
    Row("mapped client", {"whitelist-source-range": "::ffff:127.0.0.0/104"}),
    Row("all of IPv6 is not IPv4", {"whitelist-source-range": "2000::/3"}, **REFUSED),
]

PAGES = {
    "error-pages": "b: {status: ['500-502'], backend: pages.test/, query: second}\n"
    "a: {status: ['502-504', '404'], backend: pages.test/, query: '/first/{status}/{status}'}\n"
    "c: {status: [418], backend: pages.test/}"
}


def failing(status: int, **more: Any) -> Ask:
    return sent(answering(status=status), **more)


def page(title: str, status: int, text: str, **more: Any) -> Row:
    expected = {"status": status, "body": text.encode(), "client": {"X-Page": "1"}, **more}
    return Row(f"page, {title}", PAGES, **{"ask": failing(status), **expected})


ERROR_PAGES = [  # 3.9; the page's server answers with what it was asked for
    page("in the range of both: ascending names", 502, "page GET /first/502/502 0.0.0.0"),
    page("range, lower end", 500, "page GET /second 0.0.0.0"),
    page("range, upper end", 504, "page GET /first/504/504 0.0.0.0"),
    page("number without quotes, no query", 418, "page GET / 0.0.0.0"),
    Row("page, above the range", PAGES, ask=failing(505), status=505, body=b"server 0"),
    page("HEAD", 404, "", ask=failing(404, method="HEAD")),
    page("of PUT", 404, "page GET /first/404/404 0.0.0.0",
         ask=failing(404, method="PUT", body=b"x")),
    page("of a chunked response", 404, "page GET /first/404/404 0.0.0.0",
         ask=sent(answering(status=404, chunked=True))),
]  # fmt: skip

HEADERS = [  # 3.10
    Row("hop-by-hop request headers are removed again", {"custom-request-headers":
        "Keep-Alive: 5 || Upgrade: foo || X-A: 1"}, backend={"Keep-Alive": None, "Upgrade": None,
        "X-A": "1"}),
    Row("several lines are replaced by one", {"custom-request-headers": "X-A: 1"},
        ask=sent(("x-a", "2"), ("X-A", "3")), backend={"X-A": ["1"]}),
    Row("several lines of a response too", {"custom-response-headers": "X-A: 1 || Set-Cookie:"},
        ask=sent(answering(headers=[["x-a", "2"], ["X-A", "3"], ["Set-Cookie", "a"],
                                    ["Set-Cookie", "b"]])),
        client={"X-A": ["1"], "Set-Cookie": None}),
    Row("blanks and colons", {"custom-request-headers": "  x-link :  http://a:1/ ||  y: a  b  "},
        backend={"X-Link": "http://a:1/", "Y": "a  b"}),
]  # fmt: skip

BAD_HOST: dict[str, Any] = {"status": 500, "target": "", "body": b"Bad Host\n"}
BY_HEADER = {"ssl-proxy-headers": "X-Tls: Yes || X-Also: on"}
SECURITY = [  # 3.11
    Row("allowed host without the port", {"allowed-hosts": "ROWNAME.test"},
        ask=Ask(host="ROWNAME.test:99"), **BAD_HOST),
    Row("allowed host with the port, case ignored", {"allowed-hosts": "ROWNAME.TEST:99"},
        ask=Ask(host="ROWNAME.test:99")),
    Row("proxy-headers carry a port", {"allowed-hosts": "a.test:8443", "proxy-headers": "X-H"},
        ask=sent(("X-H", "a.test:8443"))),
    Row("ssl-redirect to what proxy-headers say", {"ssl-redirect": "true", "proxy-headers": "X-H"},
        ask=sent(("X-H", "a.test:8443"), target="/x"), status=301,
        client={"Location": "https://a.test:8443/x"}),
    Row("ssl-redirect without the header in the list", {"ssl-redirect": "true"}, ask=sent(TLS),
        status=301),
    Row("the second of ssl-proxy-headers", {"ssl-redirect": "true", **BY_HEADER},
        ask=sent(("X-Also", "on")), target="/"),
    Row("the first value of the header counts", {"ssl-redirect": "true", **BY_HEADER},
        ask=sent(("X-Tls", "no"), ("X-Tls", "Yes")), status=301),
    Row("ssl-redirect, HEAD", {"ssl-redirect": "true"}, ask=Ask("/a", "HEAD"), status=301,
        client={"Location": "https://HOST/a", "Content-Type": HTML}),
    Row("ssl-redirect, PUT has no body", {"ssl-redirect": "true"}, ask=Ask("/a", "PUT"), status=301,
        client={"Content-Type": None}, body=b""),
    Row("forced host in development", {"ssl-force-host": "true", "ssl-host": "s.test",
        "is-development": "true"}, ask=Ask("/a"), status=301,
        client={"Location": "https://s.test/a"}),
    Row("forced host in development, temporary", {"ssl-force-host": "true", "ssl-host": "s.test",
        "is-development": "true", "ssl-temporary-redirect": "true"}, status=307),
    Row("forced host is exact", {"ssl-force-host": "true", "ssl-host": "ROWNAME.TEST"},
        status=301, client={"Location": "https://ROWNAME.TEST/"}),
    Row("forced host without ssl-host", {"ssl-force-host": "true"}, target="/"),
    Row("forced host is the request's", {"ssl-force-host": "true", "ssl-host": "ROWNAME.test"},
        target="/"),
    Row("hsts flags without max-age", {"hsts-preload": "true", "hsts-include-subdomains": "true",
        "force-hsts": "true"}, client={"Strict-Transport-Security": None}),
    Row("hsts without TLS", {"hsts-max-age": "60"}, client={"Strict-Transport-Security": None}),
    Row("hsts behind a TLS balancer", {"hsts-max-age": "60", **BY_HEADER},
        ask=sent(("X-Tls", "Yes")), client={"Strict-Transport-Security": "max-age=60"}),
    Row("pins without TLS", {"public-key": "pin"}, client={"Public-Key-Pins": None}),
    Row("nosniff in development", {"is-development": "true", "content-type-nosniff": "true"},
        client={"X-Content-Type-Options": "nosniff"}),
    Row("Location is the host alone", {"ssl-host": "s.test", **BY_HEADER},
        ask=sent(("X-Tls", "Yes"), answering(status=302, headers=[["Location", "http://s.test"]])),
        status=302, client={"Location": "https://s.test"}),
    Row("Location without TLS", {"ssl-host": "s.test"},
        ask=sent(answering(status=302, headers=[["Location", "http://s.test/x"]])), status=302,
        client={"Location": "http://s.test/x"}),
    Row("Location with a port", {"ssl-host": "s.test", **BY_HEADER},
        ask=sent(("X-Tls", "Yes"),
                 answering(status=302, headers=[["Location", "http://s.test:80/"]])),
        status=302, client={"Location": "http://s.test:80/"}),
]  # fmt: skip

ONE_TOKEN = "{extractorfunc: request.host, rateset: {a: {period: 1m, average: 1, burst: 1}}}"
PAGES_OF_ALL_KINDS = "\n---\n".join(
    ingress(name, f"{name}.test", "/", "pages", annotations)
    for name, annotations in {
        "pages": {},
        "own": {
            "preserve-host": "false",
            "custom-response-headers": "X-From: pages",
            "whitelist-source-range": "10.0.0.0/8",
        },
        "limited": {"rate-limit": ONE_TOKEN},
    }.items()
)
OWN = Row("own", {"error-pages": "a: {status: ['404'], backend: own.test/, query: /x}"},
          ask=failing(404))  # fmt: skip
LIMITED = Row("limited", {"error-pages": "a: {status: ['404'], backend: limited.test/}"},
              ask=failing(404))  # fmt: skip
INSIDE = Row("inside", {"whitelist-source-range": "10.0.0.0/8"})
NONCES = Row("nonces", {"content-security-policy": "script-src $NONCE; style-src $NONCE"})
ROWS = [*PATHS, *REDIRECTS, *WHITELIST, *ERROR_PAGES, *HEADERS, *SECURITY]


@pytest.fixture(scope="module")
def details(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    rows = [*ROWS, NONCES, OWN, LIMITED, INSIDE]
    with Field(
        tmp_path_factory.mktemp("details"), rows, pages=True, manifests=PAGES_OF_ALL_KINDS,
        default_entry_points='["http", "other", "wary", "proxied"]',
        entry_points={
            "wary": '[entryPoints.wary.forwardedHeaders]\ntrustedIPs = ["10.0.0.9"]\n',
            "proxied": '[entryPoints.proxied.proxyProtocol]\ntrustedIPs = ["127.0.0.1"]\n',
        },
    ) as field:  # fmt: skip
        yield field


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_rows(details: Field, row: Row) -> None:
    details.check(row)


@pytest.mark.parametrize("keep", SLASHES)
def test_trailing_slashes(tmp_path: Any, keep: str) -> None:
    with Field(tmp_path, SLASHES[keep], settings=f"keepTrailingSlash = {keep}") as field:
        for row in SLASHES[keep]:
            field.check(row)


def test_one_nonce_for_each_request(details: Field) -> None:
    found = []
    for _ in range(2):
        policy = details.send(NONCES).headers["Content-Security-Policy"]
        match = re.fullmatch(
            "script-src 'nonce-([A-Za-z0-9+/]{22})'; style-src 'nonce-([A-Za-z0-9+/]{22})'", policy
        )
        assert match, policy
        found.append(match.groups())
    assert found[0][0] == found[0][1]
    assert found[0] != found[1]


def test_a_page_comes_through_the_features_of_its_backend(details: Field) -> None:
    """Response headers and the Host of its route; not its white list."""
    assert details.pages is not None
    answer = details.send(OWN)
    port = details.pages.ports[0]
    assert (answer.status, answer.headers["X-From"]) == (404, "pages")
    assert answer.body == f"page GET /x 127.0.0.1:{port}".encode()


def test_a_page_is_fetched_within_the_limits_of_its_backend(details: Field) -> None:
    """The page's own status does not count, so its 429 is the body of a 404."""
    first, second = details.send(LIMITED), details.send(LIMITED)
    assert (first.status, first.body) == (404, b"page GET / 0.0.0.0")
    assert (second.status, second.body) == (404, b"max rate reached: retry-in 1m0s")


SOURCES = [  # 3.1: PROXY header, X-Forwarded-For, status behind a white list of 10.0.0.0/8
    ("10.1.1.1", "", 200),
    ("11.1.1.1", "", 403),
    ("11.1.1.1", "10.1.1.1", 403),
    ("10.1.1.1", "11.1.1.1", 200),
]


@pytest.mark.parametrize(("source", "told", "status"), SOURCES)
def test_the_client_is_who_the_balancer_says(details: Field, source, told, status) -> None:
    more = f"X-Forwarded-For: {told}\r\n" if told else ""
    with Client(details.ports["proxied"]) as client:
        client.send(f"PROXY TCP4 {source} 127.0.0.1 5000 80\r\n".encode())
        client.send(f"GET / HTTP/1.1\r\nHost: {details.host(INSIDE)}\r\n{more}\r\n".encode())
        assert client.response().status == status


def elsewhere(name: str, host: str, path: str, **more: str) -> str:
    annotations = {"app-root": "/start", **{k.replace("_", "-"): v for k, v in more.items()}}
    return ingress(name, host, path, "fence", annotations)


def test_app_root_on_every_kind_of_route(tmp_path: Any) -> None:
    """FIX 5: 1.7 builds an expression from the name of the route, which then never matches."""
    default = json.loads(elsewhere("default", "", "/", priority="1"))
    default["spec"] = {"defaultBackend": {"service": {"name": "fence", "port": {"number": 80}}}}
    documents = [
        json.dumps(default),
        elsewhere("wild", "*.wild.test", "/", frontend_entry_points="http"),
        elsewhere("first", "first.test", "/", priority="900"),
        elsewhere("pathless", "pathless.test", ""),
        elsewhere("rewritten", "rewritten.test", "/", rewrite_target="/v2", priority="7"),
    ]
    hosts = ("a.wild.test", "first.test:8080", "pathless.test", "rewritten.test", "other.test")
    with Field(tmp_path, [], manifests="\n---\n".join(documents)) as field:
        for host in hosts:
            answer = field.ask(Ask(), host)
            assert (answer.status, answer.headers["Location"]) == (302, f"http://{host}/start")
            assert field.ask(Ask("/x"), host).status == 200


def test_http_1_0_is_redirected_too(details: Field) -> None:
    row = next(row for row in REDIRECTS if row.title == "query is kept")
    with Client(details.ports["http"]) as client:
        client.send(f"GET /a HTTP/1.0\r\nHost: {details.host(row)}\r\n\r\n".encode())
        found = client.response()
        assert (found.status, dict(found.fields)["Location"]) == (302, "https://b.test/n/a")
        assert client.ends()
