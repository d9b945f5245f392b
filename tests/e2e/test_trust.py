"""Who is believed: what a peer says about others in X-Forwarded-* and X-Real-Ip counts only when
the entry point trusts that peer, whatever feature looks at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.support.feature_rows import Ask, Backend, Field, Row, compare, running

TRUSTING = {"http": "", "told": '[entryPoints.told.forwardedHeaders]\ntrustedIPs = ["127.0.0.1"]\n'}
WARY = {
    "wary": '[entryPoints.wary.forwardedHeaders]\ntrustedIPs = ["127.0.0.9", "10.1.2.3"]\n',
    "six": '[entryPoints.six.forwardedHeaders]\ntrustedIPs = ["::1/128"]\n',
}
FAR = {"whitelist-source-range": "10.1.2.3", "whitelist-x-forwarded-for": "true"}
NEAR = {"whitelist-source-range": "127.0.0.1", "whitelist-x-forwarded-for": "true"}
LIMIT = "extractorfunc: {}\nrateset:\n  hour:\n    period: 1h\n    average: 1\n    burst: 1\n"
CLAIM = ("X-Forwarded-For", "10.1.2.3")
SECURE = ("X-Forwarded-Proto", "https")
ELSEWHERE = ("X-Forwarded-Host", "elsewhere.test")
ALLOWED = {"allowed-hosts": "elsewhere.test", "proxy-headers": "X-Forwarded-Host"}
ASKS = {"auth-type": "forward", "auth-url": "http://127.0.0.1:AUTHPORT/"}


@dataclass(frozen=True)
class Case:
    """What an Ingress with these annotations makes of a claim that is believed, and of one that is
    not: status and Location of the answer, header fields at the endpoint and at the server of
    forward authentication. `first` is sent before, with another claim."""

    title: str
    annotations: Mapping[str, str]
    claims: tuple[tuple[str, str], ...]
    believed: Mapping[str, Any] = field(default_factory=dict)
    ignored: Mapping[str, Any] = field(default_factory=dict)
    first: tuple[str, str] | None = None

    def __str__(self) -> str:
        return self.title


def limited(name: str) -> Case:
    return Case(
        f"rate limit by {name}",
        {"rate-limit": LIMIT.format(f"request.header.{name}")},
        ((name, "10.1.2.3"),),
        {"status": 200},
        {"status": 429},
        first=(name, "10.9.9.9"),
    )


CASES = [
    Case("white list", FAR, (CLAIM,), {"status": 200}, {"status": 403}),
    Case("white list, real address inside", NEAR, (("X-Forwarded-For", "nonsense"),),
         {"status": 403}, {"status": 200}),
    Case("white list, second line", FAR, (("X-Forwarded-For", "192.0.2.1"), CLAIM),
         {"status": 200}, {"status": 403}),
    Case("app-root", {"app-root": "/app"}, (SECURE,),
         {"status": 302, "location": "https://HOST/app"},
         {"status": 302, "location": "http://HOST/app"}),
    Case("redirect-regex",
         {"redirect-regex": "^https://(.*)", "redirect-replacement": "http://x.test/$1"}, (SECURE,),
         {"status": 302, "location": "http://x.test/HOST/"}, {"status": 200}),
    Case("redirect by a header",
         {"redirect-regex": "^http://", "redirect-replacement":
          r'http://y.test/{{ .Request.Header.Get \"X-Forwarded-Host\" }}/'}, (ELSEWHERE,),
         {"status": 302, "location": "http://y.test/elsewhere.test/HOST/"},
         {"status": 302, "location": "http://y.test//HOST/"}),
    Case("ssl-redirect",
         {"ssl-redirect": "true", "ssl-proxy-headers": "X-Forwarded-Proto: https"}, (SECURE,),
         {"status": 200}, {"status": 301, "location": "https://HOST/"}),
    Case("allowed-hosts", ALLOWED, (ELSEWHERE,), {"status": 200}, {"status": 500}),
    limited("X-Forwarded-For"),
    limited("X-Real-Ip"),
    Case("rate limit by another header", {"rate-limit": LIMIT.format("request.header.X-Key")},
         (("X-Key", "b"),), {"status": 200}, {"status": 200}, first=("X-Key", "a")),
    Case("forward authentication", {**ASKS, "auth-trust-headers": "true"},
         (CLAIM, SECURE, ELSEWHERE, ("X-Forwarded-Uri", "/z"), ("X-Forwarded-Method", "PUT"),
          ("X-Real-Ip", "10.1.2.3")),
         {"status": 200, "asked": {
             "X-Forwarded-For": "10.1.2.3, 127.0.0.1", "X-Forwarded-Proto": "https",
             "X-Forwarded-Host": "elsewhere.test", "X-Forwarded-Uri": "/z",
             "X-Forwarded-Method": "PUT", "X-Real-Ip": "10.1.2.3"}},
         {"status": 200, "asked": {
             "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http",
             "X-Forwarded-Host": "HOST", "X-Forwarded-Uri": "/",
             "X-Forwarded-Method": "GET", "X-Real-Ip": None}}),
    Case("what the endpoint is told", {},
         (CLAIM, SECURE, ELSEWHERE, ("X-Forwarded-Port", "99"), ("X-Real-Ip", "10.1.2.3")),
         {"status": 200, "endpoint": {
             "X-Forwarded-For": "10.1.2.3, 127.0.0.1", "X-Forwarded-Proto": "https",
             "X-Forwarded-Host": "elsewhere.test", "X-Forwarded-Port": "99",
             "X-Real-Ip": "10.1.2.3"}},
         {"status": 200, "endpoint": {
             "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http",
             "X-Forwarded-Host": "HOST", "X-Forwarded-Port": "80", "X-Real-Ip": "127.0.0.1"}}),
    Case("other spellings", FAR, (("X_Forwarded-For", "10.1.2.3"),),
         {"status": 403}, {"status": 403}),
    # Whoever writes the Ingress is trusted, whoever asks.
    Case("set by the Ingress", {"custom-request-headers": "X-Real-Ip: 10.7.7.7"}, (CLAIM,),
         {"status": 200, "endpoint": {"X-Real-Ip": "10.7.7.7"}},
         {"status": 200, "endpoint": {"X-Real-Ip": "10.7.7.7", "X-Forwarded-For": "127.0.0.1"}}),
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Backend]:
    made = Backend(1, "X-Auth-Answer")
    yield made
    made.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, server: Backend) -> Iterator[Field]:
    points = {**TRUSTING, **WARY}
    points |= {
        f"{name}list": f'[entryPoints.{name}list.whiteList]\nsourceRange = ["10.1.2.3"]\n'
        f"useXForwardedFor = true\n{text.replace(name, name + 'list')}"
        for name, text in {**TRUSTING, **WARY}.items()
    }
    yield from running(
        tmp_path_factory.mktemp("trust"),
        [Row(case.title, case.annotations) for case in CASES] + [Row("plain")],
        entry_points={name: text for name, text in points.items() if text},
        default_entry_points=str([*points]).replace("'", '"'),
        words={"AUTHPORT": str(server.ports[0])},
    )


@pytest.mark.parametrize("entry_point", [*TRUSTING, *WARY])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_claim(proxy: Field, server: Backend, case: Case, entry_point: str) -> None:
    row = Row(case.title)
    host = proxy.host(row)
    asking = Ask("/", headers=case.claims, entry_point=entry_point)
    if case.first is not None:
        assert proxy.ask(replace(asking, headers=(case.first,)), host).status == 200
    proxy.backend.seen.clear()
    server.seen.clear()
    expected = case.believed if entry_point in TRUSTING else case.ignored
    answer = proxy.ask(asking, host)
    assert answer.status == expected["status"]
    words = {"HOST": host}
    if "location" in expected:
        compare(answer.headers, {"Location": expected["location"]}, words)
    if "asked" in expected:
        compare(server.seen[-1].headers, expected["asked"], words)
    if "endpoint" in expected:
        compare(proxy.backend.seen[-1].headers, expected["endpoint"], words)


@pytest.mark.parametrize(("entry_point", "status"), [
    *[(f"{name}list", 200) for name in TRUSTING], *[(f"{name}list", 403) for name in WARY],
])  # fmt: skip
def test_the_white_list_of_an_entry_point(proxy: Field, entry_point: str, status: int) -> None:
    for host in (proxy.host(Row("plain")), "unknown.test"):
        answer = proxy.ask(Ask("/", headers=(CLAIM,), entry_point=entry_point), host)
        assert answer.status == (404 if status == 200 and host == "unknown.test" else status)
        assert proxy.ask(Ask("/", entry_point=entry_point), host).status == 403
