"""The column "bad value" of `features.md` 2: value -> what clients get and its author is told.

Every annotation has a row at least; those that take any text have one which shows that. All hosts
are served by one process, and all findings come from one `fastproxy lint` over the same manifests.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from fastproxy.feature import Scope
from fastproxy.features import FEATURES, INGRESS_CLASS
from tests.support.feature_rows import Ask, Field, Row, answering, secret
from tests.support.features import full

DEFAULT, OFF, PATH, DROP = "FP161", "FP162", "FP163", "FP164"
INGRESS, ENDPOINTS, WARNING, NOT_BUILT = "FP165", "FP166", "FP167", "FP170"

SCOPES = {
    name: feature.scope for feature in FEATURES for a in feature.annotations
    for name in (a.name, *a.keys)
}  # fmt: skip
CLASS = "kubernetes.io/ingress.class"


@dataclass(frozen=True)
class Case:
    row: Row
    annotation: str
    told: tuple[tuple[str, str], ...]  # code, and what stands in the sentence: the remedy

    def __str__(self) -> str:
        return self.row.title


def case(
    annotation: str,
    value: str,
    code: str = "",
    remedy: str = "",
    beside: Mapping[str, str] | None = None,
    **expected: Any,
) -> Case:
    """`beside`: what else is written on the same object. `code` "": nothing is told."""
    on = "service" if SCOPES.get(annotation) is Scope.SERVICE else "ingress"
    annotations = {**(beside or {}), annotation: value}
    also = expected.pop("also", ())
    other = {"ingress": "service", "service": "ingress"}[on]
    row = Row(
        f"{annotation}: {value}" + (f" ({remedy})" if remedy else ""),
        **{on: annotations, other: expected.pop(other, {})},
        **expected,
    )
    told = ((code, remedy),) if code else ()
    return Case(row, annotation, told + also)


GONE: dict[str, Any] = {
    "status": 404,
    "target": "",
    "body": b"404 page not found\n",
    "client": {"X-Content-Type-Options": "nosniff"},
}
SERVED: dict[str, Any] = {"status": 200, "target": "/", "body": b"server 0"}
EMPTY: dict[str, Any] = {"status": 503, "target": "", "body": b"Service Unavailable"}
FLAGS = ('write "true" or "false"',)


def headers(**wanted: Any) -> Ask:
    return Ask(headers=(answering(**wanted),))


ROOT = {"app-root": "/start"}
TLS_BY_HEADER = {"ssl-proxy-headers": "X-Tls: yes"}
STAYS = {"X-Forwarded-Tls-Client-Cert": "mine"}
PAGE = "{status: ['404'], backend: other.test/, query: /}"
RATE = "extractorfunc: client.ip\nrateset: {a: {period: 1m, average: 1, burst: 1}}"
TO = {"redirect-replacement": "https://b.test/$1"}
FROM = {"redirect-regex": "^http://[^/]*/(.*)"}
BASIC = {"auth-type": "basic", "auth-secret": "users"}
ANN = ("Authorization", "Basic YW5uOnNlY3JldA==")
FORWARD = {"auth-type": "forward", "auth-url": "http://127.0.0.1:1/"}
STICKY = {"affinity": "true", "session-cookie-name": "s"}
COOKIE = "s=http://127.0.0.1:FIRST; Path=/"
AMOUNT = {"max-conn-amount": "1", "max-conn-extractor-func": "client.ip"}

GENERAL = [
    case(CLASS, 'a"b', "FP131", "double quote", **GONE),
    case(CLASS, "a\\d", "FP131", "lone backslash", **GONE),
    case("app-root", "start", status=302, target="", client={"Location": "http://HOST/start"}),
    case("app-root", "", **SERVED),
    case("error-pages", "a: [", OFF, "indentation", ask=headers(status=404), status=404,
         body=b"server 0"),
    case("error-pages", "a: b", OFF, "`key: value`", **SERVED),
    case("error-pages", "a: {status: x, backend: b}", OFF, 'status: ["...', **SERVED),
    case("error-pages", "a: {status: ['x'], backend: b}", DROP, '"404" or "500-599"', **GONE),
    case("error-pages", "a: {status: ['400-'], backend: b}", DROP, '"404" or "500-599"', **GONE),
    case("error-pages", f"a: {PAGE}", "FP171", "other.test/", ask=headers(status=404), status=404,
         body=b"server 0"),
    case("error-pages", "a: {status: ['404'], backend: ROWNAME.test/}", "FP171", "another route",
         ask=headers(status=404), status=404, body=b"server 0"),
    case("error-pages", "a: {status: ['404']}", WARNING, "no backend", ask=headers(status=404),
         status=404, body=b"server 0"),
    case("frontend-entry-points", "nope", "FP135", "the entry points are http, other", **GONE),
    case("frontend-entry-points", "nope,http", WARNING, "the entry points are http, other",
         **SERVED),
    case("pass-client-tls-cert", "pem: [", OFF, "indentation",
         ask=Ask(headers=tuple(STAYS.items())), backend=STAYS),
    case("pass-client-tls-cert", "pem: maybe", OFF, "true or false",
         ask=Ask(headers=tuple(STAYS.items())), backend=STAYS),
    case("pass-tls-cert", "maybe", DEFAULT, *FLAGS, **SERVED),
    case("pass-tls-cert", "true", NOT_BUILT, "frontend-entry-points", **GONE),
    case("preserve-host", "no", DEFAULT, *FLAGS, backend={"Host": "HOST"}),
    case("priority", "high", DEFAULT, "write digits", path="/a/b", rival="/a", ask=Ask("/a/b"),
         beside={"custom-response-headers": "X-Own: 1"}, client={"X-Own": "1"}),
    case("priority", "-5", path="/a/b", rival="/a", ask=Ask("/a/b"),
         beside={"custom-response-headers": "X-Own: 1"}, client={"X-Own": "1"}),
    case("protocol", "h2c", "FP236", "HTTP/1.1", **EMPTY),
    case("protocol", "gopher", ENDPOINTS, "http or https", **EMPTY),
    case("protocol", "HTTP", ENDPOINTS, "http or https", **EMPTY),
    case("rate-limit", "a: [", OFF, "indentation", again=3, **SERVED),
    case("rate-limit", "rateset: 5", OFF, "`key: value`", again=3, **SERVED),
    case("rate-limit", RATE.replace("1, burst", "x, burst"), OFF, "whole number", again=3,
         **SERVED),
    case("rate-limit", RATE.replace("client.ip", "nobody"), DROP, "client.ip", **GONE),
    case("rate-limit", RATE.replace("client.ip", "request.header."), DROP, "client.ip", **GONE),
    case("rate-limit", RATE.replace("client.ip", "''"), DROP, "client.ip", **GONE),
    case("rate-limit", RATE.replace("1m", "0s"), DROP, "above 0", **GONE),
    case("rate-limit", RATE.replace("1m", "soon"), DROP, "above 0", **GONE),
    case("rate-limit", RATE.replace("average: 1", "average: 0"), DROP, "above 0", **GONE),
    case("rate-limit", RATE.replace("burst: 1", "burst: -1"), DROP, "above 0", **GONE),
    case("redirect-entry-point", "nope", DROP, "http, other", **GONE),
    case("redirect-permanent", "yes", DEFAULT, *FLAGS, ROOT, status=302, target="",
         client={"Location": "http://HOST/start"}),
    case("redirect-regex", "^http:\\d", OFF, "twice", TO, **SERVED),
    case("redirect-regex", 'a"', OFF, "twice", TO, **SERVED),
    case("redirect-regex", "(", DROP, "RE2", TO, **GONE),
    case("redirect-regex", "a(?!b)", DROP, "RE2", TO, **GONE),
    case("redirect-replacement", "b\\d", OFF, "twice", FROM, **SERVED),
    case("redirect-replacement", 'b"', OFF, "twice", FROM, **SERVED),
    case("redirect-replacement", "{{ env }}", DROP, "placeholders", FROM, **GONE),
    case("request-modifier", "Nonsense: /p", PATH, "AddPrefix", **GONE),
    case("request-modifier", "addprefix: /p", PATH, "AddPrefix", **GONE),
    case("request-modifier", "AddPrefix", PATH, "`Type: value`", **GONE),
    case("request-modifier", "AddPrefix: ", PATH, "`Type: value`", **GONE),
    case("request-modifier", "  ::", PATH, "`Type: value`", **GONE),
    case("request-modifier", "AddPrefix: /p", PATH, "remove one", {"rule-type": "ReplacePath"},
         **GONE),
    case("request-modifier", "ReplacePathRegex: ( /x", WARNING, "RE2", **SERVED),
    case("request-modifier", "ReplacePathRegex: /x", WARNING, "one blank", **SERVED),
    case("rewrite-target", "/v2", PATH, "remove one", {"rule-type": "ReplacePath"},
         **GONE),
    case("rule-type", "pathprefix", PATH, "PathPrefixStrip", **GONE),
    case("rule-type", "Host", PATH, "PathPrefixStrip", **GONE),
    case("service-weights", "a: [", INGRESS, "indentation", **GONE),
    case("service-weights", "ROWNAME: much", INGRESS, "from 0 to 100", **GONE),
    case("service-weights", "ROWNAME: ''", INGRESS, "from 0 to 100", **GONE),
    case("service-weights", "ROWNAME: -1", INGRESS, "from 0 to 100", **GONE),
    case("service-weights", "ROWNAME: 99%", "FP151", "instead of 100 %", **GONE),
    case("service-weights", "ROWNAME: 101%", "FP151", "instead of 100 %", **GONE),
    case("whitelist-source-range", "10.0.0.0/8, nonsense", OFF, "10.0.0.0/8 or", **SERVED),
    case("whitelist-source-range", "10.0.0.0/33", OFF, "10.0.0.0/8 or", **SERVED),
    case("whitelist-x-forwarded-for", "yes", DEFAULT, *FLAGS,
         {"whitelist-source-range": "10.0.0.0/8"},
         ask=Ask(headers=(("X-Forwarded-For", "10.1.1.1"),)), status=403, target=""),
]  # fmt: skip

SERVICE = [
    case("affinity", "yes", DEFAULT, *FLAGS, client={"Set-Cookie": None}),
    case("session-cookie-name", "a b;c", beside={"affinity": "true"},
         client={"Set-Cookie": "a_b_c=http://127.0.0.1:FIRST; Path=/"}),
    case("session-secure", "yes", DEFAULT, *FLAGS, STICKY, client={"Set-Cookie": COOKIE}),
    case("session-http-only", "yes", DEFAULT, *FLAGS, STICKY, client={"Set-Cookie": COOKIE}),
    case("session-same-site", "Lax", DEFAULT, "none, lax or strict", STICKY,
         client={"Set-Cookie": COOKIE}),
    case("traefik.backend.loadbalancer.sticky", "yes", client={"Set-Cookie": None}),
    case("traefik.backend.loadbalancer.sticky", " TRUE",
         client={"Set-Cookie": "_TRAEFIK_BACKEND=http://127.0.0.1:FIRST; Path=/"}),
    case("load-balancer-method", "DRR", DEFAULT, "wrr or drr", **SERVED),
    case("circuit-breaker-expression", "NetworkErrorRatio()", DROP, "compare", **GONE),
    case("circuit-breaker-expression", "NetworkErrorRatio() > 1", DROP, "such as 0.5", **GONE),
    case("circuit-breaker-expression", "Nonsense() > 0.5", DROP, "NetworkErrorRatio", **GONE),
    case("buffering", "a: [", OFF, "indentation", **SERVED),
    case("buffering", "maxrequestbodybytes: many", OFF, "whole number", **SERVED),
    case("buffering", "maxrequestbodybytes: -1", DROP, "0 or more", **GONE),
    case("buffering", "memresponsebodybytes: -1", DROP, "0 or more", **GONE),
    case("buffering", "retryexpression: Attempts() > x", DROP, "retryexpression", **GONE),
    case("max-conn-amount", "many", DEFAULT, "write digits",
         {"max-conn-extractor-func": "client.ip"}, **SERVED),
    case("max-conn-amount", "-1", beside={"max-conn-extractor-func": "nobody"}, **SERVED),
    case("max-conn-extractor-func", "nobody", DROP, "client.ip", {"max-conn-amount": "1"}, **GONE),
    case("responseforwarding-flushinterval", "soon", DROP, "1m30s", **GONE),
]  # fmt: skip

HSTS = {"hsts-max-age": "60", "force-hsts": "true"}
HEADERS = [
    case("custom-request-headers", "nonsense", DEFAULT, "Name: value", **SERVED),
    case("custom-request-headers", "nonsense||X-A: 1", WARNING, "Name: value",
         backend={"X-A": "1"}),
    case("custom-request-headers", "X-A: 1||x-a: 2", backend={"X-A": "2"}),
    case("custom-request-headers", "X A: 1||X-B: 2", WARNING, "Name: value",
         backend={"X-B": "2"}),
    case("custom-response-headers", "nonsense", DEFAULT, "Name: value", **SERVED),
    case("custom-response-headers", "nonsense||X-A: 1", WARNING, "Name: value",
         client={"X-A": "1"}),
    case("allowed-hosts", " , ", "FP222", "names no host", **SERVED),
    case("proxy-headers", "no header, X-H", beside={"allowed-hosts": "b.test"},
         ask=Ask(headers=(("X-H", "b.test"),)), **SERVED),
    case("ssl-redirect", "yes", DEFAULT, *FLAGS, **SERVED),
    case("ssl-temporary-redirect", "yes", DEFAULT, *FLAGS, {"ssl-redirect": "true"}, status=301,
         target="", client={"Location": "https://HOST/"}),
    case("ssl-host", "", beside={"ssl-redirect": "true"}, status=301, target="",
         client={"Location": "https://HOST/"}),
    case("ssl-force-host", "yes", DEFAULT, *FLAGS, {"ssl-host": "b.test"}, **SERVED),
    case("ssl-proxy-headers", "nonsense", DEFAULT, "Name: value", {"ssl-redirect": "true"},
         status=301, target=""),
    case("ssl-proxy-headers", "nonsense||X-Tls: yes", WARNING, "Name: value",
         {"ssl-redirect": "true"}, ask=Ask(headers=(("X-Tls", "yes"),)), **SERVED),
    case("hsts-max-age", "a year", DEFAULT, "write digits", {"force-hsts": "true"},
         client={"Strict-Transport-Security": None}),
    case("hsts-include-subdomains", "yes", DEFAULT, *FLAGS, HSTS,
         client={"Strict-Transport-Security": "max-age=60"}),
    case("hsts-preload", "yes", DEFAULT, *FLAGS, HSTS,
         client={"Strict-Transport-Security": "max-age=60"}),
    case("force-hsts", "yes", DEFAULT, *FLAGS, {"hsts-max-age": "60"},
         client={"Strict-Transport-Security": None}),
    case("frame-deny", "yes", DEFAULT, *FLAGS, client={"X-Frame-Options": None}),
    case("custom-frame-options-value", "", beside={"frame-deny": "true"},
         client={"X-Frame-Options": "DENY"}),
    case("content-type-nosniff", "yes", DEFAULT, *FLAGS, client={"X-Content-Type-Options": None}),
    case("browser-xss-filter", "yes", DEFAULT, *FLAGS, client={"X-XSS-Protection": None}),
    case("custom-browser-xss-value", "", beside={"browser-xss-filter": "true"},
         client={"X-XSS-Protection": "1; mode=block"}),
    case("content-security-policy", 'say "x"',
         client={"Content-Security-Policy": 'say "x"'}),
    case("content-security-policy", "a\nb", DEFAULT, "one line",
         client={"Content-Security-Policy": None}),
    case("public-key", "", client={"Public-Key-Pins": None}),
    case("referrer-policy", "nonsense", client={"Referrer-Policy": "nonsense"}),
    case("is-development", "yes", DEFAULT, *FLAGS, {"allowed-hosts": "b.test"}, status=500,
         target="", body=b"Bad Host\n"),
]  # fmt: skip

AUTH = [
    case("auth-type", "none", PATH, "basic, digest or forward", **GONE),
    case("auth-secret", "", PATH, "name the Secret", {"auth-type": "basic"}, **GONE),
    case("auth-secret", "missing", PATH, "no Secret", {"auth-type": "basic"}, **GONE),
    case("auth-secret", "two", PATH, "exactly one", {"auth-type": "basic"}, **GONE),
    case("auth-secret", "empty", PATH, "`user:hash`", {"auth-type": "digest"}, **GONE),
    case("auth-secret", "malformed", DROP, "`user:hash`", {"auth-type": "basic"}, **GONE),
    case("auth-secret", "users", DROP, "HA1", {"auth-type": "digest"}, **GONE),
    case("auth-remove-header", "yes", DEFAULT, *FLAGS, BASIC, ask=Ask(headers=(ANN,)),
         backend={"Authorization": ANN[1]}),
    case("auth-header-field", "X User", PATH, "X-Auth-User", BASIC, **GONE),
    case("auth-realm", "shop", PATH, "traefik", **GONE),
    case("auth-realm", "", **SERVED),
    case("auth-url", "", PATH, "write the URL", {"auth-type": "forward"}, **GONE),
    case("auth-url", "auth.example/check", PATH, "https://", {"auth-type": "forward"}, **GONE),
    case("auth-trust-headers", "yes", DEFAULT, *FLAGS, FORWARD, status=500, target="", body=b""),
    case("auth-response-headers", "X-A, no header", WARNING, "left out", FORWARD, status=500,
         target="", body=b""),
    case("auth-tls-secret", "missing", PATH, "no Secret", FORWARD, **GONE),
    case("auth-tls-secret", "users", PATH, "tls.crt and tls.key", FORWARD, **GONE),
    case("auth-tls-secret", "garbage", PATH, "PEM", FORWARD, **GONE),
    case("auth-tls-insecure", "yes", DEFAULT, *FLAGS, FORWARD, status=500, target="", body=b""),
]  # fmt: skip

LOG = 'logLevel = "WARN"'
CASES = [*GENERAL, *SERVICE, *HEADERS, *AUTH]
SECRETS = "\n---\n".join(
    [
        secret("users", {"auth": "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="}),
        secret("two", {"auth": "ann:x", "more": "ann:x"}),
        secret("empty", {"auth": "\n\r\n"}),
        secret("malformed", {"auth": "ann"}),
        secret("garbage", {"tls.crt": "garbage", "tls.key": "garbage"}),
    ]
)


def test_every_annotation_has_a_row() -> None:
    known = {a.name if a.prefixed else a.aliases[0] for f in FEATURES for a in f.annotations}
    assert {case.annotation for case in CASES} == known | {INGRESS_CLASS.aliases[0]}


@dataclass(frozen=True)
class Bad:
    field: Field
    findings: list[dict[str, str]]

    def told(self, case: Case) -> list[dict[str, str]]:
        return [f for f in self.findings if f["name"] == self.field.name(case.row)]


def linted(field: Field) -> list[dict[str, str]]:
    found = subprocess.run(
        [sys.executable, "-m", "fastproxy", "lint", "--format", "json",
         "--configfile", str(field.folder / "fastproxy.toml"),
         "--manifests", str(field.folder / "manifests")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 1, found
    return list(json.loads(found.stdout))


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bad]:
    folder = tmp_path_factory.mktemp("bad")
    with Field(folder, [case.row for case in CASES], manifests=SECRETS, settings=LOG) as field:
        yield Bad(field, linted(field))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_clients_get(bad: Bad, case: Case) -> None:
    bad.field.check(case.row)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_the_author_is_told(bad: Bad, case: Case) -> None:
    """Object, annotation and remedy; the same in the log of the running proxy."""
    found = bad.told(case)
    assert [f["code"] for f in found] == [code for code, _ in case.told], found
    on = "Service" if SCOPES.get(case.annotation) is Scope.SERVICE else "Ingress"
    for finding, (_, remedy) in zip(found, case.told, strict=True):
        assert remedy in finding["sentence"]
        if "-" in case.annotation and finding["code"] != "FP170":  # which is about two
            word = rf"(?<![\w/-]){re.escape(case.annotation)}(?![\w-])"
            assert not re.search(word, finding["sentence"]), "the field is named twice"
        if finding["code"] not in ("FP119", "FP135", "FP151", "FP170"):
            [key] = full({case.annotation: ""})
            assert (finding["kind"], finding["field"]) == (on, f"metadata.annotations[{key}]")
    log = bad.field.proxy.log.read_text()
    for finding in found:
        line = f"{finding['code']} {finding['kind']} default/{finding['name']} {finding['field']}"
        assert re.search(re.escape(line), log), line


def test_nothing_else_is_told(bad: Bad) -> None:
    names = {bad.field.name(case.row) for case in CASES}
    assert [f for f in bad.findings if f["name"] not in names] == []


def test_a_void_white_list_may_close_instead(tmp_path_factory: pytest.TempPathFactory) -> None:
    """FIX 15: `whitelistInvalid = "drop"` is what the binary of 1.7 does."""
    row = Row("dropped", {"whitelist-source-range": "10.0.0.0/8, nonsense"}, **GONE)
    folder = tmp_path_factory.mktemp("closed")
    with Field(folder, [row], kubernetes='whitelistInvalid = "drop"') as field:
        field.check(row)
        [finding] = linted(field)
        assert (finding["code"], finding["name"]) == (DROP, field.name(row))
        assert "10.0.0.0/8 or" in finding["sentence"]
