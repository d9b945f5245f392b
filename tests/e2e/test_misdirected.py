"""421 for requests whose host a strict entry point would not have shaken hands for."""

from __future__ import annotations

import http.client
import ssl
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.sanitized import PLAIN
from tests.support.tls import AUTHORITY, pem
from tests.support.whole import Running, ask, ingress, origin, secret, service, serving, within

SETTINGS = """
defaultEntryPoints = ["http", "strict", "loose"]
workers = 1

[entryPoints.http]
address = "127.0.0.1:{http}"

[entryPoints.loose]
address = "127.0.0.1:{loose}"
[entryPoints.loose.tls]

[entryPoints.strict]
address = "127.0.0.1:{strict}"
[entryPoints.strict.tls]
sniStrict = true

[entryPoints.address]
address = "127.0.0.1:{address}"
[entryPoints.address.tls]
sniStrict = true
[[entryPoints.address.tls.certificates]]
certFile = "{folder}/address.crt"
keyFile = "{folder}/address.key"
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("misdirected")
    chain, key = pem(AUTHORITY.issue_cert("127.0.0.1"))
    (folder / "address.crt").write_bytes(chain)
    (folder / "address.key").write_bytes(key)
    (folder / "roots.pem").write_bytes(AUTHORITY.cert_pem.bytes())
    everywhere = {"frontend_entry_points": "http,strict,loose,address"}
    with origin() as plain:
        objects = [
            *service("plain", plain),
            secret("a", *pem(AUTHORITY.issue_cert("a.test"))),
            secret("b", *pem(AUTHORITY.issue_cert("*.b.test"))),
            ingress("a", "a.test", "plain", "a"),
            ingress("b", "x.b.test", "plain", "b"),
            ingress("other", "other.test", "plain"),  # a route, but no certificate
            ingress("any", "", "plain", **everywhere),
        ]
        with serving(folder, SETTINGS, objects, "http", "strict", "loose", "address") as made:
            yield made


ON_STRICT = [
    # server name  Host            status
    ("a.test", "a.test", 200),
    ("a.test", "A.TEST", 200),
    ("a.test", "a.test.", 200),
    ("a.test", "a.test:8443", 200),
    ("a.test", "x.b.test", 200),
    ("x.b.test", "y.b.test", 200),  # no route of its own, the last Ingress takes all
    ("x.b.test", "a.test", 200),
    ("a.test", "other.test", 421),
    ("a.test", "OTHER.test.:443", 421),
    ("a.test", "b.test", 421),
    ("a.test", "z.x.b.test", 421),
    ("a.test", "127.0.0.1", 421),  # nobody has a certificate for the address
    ("a.test", "[::1]:443", 421),
]


@pytest.mark.parametrize(("name", "host", "status"), ON_STRICT)
def test_each_request_is_judged(running: Running, name: str, host: str, status: int) -> None:
    with running.connect(name, "strict") as client:
        for asked, expected in ((host, status), (name, 200), (host, status)):
            assert ask(client, asked)[0] == expected
    with running.connect(name, "loose") as client:
        assert ask(client, host)[0] == 200


BY_ADDRESS = [("127.0.0.1", 200), ("127.0.0.1:443", 200), ("203.0.113.7", 200), ("a.test", 421)]


@pytest.mark.parametrize(("host", "status"), BY_ADDRESS)
def test_clients_that_connect_to_an_address(running: Running, host: str, status: int) -> None:
    """They send no server name. Host is the address they know, which may be that of a balancer."""
    with running.connect("127.0.0.1", "address") as client:  # `ssl` sends no address
        assert ask(client, host)[0] == status


def answers(client: ssl.SSLSocket, methods: list[str]) -> list[tuple[int, bytes]]:
    """Read one response for each method, one after the other."""
    found = []
    with client.makefile("rb") as stream:
        for method in methods:
            status = int(stream.readline().split()[1])
            headers = http.client.parse_headers(stream)
            size = 0 if method == "HEAD" else int(headers["Content-Length"])
            found.append((status, stream.read(size)))
    return found


def test_pipelined_requests(running: Running) -> None:
    """The connection stays open, and what belongs to a refused request is not taken for another."""
    inner = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
    hosts = [("GET", "a.test"), ("POST", "other.test"), ("HEAD", "other.test"), ("GET", "x.b.test")]
    with running.connect("a.test", "strict") as client:
        sent = b""
        for method, host in hosts:
            body = inner if method == "POST" else b""
            sent += f"{method} / HTTP/1.1\r\nHost: {host}\r\n".encode()
            sent += f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        client.sendall(sent)
        found = answers(client, [method for method, _ in hosts])
    assert [status for status, _ in found] == [200, 421, 421, 200]
    assert found[1][1] == b"Misdirected Request"


def test_a_body_still_to_come_and_an_upgrade(running: Running) -> None:
    with running.connect("a.test", "strict") as client:
        head = b"POST / HTTP/1.1\r\nHost: other.test\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.sendall(head + b"5\r\nhel")
        assert answers(client, ["POST"])[0][0] == 421
        client.sendall(b"lo\r\n0\r\n\r\n")
        assert ask(client, "a.test")[0] == 200
        upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        upgrade += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        assert ask(client, "other.test", upgrade)[0] == 421


def test_a_request_without_host(running: Running) -> None:
    with running.connect("a.test", "strict") as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_certificates_change_while_a_connection_lives(running: Running) -> None:
    """Admission of the connection's own name stays; of others it is looked up anew."""
    before = next(d for d in running.objects if d["metadata"]["name"] == "b" and "data" in d)
    with running.connect("x.b.test", "strict") as own, running.connect("a.test", "strict") as other:
        assert ask(other, "x.b.test")[0] == ask(own, "x.b.test")[0] == 200
        running.replace(secret("b", *pem(AUTHORITY.issue_cert("elsewhere.test"))))
        try:
            assert within(15, lambda: ask(other, "x.b.test")[0] == 421)
            assert ask(own, "x.b.test")[0] == 200
            assert ask(own, "y.b.test")[0] == 421
            assert ask(own, "elsewhere.test")[0] == 200
        finally:
            running.replace(before)
        assert within(15, lambda: ask(other, "x.b.test")[0] == 200)


CURL = [
    # URL host     further options                       status
    ("a.test", [], 200),
    ("a.test", ["-H", "Host: other.test"], 421),
    ("x.b.test", ["-H", "Host: a.test"], 200),
]


@pytest.mark.parametrize(("host", "options", "status"), CURL)
def test_curl(running: Running, host: str, options: list[str], status: int) -> None:
    port = running.ports["strict"]
    command = ["curl", "-sS", "--noproxy", "*", "--cacert", str(running.folder / "roots.pem")]
    command += ["--connect-to", f"{host}:443:127.0.0.1:{port}", "-o", "/dev/null"]
    command += ["-w", "%{http_code}", *options, f"https://{host}/"]
    answer = subprocess.run(command, capture_output=True, timeout=20, check=True, env=PLAIN)
    assert int(answer.stdout) == status


def test_openssl(running: Running) -> None:
    command = ["openssl", "s_client", "-quiet", "-servername", "a.test"]
    command += ["-connect", f"127.0.0.1:{running.ports['strict']}"]
    sent = b"GET / HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n"
    answer = subprocess.run(command, input=sent, capture_output=True, timeout=20, env=PLAIN)
    assert answer.stdout.startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
