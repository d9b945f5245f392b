"""Every annotation under every name it has: what it does is seen over a socket.

For each name the object carries the value under it, and garbage under all names that come after it
in the order of lookup: so the name is read, and it wins. A control without the annotation shows
that the effect is the annotation's.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import trustme

from controller.dialects.traefik.names import PROTECTING
from fastproxy.feature import PREFIXES, Scope
from fastproxy.features import FEATURES, INGRESS_CLASS, KNOWN_ANNOTATIONS
from fastproxy.features.balancing import METHOD
from tests.support.feature_rows import Ask, Backend, Field, Row, compare, ingress, secret
from tests.support.features import full
from tests.support.tls import server_context

ANNOTATIONS = [a for feature in FEATURES for a in feature.annotations]
KEYS = {a.name: a.keys for a in (*ANNOTATIONS, INGRESS_CLASS)}
OF_SERVICES = [a for f in FEATURES for a in f.annotations if f.scope is Scope.SERVICE]
ON_SERVICE = {a.name for a in OF_SERVICES}


@dataclass(frozen=True)
class Effect:
    annotation: str
    value: str
    row: Row  # with what else is written on the objects
    asked: Mapping[str, str]  # what the authentication server has seen

    def under(self, number: int) -> Row:
        """The row with the annotation under its key of this number; -1: without."""
        keys = KEYS[self.annotation]
        written = {key: "~garbage~" for key in keys[number + 1 :]} if number >= 0 else {}
        if number >= 0:
            written[keys[number]] = self.value
        title = keys[number] if number >= 0 else f"without {self.annotation}"
        if self.annotation in ON_SERVICE:
            return replace(self.row, title=title, service={**full(self.row.service), **written})
        return replace(self.row, title=title, ingress={**full(self.row.ingress), **written})


def effect(
    annotation: str,
    value: str,
    beside: Mapping[str, str] | None = None,
    asked: Mapping[str, str] | None = None,
    **expected: Any,
) -> Effect:
    on = "service" if annotation in ON_SERVICE else "ingress"
    expected = {on: beside or {}, **expected}
    return Effect(annotation, value, Row(annotation, **expected), asked or {})


def sent(*headers: tuple[str, str], **more: Any) -> Ask:
    return Ask(more.pop("target", "/"), headers=headers, **more)


GONE: dict[str, Any] = {"status": 404, "target": ""}
SEEN: dict[str, Any] = {"status": 200, "target": "/"}
ROOT = {"app-root": "/start"}
FAR = {"whitelist-source-range": "10.0.0.0/8"}
STICKY = {"affinity": "true", "session-cookie-name": "s"}
COOKIE = "s=http://127.0.0.1:FIRST; Path=/"
TLS = {"ssl-redirect": "true"}
HSTS = {"hsts-max-age": "60", "force-hsts": "true"}
BASIC = {"auth-type": "basic", "auth-secret": "users"}
ANNS_HASH = "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="
ANN = ("Authorization", "Basic YW5uOnNlY3JldA==")
ASKS = {"auth-type": "forward", "auth-url": "http://127.0.0.1:AUTHPORT/"}
ASKS_TLS = {"auth-type": "forward", "auth-url": "https://127.0.0.1:TLSPORT/"}
TOLD = ("X-Auth-Answer", json.dumps({"headers": [["X-User", "ann"]]}))
RATE = "{extractorfunc: client.ip, rateset: {a: {period: 1m, average: 1, burst: 1}}}"
PERMANENT: dict[str, Any] = {"status": 301, "target": ""}


def headed(annotation: str, value: str, name: str, text: str, **beside: str) -> Effect:
    more = {key.replace("_", "-"): content for key, content in beside.items()}
    return effect(annotation, value, more, client={name: text})


EFFECTS = [
    effect("kubernetes.io/ingress.class", "other", **GONE),
    effect("app-root", "/start", status=302, client={"Location": "http://HOST/start"}),
    effect("error-pages", "a: {status: ['403'], backend: a.test/, query: /page}", FAR, status=403,
           body=b"server 0"),
    effect("frontend-entry-points", "other", **GONE),
    effect("pass-client-tls-cert", "pem: true", ask=sent(("X-Forwarded-Tls-Client-Cert", "mine")),
           backend={"X-Forwarded-Tls-Client-Cert": None}),
    effect("pass-tls-cert", "true", **GONE),
    effect("preserve-host", "false", backend={"Host": "127.0.0.1:FIRST"}),
    effect("priority", "900", {"custom-response-headers": "X-Own: 1"}, rival="/deep/er",
           ask=Ask("/deep/er"), client={"X-Own": "1"}),
    effect("protocol", "https", status=500, body=b"Internal Server Error"),
    effect("rate-limit", RATE, again=1, status=429, target=""),
    effect("redirect-entry-point", "other", status=302, client={"Location": "http://HOST:OTHER/"}),
    effect("redirect-permanent", "true", ROOT, **PERMANENT),
    effect("redirect-regex", "^http:(.*)", {"redirect-replacement": "https:$1"}, status=302,
           client={"Location": "https://HOST/"}),
    effect("redirect-replacement", "https:$1", {"redirect-regex": "^http:(.*)"}, status=302,
           client={"Location": "https://HOST/"}),
    effect("request-modifier", "AddPrefix: /p", target="/p/"),
    effect("rewrite-target", "/v2", target="/v2/"),
    effect("rule-type", "PathPrefixStrip", path="/a", ask=Ask("/a/b"), target="/b"),
    effect("service-weights", "ROWNAME: 50%", **GONE),
    effect("whitelist-source-range", "10.0.0.0/8", status=403, target=""),
    effect("whitelist-x-forwarded-for", "true", FAR, ask=sent(("X-Forwarded-For", "10.1.1.1"))),
    effect("affinity", "true", {"session-cookie-name": "s"}, client={"Set-Cookie": COOKIE}),
    effect("session-cookie-name", "s", {"affinity": "true"}, client={"Set-Cookie": COOKIE}),
    effect("session-secure", "true", STICKY, client={"Set-Cookie": f"{COOKIE}; Secure"}),
    effect("session-http-only", "true", STICKY, client={"Set-Cookie": f"{COOKIE}; HttpOnly"}),
    effect("session-same-site", "lax", STICKY, client={"Set-Cookie": f"{COOKIE}; SameSite=Lax"}),
    effect("sticky", "true", client={"Set-Cookie": f"_TRAEFIK_BACKEND{COOKIE[1:]}"}),
    effect("circuit-breaker-expression", "ResponseCodeRatio(200, 300, 0, 600) > 0.5", again=1,
           status=503, target=""),
    effect("buffering", "maxrequestbodybytes: 3", ask=Ask(method="POST", body=b"four"), status=413,
           target=""),
    # A number counts only beside a function: then it is seen that there is none of this name.
    effect("max-conn-amount", "1", {"max-conn-extractor-func": "nobody"}, **GONE),
    effect("max-conn-extractor-func", "nobody", {"max-conn-amount": "1"}, **GONE),
    effect("responseforwarding-flushinterval", "soon", **GONE),  # nothing else can be seen of it
    effect("custom-request-headers", "X-A: 1", backend={"X-A": "1"}),
    headed("custom-response-headers", "X-A: 1", "X-A", "1"),
    effect("allowed-hosts", "b.test", status=500, body=b"Bad Host\n"),
    effect("proxy-headers", "X-H", {"allowed-hosts": "b.test"}, ask=sent(("X-H", "b.test"))),
    effect("ssl-redirect", "true", client={"Location": "https://HOST/"}, **PERMANENT),
    effect("ssl-temporary-redirect", "true", TLS, status=307),
    effect("ssl-host", "s.test", TLS, client={"Location": "https://s.test/"}, **PERMANENT),
    effect("ssl-force-host", "true", {"ssl-host": "s.test"}, **PERMANENT),
    effect("ssl-proxy-headers", "X-Tls: yes", TLS, ask=sent(("X-Tls", "yes")), **SEEN),
    headed("hsts-max-age", "60", "Strict-Transport-Security", "max-age=60", force_hsts="true"),
    effect("hsts-include-subdomains", "true", HSTS,
           client={"Strict-Transport-Security": "max-age=60; includeSubDomains"}),
    effect("hsts-preload", "true", HSTS,
           client={"Strict-Transport-Security": "max-age=60; preload"}),
    headed("force-hsts", "true", "Strict-Transport-Security", "max-age=60", hsts_max_age="60"),
    headed("frame-deny", "true", "X-Frame-Options", "DENY"),
    headed("custom-frame-options-value", "SAMEORIGIN", "X-Frame-Options", "SAMEORIGIN"),
    headed("content-type-nosniff", "true", "X-Content-Type-Options", "nosniff"),
    headed("browser-xss-filter", "true", "X-XSS-Protection", "1; mode=block"),
    headed("custom-browser-xss-value", "0", "X-XSS-Protection", "0"),
    headed("content-security-policy", "self", "Content-Security-Policy", "self"),
    effect("public-key", "pin", {"ssl-proxy-headers": "X-Tls: yes"}, ask=sent(("X-Tls", "yes")),
           client={"Public-Key-Pins": "pin"}),
    headed("referrer-policy", "same-origin", "Referrer-Policy", "same-origin"),
    effect("is-development", "true", TLS, **SEEN),
    effect("auth-type", "basic", {"auth-secret": "users"}, status=401, target=""),
    effect("auth-secret", "users", {"auth-type": "basic"}, status=401, target=""),
    effect("auth-remove-header", "true", BASIC, ask=sent(ANN), backend={"Authorization": None}),
    effect("auth-header-field", "X-User", BASIC, ask=sent(ANN), backend={"X-User": "ann"}),
    effect("auth-realm", "shop", **GONE),
    effect("auth-url", "http://127.0.0.1:AUTHPORT/", {"auth-type": "forward"}, **SEEN),
    effect("auth-trust-headers", "true", ASKS, {"X-Forwarded-Method": "PUT"},
           ask=sent(("X-Forwarded-Method", "PUT")), **SEEN),
    effect("auth-response-headers", "X-User", ASKS, ask=sent(TOLD), backend={"X-User": "ann"}),
    effect("auth-tls-secret", "missing", ASKS, **GONE),
    effect("auth-tls-insecure", "true", ASKS_TLS, **SEEN),
]  # fmt: skip

UNSEEN = METHOD  # what drr does takes 10 s (test_balancing.py); its names are seen in findings
ROWS = [(effect, number) for effect in EFFECTS for number in range(len(KEYS[effect.annotation]))]
MISSPELT = {  # a letter twice -> the name
    f"{key[:-2]}{key[-2]}{key[-2:]}": key
    for key in KNOWN_ANNOTATIONS
    if key.startswith((*PREFIXES, "traefik."))
}
METHODS = [Row(key, service={key: "DRR"}) for key in UNSEEN.keys]


def test_every_annotation_has_an_effect() -> None:
    assert {effect.annotation for effect in EFFECTS} == KEYS.keys() - {UNSEEN.name}
    assert {row.title for row in METHODS} | {e.under(n).title for e, n in ROWS} == set(
        KNOWN_ANNOTATIONS
    )


@dataclass(frozen=True)
class Named:
    field: Field
    asked: Backend

    def check(self, effect: Effect, row: Row) -> None:
        self.asked.seen.clear()
        self.field.check(row)
        if effect.asked:
            compare(self.asked.seen[-1].headers, effect.asked, {})


def misspelt() -> str:
    """A Service and an Ingress, each with the names that belong on it, all misspelt."""
    service = {w: "x" for w, right in MISSPELT.items() if KNOWN_ANNOTATIONS[right] in OF_SERVICES}
    others = {wrong: "x" for wrong in MISSPELT if wrong not in service}
    metadata = {"name": "misspelt", "namespace": "default", "annotations": service}
    return "\n---\n".join(
        [
            json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
                        "spec": {"ports": [{"port": 80}]}}),
            ingress("misspelt", "misspelt.test", "/", "misspelt", others),
        ]
    )  # fmt: skip


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Named]:
    plain = Backend(1, "X-Auth-Answer")
    secure = Backend(1, "X-Auth-Answer", tls=server_context(trustme.CA().issue_cert("127.0.0.1")))
    rows = [effect.under(number) for effect, number in ROWS]
    rows += [effect.under(-1) for effect in EFFECTS] + METHODS
    with Field(
        tmp_path_factory.mktemp("names"), rows, settings="[api]",
        manifests="\n---\n".join([misspelt(), secret("users", {"auth": ANNS_HASH})]),
        words={"AUTHPORT": str(plain.ports[0]), "TLSPORT": str(secure.ports[0])},
    ) as field:  # fmt: skip
        yield Named(field, plain)
    plain.close()
    secure.close()


@pytest.mark.parametrize(("effect", "number"), ROWS, ids=[KEYS[e.annotation][n] for e, n in ROWS])
def test_the_effect_under_each_name(named: Named, effect: Effect, number: int) -> None:
    named.check(effect, effect.under(number))


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.annotation)
def test_no_effect_without_the_annotation(named: Named, effect: Effect) -> None:
    with pytest.raises(AssertionError):
        named.check(effect, effect.under(-1))


def found(named: Named) -> list[dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", named.field.ports["traefik"], timeout=10)
    connection.request("GET", "/api/findings")
    findings: list[dict[str, str]] = json.loads(connection.getresponse().read())
    connection.close()
    return findings


@pytest.mark.parametrize("row", METHODS, ids=str)
def test_names_seen_only_in_findings(named: Named, row: Row) -> None:
    fields = [f["field"] for f in found(named) if f["name"] == named.field.name(row)]
    assert fields == [f"metadata.annotations[{row.title}]"]


def test_names_that_come_later_are_not_looked_at(named: Named) -> None:
    """They are told as ignored, and nothing is said of their values."""
    told: dict[tuple[str, str], list[str]] = {}
    for finding in found(named):
        told.setdefault((finding["name"], finding["field"]), []).append(finding["code"])
    for effect, number in ROWS:
        name = named.field.name(effect.under(number))
        for key in KEYS[effect.annotation][number + 1 :]:
            # An Ingress that the first spelling gives to others has no findings.
            wanted = [] if effect.annotation == INGRESS_CLASS.name else ["FP224"]
            assert told.get((name, f"metadata.annotations[{key}]"), []) == wanted


@pytest.mark.parametrize("key", MISSPELT.values(), ids=str)
def test_a_misspelt_name_is_told_with_the_nearest_one(named: Named, key: str) -> None:
    [wrong] = [wrong for wrong, right in MISSPELT.items() if right == key]
    [finding] = [f for f in found(named) if f["field"] == f"metadata.annotations[{wrong}]"]
    code = "FP225" if PROTECTING.search(key) else "FP168"  # what was to protect is an error
    assert (finding["code"], finding["name"]) == (code, "misspelt")
    assert finding["kind"] == ("Service" if KNOWN_ANNOTATIONS[key] in OF_SERVICES else "Ingress")
    assert finding["sentence"] == f"No such annotation exists; {key} does."
