"""Authentication by the whole program: digest over all workers, forward over TLS, entry points."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from tests.support.feature_rows import (
    Answer,
    Ask,
    Backend,
    Field,
    Row,
    answering,
    running,
    secret,
)
from tests.support.tls import AUTHORITY, pem, server_context

CLIENTS = trustme.CA()
CERTIFICATE, KEY = (part.decode() for part in pem(CLIENTS.issue_cert("proxy.test")))
HA1 = hashlib.md5(b"ann:traefik:secret").hexdigest()
DIGEST_USERS = f"ann:traefik:{HA1}"
WORKERS = 3

# The authentication servers: plain, TLS, and TLS that wants a certificate of CLIENTS.
ASKS = "http://127.0.0.1:PLAINPORT/check"
ASKS_TLS = "https://127.0.0.1:TLSPORT/check"
ASKS_MUTUAL = "https://127.0.0.1:MUTUALPORT/check"
ALLOWED = {"status": 200, "target": "/"}
FAILED = {"status": 500, "target": "", "body": b""}


def forward(title: str, url: str, annotations: dict[str, str], **expected: object) -> Row:
    return Row(title, {"auth-type": "forward", "auth-url": url, **annotations}, **expected)


ROWS = {
    row.title: row
    for row in (
        Row("plain"),
        Row("digest", {"auth-type": "digest", "auth-secret": "digest"}),
        forward("untrusted", ASKS_TLS, {}, **FAILED),
        forward("insecure", ASKS_TLS, {"auth-tls-insecure": "true"}, **ALLOWED),
        forward("not insecure", ASKS, {"auth-tls-insecure": "false"}, **ALLOWED),
        forward("no certificate", ASKS_MUTUAL, {"auth-tls-insecure": "true"}, **FAILED),
        forward(
            "certificate",
            ASKS_MUTUAL,
            {"auth-tls-secret": "client", "auth-tls-insecure": "true"},
            **ALLOWED,
        ),
        forward("certificate, untrusted", ASKS_MUTUAL, {"auth-tls-secret": "client"}, **FAILED),
        forward("missing secret", ASKS_MUTUAL, {"auth-tls-secret": "no"}, status=404, target=""),
        forward("secret of users", ASKS, {"auth-tls-secret": "digest"}, status=404, target=""),
    )
}
POINTS = {
    "digest": '[entryPoints.digest.auth]\nheaderField = "X-User"\n'
    '[entryPoints.digest.auth.digest]\nusersFile = "FOLDER/digest"\nremoveHeader = true\n',
    "asks": f'[entryPoints.asks.auth.forward]\naddress = "{ASKS}"\n'
    'authResponseHeaders = ["X-User"]\n',
    "trusts": f'[entryPoints.trusts.auth.forward]\naddress = "{ASKS}"\ntrustForwardHeader = true\n',
    "system": f'[entryPoints.system.auth.forward]\naddress = "{ASKS_TLS}"\n',
    "rooted": f'[entryPoints.rooted.auth.forward]\naddress = "{ASKS_TLS}"\n'
    '[entryPoints.rooted.auth.forward.tls]\nca = "FOLDER/roots"\n',
    "careless": f'[entryPoints.careless.auth.forward]\naddress = "{ASKS_TLS}"\n'
    "[entryPoints.careless.auth.forward.tls]\ninsecureSkipVerify = true\n",
    "unknown": f'[entryPoints.unknown.auth.forward]\naddress = "{ASKS_MUTUAL}"\n'
    '[entryPoints.unknown.auth.forward.tls]\nca = "FOLDER/roots"\n',
    "mutual": f'[entryPoints.mutual.auth.forward]\naddress = "{ASKS_MUTUAL}"\n'
    '[entryPoints.mutual.auth.forward.tls]\nca = "FOLDER/roots"\n'
    'cert = "FOLDER/certificate"\nkey = "FOLDER/key"\n',
}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Backend]]:
    leaf = AUTHORITY.issue_cert("127.0.0.1")
    made = {
        "PLAINPORT": Backend(1, "X-Auth-Answer"),
        "TLSPORT": Backend(1, "X-Auth-Answer", tls=server_context(leaf)),
        "MUTUALPORT": Backend(
            1, "X-Auth-Answer", tls=server_context(leaf, client_authority=CLIENTS)
        ),
    }
    yield made
    for server in made.values():
        server.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, servers: dict[str, Backend]) -> Iterator[Field]:
    folder: Path = tmp_path_factory.mktemp("auth")
    (folder / "digest").write_text(f"# users\n\n{DIGEST_USERS}\n")
    (folder / "roots").write_bytes(AUTHORITY.cert_pem.bytes())
    (folder / "certificate").write_text(CERTIFICATE)
    (folder / "key").write_text(KEY)
    words = {name: str(server.ports[0]) for name, server in servers.items()}
    points = {}
    for name, text in POINTS.items():
        for word, value in (*words.items(), ("FOLDER", str(folder))):
            text = text.replace(word, value)
        points[name] = text
    names = ", ".join(f'"{name}"' for name in ["http", *POINTS])
    secrets = [
        secret("digest", {"auth": DIGEST_USERS}),
        secret("client", {"tls.crt": CERTIFICATE, "tls.key": KEY}),
    ]
    yield from running(
        folder,
        list(ROWS.values()),
        entry_points=points,
        default_entry_points=f"[{names}]",
        manifests="\n---\n".join(secrets),
        words=words,
        workers=WORKERS,
    )


@pytest.mark.parametrize("row", [row for row in ROWS.values() if row.title != "digest"], ids=str)
def test_rows(proxy: Field, row: Row) -> None:
    proxy.check(row)


# --- digest ---


class Client:
    """A client with one nonce, which may send any count as often as it likes."""

    def __init__(self, proxy: Field, title: str, entry_point: str = "http") -> None:
        self.proxy, self.host = proxy, proxy.host(ROWS[title])
        self.entry_point = entry_point
        refused = proxy.ask(Ask("/a", entry_point=entry_point), self.host)
        assert (refused.status, refused.body) == (401, b"401 Unauthorized\n")
        challenge = refused.headers["WWW-Authenticate"]
        match = re.fullmatch(
            'Digest realm="traefik", nonce="([^"]*)", opaque="([^"]*)", algorithm="MD5", '
            'qop="auth"',
            challenge,
        )
        assert match, challenge
        self.nonce, self.opaque = match[1], match[2]

    def send(self, count: int, password: str = "secret") -> Answer:
        ha1 = hashlib.md5(f"ann:traefik:{password}".encode()).hexdigest()
        ha2 = hashlib.md5(b"GET:/a").hexdigest()
        text = f"{ha1}:{self.nonce}:{count:08x}:abc:auth:{ha2}"
        header = (
            f'Digest username="ann", realm="traefik", nonce="{self.nonce}", uri="/a", '
            f'response="{hashlib.md5(text.encode()).hexdigest()}", opaque="{self.opaque}", '
            f'algorithm="MD5", qop=auth, nc={count:08x}, cnonce="abc"'
        )
        ask = Ask("/a", headers=(("Authorization", header), ("x_user", "root")))
        return self.proxy.ask(replace(ask, entry_point=self.entry_point), self.host)


PLACES = [("digest", "http"), ("plain", "digest")]  # by annotation, by entry point


@pytest.mark.parametrize(("title", "entry_point"), PLACES)
def test_a_digest_count_is_accepted_once_by_all_workers(proxy, title, entry_point) -> None:
    """Each request is a connection of its own, so that every worker gets some."""
    client = Client(proxy, title, entry_point)
    for count in range(1, 6):
        statuses = Counter(client.send(count).status for _ in range(8))
        assert statuses == {200: 1, 401: 7}, count
    assert client.send(3).status == 401


@pytest.mark.parametrize("count", range(1, 6))
def test_a_digest_count_sent_at_once_is_accepted_once(proxy: Field, count: int) -> None:
    client = Client(proxy, "digest")
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(client.send(count).status))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert Counter(statuses) == {200: 1, 401: 7}


def test_digest_at_an_entry_point_tells_the_user(proxy: Field) -> None:
    client = Client(proxy, "plain", "digest")
    assert client.send(1, "wrong").status == 401
    proxy.backend.seen.clear()
    assert client.send(1).status == 200
    [seen] = proxy.backend.seen
    assert seen.headers.get_all("X-User") == ["ann"]
    assert seen.headers["x_user"] is None
    assert seen.headers["Authorization"] is None
    unknown = proxy.ask(Ask("/", entry_point="digest"), "unknown.test")
    assert unknown.status == 401  # also without a route


# --- forward at entry points ---

STATUSES = [
    ("asks", 200),
    ("trusts", 200),
    ("system", 500),
    ("rooted", 200),
    ("careless", 200),
    ("unknown", 500),
    ("mutual", 200),
]


@pytest.mark.parametrize(("entry_point", "status"), STATUSES)
def test_entry_points_ask_over_tls(proxy: Field, entry_point: str, status: int) -> None:
    proxy.backend.seen.clear()
    for _ in range(3):
        answer = proxy.ask(Ask("/a", entry_point=entry_point), proxy.host(ROWS["plain"]))
        assert (answer.status, answer.body) == (status, b"server 0" if status == 200 else b"")
    assert len(proxy.backend.seen) == (3 if status == 200 else 0)


def test_an_entry_point_forwards_what_the_server_says(
    proxy: Field, servers: dict[str, Backend]
) -> None:
    host = proxy.host(ROWS["plain"])
    told = answering("X-Auth-Answer", headers=[["X-User", "ann"]])
    proxy.backend.seen.clear()
    ask = Ask("/a", headers=(("X-User", "root"), told), entry_point="asks")
    assert proxy.ask(ask, host).status == 200
    assert proxy.backend.seen[0].headers.get_all("X-User") == ["ann"]
    refusal = answering(
        "X-Auth-Answer", status=302, body="", headers=[["Location", "/login?x"], ["X-A", "1"]]
    )
    refused = proxy.ask(Ask("/a", headers=(refusal,), entry_point="asks"), host)
    assert (refused.status, refused.body) == (302, b"")
    port = servers["PLAINPORT"].ports[0]
    assert refused.headers["Location"] == f"http://127.0.0.1:{port}/login?x"
    assert refused.headers["X-A"] == "1"
    without_route = Ask("/a", headers=(refusal,), entry_point="asks")
    assert proxy.ask(without_route, "unknown.test").status == 302
    assert proxy.ask(Ask("/a", entry_point="asks"), "unknown.test").status == 404


FORWARDED = (("X-Forwarded-For", "10.9.8.7"), ("X-Forwarded-Method", "PUT"))


@pytest.mark.parametrize(
    ("entry_point", "sources", "method"),
    [("asks", "127.0.0.1", "GET"), ("trusts", "10.9.8.7, 127.0.0.1", "PUT")],
)
def test_trust_in_forwarded_headers(proxy, servers, entry_point, sources, method) -> None:
    server = servers["PLAINPORT"]
    server.seen.clear()
    proxy.ask(Ask("/a?b", headers=FORWARDED, entry_point=entry_point), proxy.host(ROWS["plain"]))
    [seen] = server.seen
    assert (seen.method, seen.target) == ("GET", "/check")
    assert seen.headers.get_all("X-Forwarded-For") == [sources]
    assert seen.headers.get_all("X-Forwarded-Method") == [method]
    assert seen.headers.get_all("X-Forwarded-Uri") == ["/a?b"]


# --- whom forward authentication trusts ---

OTHER = trustme.CA()
ROOTED = (
    forward("asks", ASKS_TLS, {}),
    forward("asks with a certificate", ASKS_MUTUAL, {"auth-tls-secret": "client"}),
    forward("asks without verifying", ASKS_TLS, {"auth-tls-insecure": "true"}),
    Row("plain"),
)
# lines of the settings -> status of the rows above, and of "plain" on the entry points below
TRUST = {
    "rootCAs": ('rootCAs = ["ROOTS"]', (200, 200, 200), {"system": 200, "other": 500}),
    "other rootCAs": ('rootCAs = ["OTHERS"]', (500, 500, 200), {"system": 500, "other": 500}),
    # about backends, as in 1.7
    "insecureSkipVerify": ("insecureSkipVerify = true", (500, 500, 200), {"system": 500}),
}


@pytest.mark.parametrize(("lines", "statuses", "points"), TRUST.values(), ids=TRUST)
def test_root_authorities_hold_for_forward_authentication(
    tmp_path: Path, servers: dict[str, Backend], lines: str, statuses, points
) -> None:
    files = {"ROOTS": AUTHORITY, "OTHERS": OTHER}
    for name, authority in files.items():
        (tmp_path / name).write_bytes(authority.cert_pem.bytes())
        lines = lines.replace(name, str(tmp_path / name))
    asks = ASKS_TLS.replace("TLSPORT", str(servers["TLSPORT"].ports[0]))
    made = {
        "system": f'[entryPoints.system.auth.forward]\naddress = "{asks}"\n',
        "other": f'[entryPoints.other.auth.forward]\naddress = "{asks}"\n'
        f'[entryPoints.other.auth.forward.tls]\nca = "{tmp_path / "OTHERS"}"\n',
    }
    with Field(
        tmp_path,
        ROOTED,
        settings=lines,
        entry_points=made,
        default_entry_points='["http", "system", "other"]',
        manifests=secret("client", {"tls.crt": CERTIFICATE, "tls.key": KEY}),
        words={name: str(server.ports[0]) for name, server in servers.items()},
    ) as proxy:
        for row, status in zip(ROOTED, statuses, strict=False):
            assert proxy.send(row).status == status, row.title
        for name, status in points.items():
            answer = proxy.ask(Ask("/", entry_point=name), proxy.host(ROOTED[-1]))
            assert answer.status == status, name
