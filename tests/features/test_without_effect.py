"""What an annotation asks for and does not get is told, and as an error where it was to protect."""

from __future__ import annotations

import pytest

from controller.dialects.traefik.reading import Reader
from fastproxy.feature import Scope
from fastproxy.settings.options import EntryPoint, Settings

PREFIX = "ingress.kubernetes.io/"
SETTINGS = Settings(entry_points={"http": EntryPoint("http", ":80")})
I, S = Scope.INGRESS, Scope.SERVICE  # noqa: E741
RATES = "rateset: {a: {period: 1s, average: 1, burst: 1}}"

# scope, annotations, (code, annotation it is told of, part of sentence or effect) of each finding
ROWS = [
    # authentication without its type
    (I, {"auth-url": "http://a/"}, [("FP222", "auth-url", "auth-type: forward")]),
    (I, {"auth-secret": "users"}, [("FP222", "auth-secret", "open to everybody")]),
    (I, {"auth-url": "http://a/", "auth-secret": "u"}, [("FP222", "auth-url", "without auth")]),
    (I, {"auth-type": "", "auth-secret": "u"}, [("FP222", "auth-secret", "auth-type")]),
    (I, {"auth-type": ""}, [("FP222", "auth-type", "auth-type")]),
    (I, {"auth-response-headers": "X"}, [("FP222", "auth-response-headers", "auth-type")]),
    (I, {"auth-remove-header": "true"}, [("FP222", "auth-remove-header", "auth-type")]),
    (
        I,
        {"auth-type": "forward", "auth-url": "http://a/", "auth-secret": "u"},
        [("FP223", "auth-secret", "forward does not use it")],
    ),
    # limits that limit nothing
    (I, {"rate-limit": "average: 100\nburst: 200"}, [("FP222", "rate-limit", "`average`")]),
    (I, {"rate-limit": "extractorfunc: client.ip"}, [("FP222", "rate-limit", "`rateset`")]),
    (I, {"rate-limit": "rateSet: {}"}, [("FP222", "rate-limit", "write `rateset`")]),
    (I, {"rate-limit": ""}, [("FP222", "rate-limit", "Nothing is limited")]),
    (
        I,
        {"rate-limit": f"extractorfunc: client.ip\n{RATES}\nbursts: 1"},
        [("FP221", "rate-limit", "`bursts`")],
    ),
    (
        I,
        {"rate-limit": "extractorfunc: client.ip\nrateset: {a: {period: 1s, averag: 1, burst: 1}}"},
        [("FP164", "rate-limit", "write `average`. So ")],
    ),
    (I, {"rate-limit": f"extractorfunc: client.ip\n{RATES}"}, []),
    (S, {"max-conn-amount": "5"}, [("FP222", "max-conn-amount", "max-conn-extractor-func")]),
    (S, {"max-conn-extractor-func": "client.ip"}, [("FP222", "max-conn-extractor-func", "amount")]),
    (S, {"max-conn-amount": "0", "max-conn-extractor-func": "client.ip"}, []),
    (S, {"buffering": "maxRequestBodyBytes: 5"}, [("FP221", "buffering", "`maxrequestbodybytes`")]),
    # white lists and hosts
    (I, {"whitelist-source-range": ""}, [("FP222", "whitelist-source-range", "Everybody")]),
    (I, {"whitelist-source-range": ", ,"}, [("FP222", "whitelist-source-range", "Everybody")]),
    (
        I,
        {"whitelist-x-forwarded-for": "true"},
        [("FP222", "whitelist-x-forwarded-for", "whitelist-source-range")],
    ),
    (I, {"allowed-hosts": ""}, [("FP222", "allowed-hosts", "no host")]),
    (
        I,
        {"allowed-hosts": "a", "is-development": "true"},
        [("FP222", "allowed-hosts", "is-development")],
    ),
    # halves of pairs
    (I, {"redirect-regex": "^http://(.*)"}, [("FP223", "redirect-regex", "redirect-replacement")]),
    (I, {"redirect-replacement": "x"}, [("FP223", "redirect-replacement", "redirect-regex")]),
    (I, {"redirect-permanent": "true"}, [("FP223", "redirect-permanent", "redirect-entry-point")]),
    (I, {"redirect-permanent": "true", "redirect-entry-point": "http"}, []),
    (I, {"redirect-permanent": "true", "app-root": "/x"}, []),
    (
        I,
        {"redirect-entry-point": "http", "redirect-regex": "a", "redirect-replacement": "b"},
        [("FP223", "redirect-regex", "redirect-entry-point")],
    ),
    (S, {"session-cookie-name": "x"}, [("FP223", "session-cookie-name", "affinity")]),
    (S, {"session-cookie-name": "x", "affinity": "true"}, []),
    (S, {"session-cookie-name": "x", "affinity": "false"}, []),
    (I, {"hsts-preload": "true"}, [("FP223", "hsts-preload", "hsts-max-age")]),
    (I, {"force-hsts": "true"}, [("FP223", "force-hsts", "hsts-max-age")]),
    (I, {"hsts-preload": "true", "hsts-max-age": "5"}, []),
    (I, {"ssl-temporary-redirect": "true"}, [("FP223", "ssl-temporary-redirect", "ssl-redirect")]),
    (I, {"ssl-force-host": "true"}, [("FP223", "ssl-force-host", "ssl-host")]),
    # rewrites that see nothing to rewrite
    (
        I,
        {"rule-type": "PathPrefixStrip", "rewrite-target": "/x"},
        [("FP223", "rewrite-target", "PathPrefixStrip")],
    ),
    (I, {"rule-type": "PathPrefix", "rewrite-target": "/x"}, []),
    (
        I,
        {"request-modifier": "ReplacePathRegex: ^/a /b", "rewrite-target": "/x"},
        [("FP223", "rewrite-target", "request-modifier")],
    ),
    # unread keys elsewhere
    (I, {"pass-client-tls-cert": "infos: {notAfter: true}"}, [("FP221", "tls-cert", "notafter")]),
    (
        I,
        {"error-pages": 'a: {status: ["404"], backend: b, Query: /x}'},
        [("FP221", "error-pages", "`query`")],
    ),
    (I, {"error-pages": "a: {backend: b}"}, [("FP167", "error-pages", "no status")]),
    (I, {"service-weights": "a: 10\na: 20"}, [("FP221", "service-weights", "twice")]),
]  # fmt: skip


@pytest.mark.parametrize(("scope", "annotations", "wanted"), ROWS)
def test_rows(
    scope: Scope, annotations: dict[str, str], wanted: list[tuple[str, str, str]]
) -> None:
    given = {PREFIX + name: value for name, value in annotations.items()}
    remarks = Reader(SETTINGS, scope).read(given, lambda name: None, "/p").remarks
    assert [remark.kind.code for remark in remarks] == [code for code, _, _ in wanted]
    for remark, (_, name, part) in zip(remarks, wanted, strict=True):
        assert name in remark.field
        assert part in f"{remark.sentence} {remark.effect or remark.kind.effect}"


# expression -> whether it can be found in a URL
EXPRESSIONS = [
    ("^/(.*)", False),
    (r"^/old\\.html$", False),
    ("^old.example/(.*)", False),
    ("^https?://old.example/(.*)", True),
    ("^http://(.*)", True),
    ("^https://(.*)", True),
    ("^(.*)$", True),
    ("^h?ttp://", True),
    ("^ftp://x", False),
    ("^[a-z]+://", True),
    ("^/a|b", True),
    ("/old(.*)", True),
    ("^x?http://", True),
]


@pytest.mark.parametrize(("regex", "found"), EXPRESSIONS)
def test_redirect_expressions_see_whole_urls(regex: str, found: bool) -> None:
    given = {PREFIX + "redirect-regex": regex, PREFIX + "redirect-replacement": "http://x/"}
    remarks = Reader(SETTINGS, I).read(given, lambda name: None, "/p").remarks
    assert [remark.kind.code for remark in remarks] == ([] if found else ["FP223"])


def test_of_two_spellings_the_one_that_counts_is_named() -> None:
    given = {
        "traefik.frontend.rule.type": "Path",
        "traefik.ingress.kubernetes.io/rule-type": "PathStrip",
        "ingress.kubernetes.io/rule-type": "PathPrefix",
    }
    remarks = Reader(SETTINGS, I).read(given, lambda name: None, "/p").remarks
    assert [remark.field for remark in remarks] == [
        "metadata.annotations[traefik.ingress.kubernetes.io/rule-type]",
        "metadata.annotations[traefik.frontend.rule.type]",
    ]
    assert all("ingress.kubernetes.io/rule-type is there too" in r.sentence for r in remarks)
