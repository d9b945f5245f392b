"""What features cost: a plain route, the same with each feature, and with a realistic bundle.

fastproxy gets the annotations, nginx the directives that do the same (where it has them), and both
the load of the workload `headers`. The difference to the plain route is the feature's cost.
"""

from __future__ import annotations

import re
from base64 import b64encode
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
NONCES = 128  # more than there are connections, so that two uses of one never overtake each other

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


SHA = "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="
BCRYPT = "ann:$2b$10$BD7K4.3RCe1g8i79EezQSe/70uUlGGyCMXGRqYReHdlAgRVUsJKhO"
HA1 = "ann:traefik:e008efc4676c740d22dfb8460b00c71f"
ANN = "Authorization: Basic YW5uOnNlY3JldA=="  # ann:secret
BASIC = {"auth-type": "basic", "auth-secret": "users"}
BASIC_NGINX = "auth_basic traefik; auth_basic_user_file FOLDER/users;"
# without a body: nginx closes the connection to a server that sends one
ASK_NGINX = "auth_request /_auth;"
ASKED_NGINX = f"""
  location = /_auth {{
    internal; proxy_pass http://backend/p0/n;
    proxy_pass_request_body off; {HEADERS} proxy_set_header Content-Length "";
  }}
"""
GZIP_NGINX = "gzip on; gzip_min_length 512; gzip_proxied any; gzip_types *; gzip_comp_level 6;"
IN_PROCESS, HASHING, COMPRESSION, REQUEST = "in process", "hashing", "compression", "a request"
COPYING = "copying"  # of long bodies: so much for each byte


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
    lines: tuple[str, ...] = ()  # header lines of the requests, also of those to the plain route
    preface: str = ""  # in front of each request, only of those to the feature
    entry_point: str = ""  # of fastproxy, more TOML
    users: str = ""  # the only line of the Secret `users`, and of nginx's file of that name
    server: str = ""  # goes into every server of nginx
    kind: str = IN_PROCESS

    def arguments(self, *, plain: bool, digest: str = "") -> list[str]:
        """For load.lua."""
        load = replace(self.load, chunked=False) if plain else self.load
        preface = "" if plain else self.preface
        return [*load.arguments(), "|".join(self.lines), preface, digest]


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
        kind=COPYING,
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
    Case("basic-sha", BASIC, location=BASIC_NGINX, lines=(ANN,), users=SHA),
    Case("basic-bcrypt", BASIC, lines=(ANN,), users=BCRYPT),
    Case(
        "basic-header-field",
        {**BASIC, "auth-header-field": "X-User", "auth-remove-header": "true"},
        lines=(ANN,),
        users=SHA,
    ),
    Case("digest", {"auth-type": "digest", "auth-secret": "users"}, users=HA1, kind=HASHING),
    Case(
        "forward-auth",
        {"auth-type": "forward", "auth-url": "http://127.0.0.1:BACKEND/p0/n"},
        location=ASK_NGINX,
        server=ASKED_NGINX,
        kind=REQUEST,
    ),
    Case(
        "compress-5-bytes",
        location="",
        http=GZIP_NGINX,
        entry_point="compress = true\n",
    ),
    Case(
        "compress-10k",
        location="",
        http=GZIP_NGINX,
        entry_point="compress = true\n",
        load=replace(LOAD, suffix="k"),
        kind=COMPRESSION,
    ),
    Case(
        "point-white-list",
        location=ALLOW_NGINX,
        entry_point="[entryPoints.http.whiteList]\n"
        'sourceRange = ["10.0.0.0/8", "127.0.0.0/8", "192.168.0.0/16", "2001:db8::/32"]\n',
    ),
    Case(
        "point-redirect",
        entry_point="[entryPoints.http.redirect]\n"
        'regex = "^https?://(www)[.]h[0-9]+[.]example/(.*)"\nreplacement = "https://h/$2"\n',
    ),
    Case(
        "point-auth",
        entry_point=f'[entryPoints.http.auth.basic]\nusers = ["{SHA}"]\n',
        lines=(ANN,),
    ),
    Case(
        "proxy-protocol",
        entry_point="[entryPoints.http.proxyProtocol]\ninsecure = true\n",
        preface="PROXY TCP4 192.0.2.7 127.0.0.1 5000 80",
        load=replace(LOAD, close=True),
    ),
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

    def configure(self, backend: int, hosts: int, paths: int, deferred: bool) -> list[str]:
        self.backend = backend
        return super().configure(backend, hosts, paths, deferred)

    def annotations(self) -> dict[str, str]:
        return {
            PREFIX + name: value.replace("BACKEND", str(self.backend))
            for name, value in self.case.ingress.items()
        }

    def documents(self) -> list[dict[str, Any]]:
        if not self.case.users:
            return []
        data = {"users": b64encode(self.case.users.encode()).decode()}
        metadata = {"namespace": "bench", "name": "users"}
        return [{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}]

    @property
    def entry_point(self) -> str:  # type: ignore[override]
        return self.case.entry_point

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
        (self.folder / "users").write_text(self.case.users + "\n")
        target, match = "http://backend", path
        more = (self.case.location or "").replace("FOLDER", str(self.folder))
        server = self.case.server if path == "/p0" else ""
        if self.case.strip:
            target, match = "http://backend/", f"{path}/"
            more += "" if HEADERS in more else HEADERS
            more += f"proxy_set_header X-Forwarded-Prefix {path};"
        return f"{server} location {match} {{ {more} proxy_pass {target}; }}"


@dataclass
class Turn:
    """One proxy with one case, and what was measured."""

    peer: Peer
    case: Case
    feature: Case  # whose requests it gets
    samples: list[measure.Sample]

    def run(self, seconds: int, digest: str) -> measure.Sample:
        arguments = self.feature.arguments(plain=self.case is not self.feature, digest=digest)
        connections = self.feature.load.connections
        return measure.run_wrk(self.peer.port, self.peer.pid, seconds, connections, arguments)


def measure_cases(
    cases: list[Case], folder: Path, backend: int, rounds: int, seconds: int
) -> dict[str, dict[str, Any]]:
    """CPU microseconds per request by case and proxy; plain runs in every round."""
    print("\nfeatures: CPU us per request, 12 headers, 64 connections")
    print(f"  {'':18}{'fastproxy':>10}{'adds':>8}{'nginx':>10}{'adds':>8}{'ratio':>7}  goal")
    found: dict[str, dict[str, Any]] = {}
    for case in cases:
        kinds: list[type[Peer]] = [FeatureFastproxy]
        if case.location is not None and Nginx.available():
            kinds.append(FeatureNginx)
        turns: list[Turn] = []
        try:
            for kind in kinds:
                # the plain route takes turns with the feature, so that both see the same machine
                for one in (CASES[0], case):
                    turns.append(started(kind, one, case, folder, backend))
            for number in range(rounds + 1):
                for index, turn in enumerate(turns):
                    # the plain route gets the same requests
                    owner = turns[index | 1]
                    digest = challenges(owner.peer, folder) if case.kind == HASHING else ""
                    sample = turn.run(seconds if number else 1, digest)
                    if number:
                        turn.samples.append(sample)
        except RuntimeError as error:
            print(f"  {case.name}: {error}")
            continue
        finally:
            for turn in turns:
                turn.peer.stop()
        row = {
            kind.name: figures(*turns[2 * index : 2 * index + 2])
            for index, kind in enumerate(kinds)
        }
        found[case.name] = row
        show(case, row)
    return found


def started(kind: type[Peer], case: Case, feature: Case, folder: Path, backend: int) -> Turn:
    peer = type(kind.__name__, (kind,), {"case": case})(folder / case.name)
    peer.lines = feature.lines
    peer.ready = 401 if case.kind == HASHING else 200
    peer.start(backend)
    check(peer, case)
    return Turn(peer, case, feature, [])


def figures(plain: Turn, own: Turn) -> dict[str, Any]:
    base = median(sample.cpu_us for sample in plain.samples)
    cost = median(sample.cpu_us for sample in own.samples)
    return {
        "plain_us": round(base, 3),
        "cpu_us": round(cost, 3),
        "adds_us": round(cost - base, 3),
        "bad_status": sum(sample.bad_status for sample in own.samples),
    }


def challenges(peer: Peer, folder: Path) -> str:
    """The name of a file with an opaque and fresh nonces of a digest route."""
    lines = []
    for number in range(NONCES):
        answer = measure.answers(peer.port, "h0.example", "/p0/s").decode("latin-1")
        match = re.search('nonce="([^"]+)", opaque="([^"]+)"', answer)
        if match is None:
            raise RuntimeError(f"no challenge: {answer!r}")
        if number == 0:
            lines.append(match[2])
        lines.append(match[1])
    (folder / "nonces").write_text("\n".join(lines) + "\n")
    return str(folder / "nonces")


def check(peer: Peer, case: Case) -> None:
    """RuntimeError unless the feature can be seen in an answer."""
    answer = measure.answers(peer.port, "h0.example", "/p0/s", lines=peer.lines).lower()
    for text in case.shows:
        if text not in answer:
            raise RuntimeError(f"{peer.name} does not send {text!r}: {answer!r}")


def goal_of(case: Case, own: Mapping[str, Any], ratio: float) -> str:
    if case.name == "plain":
        return ""
    if case.name == "bundle":
        return "> 1.0 " + ("reached" if ratio > 1 else "MISSED")
    if case.kind == REQUEST:  # one more request to another server, against one through the proxy
        share = own["adds_us"] / own["plain_us"]
        return f"a request: {share:.2f} of a plain one"
    if case.kind != IN_PROCESS:
        return case.kind
    return f"<= {GOAL_SINGLE} us " + ("reached" if own["adds_us"] <= GOAL_SINGLE else "MISSED")


def show(case: Case, row: Mapping[str, Any]) -> None:
    own, other = row["fastproxy"], row.get("nginx")
    text = f"  {case.name:18}{own['cpu_us']:10.2f}{own['adds_us']:8.2f}"
    ratio = 0.0
    if other is not None:
        ratio = other["cpu_us"] / own["cpu_us"]
        text += f"{other['cpu_us']:10.2f}{other['adds_us']:8.2f}{ratio:7.2f}"
    else:
        text += f"{'-':>10}{'-':>8}{'':7}"
    goal = goal_of(case, own, ratio)
    if own["bad_status"]:
        goal += f"  {own['bad_status']} ANSWERS WITH ANOTHER STATUS"
    print(f"{text}  {goal}", flush=True)
