"""What features cost: a plain route, the same with each feature, and with a realistic bundle.

fastproxy gets the annotations, nginx the directives that do the same (where it has them), and both
the load of the workload `headers`. The difference to the plain route is the feature's cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from bench.macro import measure
from bench.macro.peers import Fastproxy, Nginx, Peer
from bench.macro.workloads import Workload

PREFIX = "ingress.kubernetes.io/"
GOAL_SINGLE = 1.0  # microseconds any single feature may add
LOAD = Workload("features", "12 headers", hosts=2, paths=5, headers=12)

# proxy_set_header in a location replaces those of the level above, so it needs them all
HEADERS = """
  proxy_set_header Connection "";
  proxy_set_header Host $http_host;
  proxy_set_header X-Real-Ip $remote_addr;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Host $http_host;
  proxy_set_header X-Forwarded-Port $server_port;
  proxy_set_header X-Forwarded-Server $hostname;
"""
RATE = """extractorfunc: client.ip
rateset:
  second:
    period: 1s
    average: 10000000
    burst: 20000000
"""
RETRIED = "retryexpression: IsNetworkError() && Attempts() <= 2"
SECURITY = {
    "force-hsts": "true",
    "hsts-max-age": "31536000",
    "frame-deny": "true",
    "content-type-nosniff": "true",
    "browser-xss-filter": "true",
    "referrer-policy": "same-origin",
}
SECURITY_NGINX = """
  add_header Strict-Transport-Security "max-age=31536000" always;
  add_header X-Frame-Options DENY always;
  add_header X-Content-Type-Options nosniff always;
  add_header X-Xss-Protection "1; mode=block" always;
  add_header Referrer-Policy same-origin always;
"""
SECURITY_SHOWS = (
    b"strict-transport-security: max-age=31536000",
    b"x-frame-options: deny",
    b"x-content-type-options: nosniff",
    b"referrer-policy: same-origin",
)
RATE_HTTP = "limit_req_zone $binary_remote_addr zone=rate:16m rate=10000000r/s;"
RATE_NGINX = "limit_req zone=rate burst=20000000 nodelay; limit_req_status 429;"
ALLOW = "10.0.0.0/8, 127.0.0.0/8, 192.168.0.0/16, 2001:db8::/32"
ALLOW_NGINX = """
  allow 10.0.0.0/8; allow 127.0.0.0/8; allow 192.168.0.0/16; allow 2001:db8::/32; deny all;
"""
# nginx (free) has no sticky sessions: a cookie for those without one is the closest there is
STICKY_HTTP = """map $cookie_route $sticky { "" "route=$upstream_addr; Path=/"; default ""; }"""
STICKY_NGINX = "add_header Set-Cookie $sticky;"


@dataclass(frozen=True, slots=True)
class Case:
    """`location` goes into every location of nginx, `None`: nginx is not compared."""

    name: str
    ingress: Mapping[str, str] = field(default_factory=dict)
    service: Mapping[str, str] = field(default_factory=dict)
    location: str | None = None
    http: str = ""
    strip: bool = False
    settings: str = ""  # of fastproxy, more TOML
    shows: tuple[bytes, ...] = ()  # what the answer must contain, lower case
    load: Workload = LOAD  # the plain route gets it with bodies that are not chunked


CASES = (
    Case("plain", location=""),
    Case("strip-prefix", {"rule-type": "PathPrefixStrip"}, location="", strip=True),
    Case("rewrite-target", {"rewrite-target": "/"}),
    Case("rewrite-regex", {"request-modifier": "ReplacePathRegex: ^/p([0-9]+)/(.*) /q$1/$2"}),
    Case("add-prefix", {"request-modifier": "AddPrefix: /tenant1"}),
    Case("redirect-entry-point", {"redirect-entry-point": "http"}),
    Case(
        "redirect-regex",  # not found, so that the request goes on
        {
            "redirect-regex": "^https?://(www)[.]h[0-9]+[.]example/(.*)",
            "redirect-replacement": "https://h.example/$2",
        },
    ),
    Case("app-root", {"app-root": "/start"}),
    Case(
        "request-headers",
        {"custom-request-headers": "X-Team: blue||X-Stage: live"},
        location=HEADERS + "proxy_set_header X-Team blue; proxy_set_header X-Stage live;",
    ),
    Case(
        "response-headers",
        {"custom-response-headers": "X-Team: blue||Cache-Control: no-store"},
        location="add_header X-Team blue always; add_header Cache-Control no-store always;",
        shows=(b"x-team: blue", b"cache-control: no-store"),
    ),
    Case("security-headers", SECURITY, location=SECURITY_NGINX, shows=SECURITY_SHOWS),
    Case("allowed-hosts", {"allowed-hosts": "h.example, h0.example, h1.example"}),
    Case("csp-nonce", {"content-security-policy": "script-src $NONCE"}, shows=(b"nonce-",)),
    Case("client-cert", {"pass-client-tls-cert": "pem: true"}),
    Case("retry", settings="[retry]\nattempts = 3\n"),
    Case("buffering", service={"buffering": "{}"}),
    Case("buffering-retry", service={"buffering": RETRIED}),
    Case("buffering-post", service={"buffering": "{}"}, load=replace(LOAD, body=1000)),
    Case("buffering-retry-post", service={"buffering": RETRIED}, load=replace(LOAD, body=1000)),
    Case(
        "buffering-chunked",
        service={"buffering": "{}"},
        load=replace(LOAD, body=1000, chunked=True),
    ),
    Case(
        "buffering-pieces",  # more than one read
        service={"buffering": "{}"},
        load=replace(LOAD, body=60_000, chunked=True),
    ),
    Case("white-list", {"whitelist-source-range": ALLOW}, location=ALLOW_NGINX),
    Case("rate-limit", {"rate-limit": RATE}, location=RATE_NGINX, http=RATE_HTTP),
    Case(
        "max-connections",
        service={"max-conn-amount": "10000", "max-conn-extractor-func": "client.ip"},
        location="limit_conn connections 10000;",
        http="limit_conn_zone $binary_remote_addr zone=connections:16m;",
    ),
    Case(
        "affinity",
        service={"affinity": "true"},
        location=STICKY_NGINX,
        http=STICKY_HTTP,
        shows=(b"set-cookie: ",),
    ),
    Case(
        "circuit-breaker",
        service={
            "circuit-breaker-expression": (
                "NetworkErrorRatio() > 0.30 || LatencyAtQuantileMS(95.0) > 8000"
            )
        },
    ),
    Case("drr", service={"load-balancer-method": "drr"}),
    Case("error-pages", {"error-pages": "x:\n  status: ['500-599']\n  backend: none\n  query: /"}),
    Case(
        "bundle",
        {
            "rule-type": "PathPrefixStrip",
            "whitelist-source-range": ALLOW,
            "rate-limit": RATE,
            **SECURITY,
        },
        {"affinity": "true"},
        location=SECURITY_NGINX + ALLOW_NGINX + RATE_NGINX + STICKY_NGINX,
        http=RATE_HTTP + STICKY_HTTP,
        strip=True,
        shows=(*SECURITY_SHOWS, b"set-cookie: "),
    ),
)
BY_NAME = {case.name: case for case in CASES}


class FeatureFastproxy(Fastproxy):
    case = CASES[0]

    def annotations(self) -> dict[str, str]:
        return {PREFIX + name: value for name, value in self.case.ingress.items()}

    @property
    def settings(self) -> str:  # type: ignore[override]
        return self.case.settings

    def service_annotations(self) -> dict[str, str]:
        return {PREFIX + name: value for name, value in self.case.service.items()}


class FeatureNginx(Nginx):
    case = CASES[0]

    @property
    def http(self) -> str:  # type: ignore[override]
        return self.case.http

    def location(self, path: str) -> str:
        target, match, more = "http://backend", path, self.case.location or ""
        if self.case.strip:
            target, match = "http://backend/", f"{path}/"
            more += "" if HEADERS in more else HEADERS
            more += f"proxy_set_header X-Forwarded-Prefix {path};"
        return f"location {match} {{ {more} proxy_pass {target}; }}"


def measure_cases(
    cases: list[Case], folder: Path, backend: int, rounds: int, seconds: int
) -> dict[str, dict[str, Any]]:
    """CPU microseconds per request by case and proxy; plain runs in every round."""
    print("\nfeatures: CPU us per request, 12 headers, 64 connections")
    print(f"  {'':18}{'fastproxy':>10}{'adds':>8}{'nginx':>10}{'adds':>8}{'ratio':>7}  goal")
    plain: dict[str, float] = {}
    found: dict[str, dict[str, Any]] = {}
    for case in cases:
        peers: list[Peer] = []
        kinds: list[type[Peer]] = [FeatureFastproxy]
        if case.location is not None and Nginx.available():
            kinds.append(FeatureNginx)
        try:
            for kind in kinds:
                # the plain route takes turns with the feature, so that both see the same machine
                for one in (CASES[0], case):
                    label = type(kind.__name__, (kind,), {"case": one})
                    peer = label(folder / one.name)
                    peer.start(backend)
                    peers.append(peer)
                    check(peer, one)
                    measure.run_wrk(peer.port, peer.pid, 1, LOAD.connections, LOAD.arguments())
            samples: list[list[measure.Sample]] = [[] for _ in peers]
            for _ in range(rounds):
                for number, (peer, rows) in enumerate(zip(peers, samples, strict=True)):
                    load = case.load if number % 2 else replace(case.load, chunked=False)
                    arguments = (load.connections, load.arguments())
                    rows.append(measure.run_wrk(peer.port, peer.pid, seconds, *arguments))
        except RuntimeError as error:
            print(f"  {case.name}: {error}")
            continue
        finally:
            for peer in peers:
                peer.stop()
        row: dict[str, Any] = {}
        for index, kind in enumerate(kinds):
            base, own = samples[2 * index : 2 * index + 2]
            plain[kind.name] = median(s.cpu_us for s in base)
            cost = median(s.cpu_us for s in own)
            row[kind.name] = {
                "plain_us": round(plain[kind.name], 3),
                "cpu_us": round(cost, 3),
                "adds_us": round(cost - plain[kind.name], 3),
                "bad_status": sum(s.bad_status for s in own),
            }
        found[case.name] = row
        show(case, row)
    return found


def check(peer: Peer, case: Case) -> None:
    """RuntimeError unless the feature can be seen in an answer."""
    answer = measure.answers(peer.port, "h0.example", "/p0/s").lower()
    for text in case.shows:
        if text not in answer:
            raise RuntimeError(f"{peer.name} does not send {text!r}: {answer!r}")


def show(case: Case, row: Mapping[str, Any]) -> None:
    own, other = row["fastproxy"], row.get("nginx")
    text = f"  {case.name:18}{own['cpu_us']:10.2f}{own['adds_us']:8.2f}"
    goal = ""
    if case.name not in ("plain", "bundle"):
        goal = f"<= {GOAL_SINGLE} us " + ("reached" if own["adds_us"] <= GOAL_SINGLE else "MISSED")
    if other is not None:
        ratio = other["cpu_us"] / own["cpu_us"]
        text += f"{other['cpu_us']:10.2f}{other['adds_us']:8.2f}{ratio:7.2f}"
        if case.name == "bundle":
            goal = "> 1.0 " + ("reached" if ratio > 1 else "MISSED")
    else:
        text += f"{'-':>10}{'-':>8}{'':7}"
    if own["bad_status"]:
        goal += f"  {own['bad_status']} ANSWERS WITH ANOTHER STATUS"
    print(f"{text}  {goal}", flush=True)
