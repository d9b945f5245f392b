"""TLS through the whole program: entry points, secrets, client certificates, https endpoints."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.running import dead_port
from tests.support.sanitized import PLAIN
from tests.support.tls import AUTHORITY, client_context, pem, server_context
from tests.support.whole import (
    Running,
    ask,
    ingress,
    origin,
    secret,
    service,
    serving,
    shown,
    within,
)

CLIENTS = trustme.CA()
CLIENT = CLIENTS.create_child_ca().issue_cert(
    "client@example.org", common_name="Client", organization_name="Cheese"
)
MISMATCH = (
    pem(AUTHORITY.issue_cert("*.wild.test"))[0],
    pem(AUTHORITY.issue_cert("*.wild.test"))[1],
)

SETTINGS = """
defaultEntryPoints = ["http", "https"]
workers = 2
rootCAs = ["{folder}/roots.pem"]

[ping]
entryPoint = "http"

[entryPoints.http]
address = "127.0.0.1:{http}"

[entryPoints.https]
address = "127.0.0.1:{https}"
[entryPoints.https.tls]

[entryPoints.mutual]
address = "127.0.0.1:{mutual}"
[entryPoints.mutual.tls]
sniStrict = true
[[entryPoints.mutual.tls.certificates]]
certFile = "{folder}/static.crt"
keyFile = "{folder}/static.key"
[entryPoints.mutual.tls.clientCA]
files = ["{folder}/clients.pem"]
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("tls")
    for name, data in zip(
        ("static.crt", "static.key"),
        pem(AUTHORITY.issue_cert("m.test", "m2.test", "m3.test", "m4.test")),
        strict=True,
    ):
        (folder / name).write_bytes(data)
    (folder / "clients.pem").write_bytes(CLIENTS.cert_pem.bytes())
    (folder / "roots.pem").write_bytes(AUTHORITY.cert_pem.bytes())
    mutual = {"frontend_entry_points": "mutual"}
    information = "pem: true\ninfos: {subject: {organization: true, commonname: true}}"
    good = server_context(AUTHORITY.issue_cert("127.0.0.1", "localhost"))
    strange = server_context(trustme.CA().issue_cert("127.0.0.1"))
    asking = server_context(AUTHORITY.issue_cert("127.0.0.1"), client_authority=AUTHORITY)
    private = server_context(CLIENTS.issue_cert("127.0.0.1"), client_authority=AUTHORITY)
    with (
        origin() as plain,
        origin(good) as secure,
        origin(strange) as untrusted,
        origin(asking) as demanding,
        origin(private) as accepting,
    ):
        objects = [
            *service("plain", plain),
            *service("secure", secure),
            *service("untrusted", untrusted),
            *service("demanding", demanding),
            *service("accepting", accepting),
            *service("refused", dead_port()),
            secret("a", *pem(AUTHORITY.issue_cert("a.test"))),
            secret("wild", *pem(AUTHORITY.issue_cert("*.wild.test"))),
            secret("bad", *MISMATCH),
            ingress("bad", "bad.test", "plain", "bad"),
            ingress("a", "a.test", "plain", "a"),
            ingress("wild", "x.wild.test", "plain", "wild"),
            ingress("secure", "secure.test", "secure", protocol="https"),
            ingress("untrusted", "untrusted.test", "untrusted", protocol="https"),
            ingress("not-tls", "nottls.test", "plain", protocol="https"),
            ingress("refused", "refused.test", "refused", protocol="https"),
            ingress("wrong", "wrong.test", "secure"),
            ingress("mutual", "m.test", "plain", pass_client_tls_cert=information, **mutual),
            ingress("pem", "m4.test", "plain", pass_client_tls_cert="pem: true", **mutual),
            ingress("shows", "shows.test", "demanding", protocol="https"),
            ingress(
                "shown", "m2.test", "demanding", protocol="https", pass_tls_cert="true", **mutual
            ),
            ingress(
                "offered", "m3.test", "accepting", protocol="https", pass_tls_cert="true", **mutual
            ),
        ]
        with serving(folder, SETTINGS, objects, "http", "https", "mutual") as made:
            yield made


def test_requests_through_tls_keep_the_connection(running: Running) -> None:
    with running.connect("a.test", context=client_context()) as client:
        for _ in range(3):
            status, told = ask(client, "a.test")
            assert status == 200
            assert told["headers"]["X-Forwarded-Proto"] == "https"
            assert told["headers"]["X-Forwarded-Port"] == "443"  # of the scheme: Host names none


@pytest.mark.parametrize("size", [1, 16384, 1_000_000, 5_000_000])
def test_large_responses(running: Running, size: int) -> None:
    status, told = running.get("a.test", headers=f"X-Size: {size}\r\n")
    assert (status, told["headers"]["X-Size"]) == (200, str(size))


@pytest.mark.parametrize(
    ("name", "expected"), [("a.test", ["a.test"]), ("q.wild.test", ["*.wild.test"])]
)
def test_the_name_chooses_the_certificate(running: Running, name: str, expected: list[str]) -> None:
    with running.connect(name, context=client_context()) as client:
        assert shown(client) == expected


def test_the_default_certificate_is_the_same_in_all_workers(running: Running) -> None:
    seen = set()
    for _ in range(12):
        with running.connect("unknown.test") as client:
            seen.add(client.getpeercert(binary_form=True))
    assert len(seen) == 1
    assert b"TRAEFIK DEFAULT CERT" in (seen.pop() or b"")


def test_tickets_are_good_in_all_workers(running: Running) -> None:
    context = client_context()
    with running.connect("a.test", context=context) as client:
        ask(client, "a.test")
        session = client.session
    assert session is not None
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # its tickets may be used again
    with running.connect("a.test", context=context) as client:
        ask(client, "a.test")
        session = client.session
    resumed = []
    for _ in range(12):
        with running.connect("a.test", context=context, session=session) as client:
            assert ask(client, "a.test")[0] == 200
            resumed.append(client.session_reused)
    assert all(resumed)


def test_strict_names(running: Running) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        running.connect("unknown.test", "mutual")


def test_every_request_of_a_connection_tells_about_the_certificate(running: Running) -> None:
    """Two routes that tell different things take turns; what the client says is never kept."""
    forged = "X-Forwarded-Tls-Client-Cert: forged\r\nx_forwarded_tls_client_cert_infos: forged\r\n"
    context = client_context(certificate=CLIENT)
    found = []
    with running.connect("m.test", "mutual", context) as client:
        for host in ("m.test", "m.test", "m4.test", "m4.test", "m.test", "m4.test"):
            status, told = ask(client, host, forged)
            assert status == 200
            headers = told["headers"]
            found.append((host, tuple(v for k, v in sorted(headers.items()) if "Tls-Client" in k)))
            assert "forged" not in str(headers)
    assert [len(values) for _, values in found] == [2, 2, 1, 1, 2, 1]
    assert len(set(found)) == 2


def test_client_certificates_are_demanded_and_passed_on(running: Running) -> None:
    with pytest.raises(
        (ssl.SSLError, ConnectionResetError), match=r"(?i)certificate.required|reset"
    ):
        running.get("m.test", "mutual", client_context())
    status, told = running.get("m.test", "mutual", client_context(certificate=CLIENT))
    assert status == 200
    headers = told["headers"]
    assert headers["X-Forwarded-Tls-Client-Cert"].count(",") == 1  # two certificates
    information = headers["X-Forwarded-Tls-Client-Cert-Infos"]
    assert information.startswith("Subject%3D%22O%3DCheese%2CCN%3DClient%22")


def test_https_endpoints(running: Running) -> None:
    with running.connect("secure.test") as client:
        for _ in range(3):
            assert ask(client, "secure.test")[0] == 200


FAILURES = [
    ("untrusted.test", 500, "unable to get local issuer certificate"),
    ("nottls.test", 500, "not TLS"),
    ("shows.test", 502, ""),  # it demands a certificate and gets none
    ("refused.test", 502, None),
]


@pytest.mark.parametrize(("name", "status", "reason"), FAILURES)
def test_failures_of_https_endpoints(
    running: Running, name: str, status: int, reason: str | None
) -> None:
    assert running.get(name)[0] == status
    if reason:
        assert within(5, lambda: reason in running.proxy.log.read_text())


def test_the_entry_points_certificate_is_shown_to_endpoints(running: Running) -> None:
    context = client_context(verify=False, certificate=CLIENT)
    with running.connect("m.test", "mutual", context) as client:
        status, told = ask(client, "m3.test")
        assert status == 200
        assert ["DNS", "m.test"] in told["peer"]["subjectAltName"]
        # This endpoint's certificate is not of the client authorities, which alone count now.
        assert ask(client, "m2.test") == (500, b"Internal Server Error")


CARELESS = """
defaultEntryPoints = ["http"]
workers = 1
insecureSkipVerify = true

[entryPoints.http]
address = "127.0.0.1:{http}"

[entryPoints.mutual]
address = "127.0.0.1:{mutual}"
[entryPoints.mutual.tls]
[[entryPoints.mutual.tls.certificates]]
certFile = "{folder}/static.crt"
keyFile = "{folder}/static.key"
[entryPoints.mutual.tls.clientCA]
files = ["{folder}/clients.pem"]
optional = true
[entryPoints.mutual.proxyProtocol]
insecure = true
"""
WARY = """
defaultEntryPoints = ["http"]
workers = 1
rootCAs = ["{folder}/roots.pem"]
[retry]
[entryPoints.http]
address = "127.0.0.1:{http}"
"""


@contextmanager
def started(folder: Path, settings: str, objects: list[dict[str, Any]]) -> Iterator[Running]:
    static = pem(AUTHORITY.issue_cert("m.test", "m2.test"))
    for name, data in zip(("static.crt", "static.key"), static, strict=True):
        (folder / name).write_bytes(data)
    (folder / "clients.pem").write_bytes(CLIENTS.cert_pem.bytes())
    (folder / "roots.pem").write_bytes(AUTHORITY.cert_pem.bytes())
    with serving(folder, settings, objects, "http", "mutual") as made:
        yield made


def proxied(running: Running, header: bytes) -> str | None:
    """The client's address behind a PROXY header that comes in two parts before the handshake;
    None for a connection that was closed."""
    with socket.create_connection(("127.0.0.1", running.ports["mutual"]), 10) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.sendall(header[:8])
        time.sleep(0.05)
        try:
            plain.sendall(header[8:])
            context = client_context(verify=False)
            with context.wrap_socket(plain, server_hostname="m.test") as client:
                headers = ask(client, "m.test")[1]["headers"]
                assert headers["X-Forwarded-For"] == headers["X-Real-Ip"]
                return str(headers["X-Real-Ip"])
        except (ssl.SSLError, ConnectionError):
            return None


def test_who_verifies_nothing_and_asks_clients_only_if_they_have_something(tmp_path: Path) -> None:
    """insecureSkipVerify counts for pass-tls-cert too, whose roots are the client authorities."""
    stranger = trustme.CA()
    asking = server_context(stranger.issue_cert("127.0.0.1"), client_authority=AUTHORITY)
    with origin(server_context(stranger.issue_cert("127.0.0.1"))) as untrusted, origin(asking) as b:
        mutual = {"protocol": "https", "frontend_entry_points": "http,mutual"}
        told = {"pass_client_tls_cert": "pem: true"}
        objects = [
            *service("untrusted", untrusted),
            *service("asking", b),
            ingress("plain", "a.test", "untrusted", protocol="https"),
            ingress("m", "m.test", "untrusted", **mutual, **told),
            ingress("m2", "m2.test", "asking", protocol="https", pass_tls_cert="true",
                    frontend_entry_points="mutual"),
        ]  # fmt: skip
        with started(tmp_path, CARELESS, objects) as running:
            without = client_context(verify=False)
            status, told_ = running.get(
                "m.test", "mutual", without, "X-Forwarded-Tls-Client-Cert: x\r\n"
            )
            assert (status, told_["headers"].get("X-Forwarded-Tls-Client-Cert")) == (200, None)
            shown_ = client_context(verify=False, certificate=CLIENT)
            status, told_ = running.get("m.test", "mutual", shown_)
            assert (status, told_["headers"]["X-Forwarded-Tls-Client-Cert"].count(",")) == (200, 1)
            strange = client_context(verify=False, certificate=stranger.issue_cert("x@y.example"))
            with pytest.raises((ssl.SSLError, ConnectionError)):
                running.get("m.test", "mutual", strange)
            assert proxied(running, b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 443\r\n") == "192.0.2.7"
            assert proxied(running, b"PROXY TCP6 2001:db8::7 ::1 5000 443\r\n") == "2001:db8::7"
            assert proxied(running, b"PROXY UNKNOWN\r\n") == "127.0.0.1"
            status, told_ = running.get("m2.test", "mutual", without)
            assert status == 200
            assert ["DNS", "m2.test"] in told_["peer"]["subjectAltName"]


def test_an_endpoint_that_cannot_be_trusted_is_an_attempt(tmp_path: Path) -> None:
    """[retry]: nothing of the request was sent when the handshake failed."""
    good = server_context(AUTHORITY.issue_cert("127.0.0.1"))
    strange = server_context(trustme.CA().issue_cert("127.0.0.1"))
    with origin(good) as one, origin(strange) as other, origin() as plain:
        documents = service("mixed", one)
        for number, port in enumerate((other, plain)):
            [_, more] = service("mixed", port)
            more["metadata"] = more["metadata"] | {"name": f"mixed-{number}"}
            documents.append(more)
        documents += [*service("bad", other), ingress("a", "a.test", "mixed", protocol="https")]
        documents += [ingress("bad", "bad.test", "bad", protocol="https")]
        with started(tmp_path, WARY, documents) as running:

            def status(host: str) -> int:
                with socket.create_connection(("127.0.0.1", running.ports["http"]), 10) as client:
                    return ask(client, host)[0]

            assert [status("a.test") for _ in range(6)] == [200] * 6
            assert status("bad.test") == 500


def test_plain_http_on_a_tls_entry_point(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.ports["https"]), 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        answer = b""
        while data := client.recv(4096):
            answer += data
    assert answer.startswith(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request")


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"\x16\x03\x01\x00\x05hello", b"\xff" * 5000])
def test_garbage_closes_only_its_connection(running: Running, garbage: bytes) -> None:
    with running.connect("a.test") as good:
        with socket.create_connection(("127.0.0.1", running.ports["https"]), 10) as bad:
            bad.sendall(garbage)
            bad.shutdown(socket.SHUT_WR)
            try:
                while bad.recv(4096):
                    pass
            except ConnectionResetError:
                pass
        assert ask(good, "a.test")[0] == 200


def test_certificates_change_under_open_connections(running: Running) -> None:
    with running.connect("a.test", context=client_context()) as old:
        running.replace(secret("a", *pem(AUTHORITY.issue_cert("a.test", "new.test"))))

        def changed() -> bool:
            with running.connect("a.test") as client:
                return shown(client) == ["a.test", "new.test"]

        assert within(15, changed)
        assert ask(old, "a.test")[0] == 200


def test_a_pair_that_does_not_match_is_absent_and_reported(running: Running) -> None:
    log = running.proxy.log
    assert within(15, lambda: "the private key belongs to another" in log.read_text())
    with running.connect("bad.test") as client:
        assert b"TRAEFIK DEFAULT CERT" in (client.getpeercert(binary_form=True) or b"")
        assert ask(client, "bad.test")[0] == 200


GARBAGE = [
    (b"garbage", b"garbage", "tls.crt is not PEM"),
    (b"", b"", "tls.crt is missing"),
    (*MISMATCH, "the private key belongs to another"),
]


@pytest.mark.parametrize(("chain", "key", "reason"), GARBAGE)
def test_a_secret_replaced_by_garbage_keeps_its_certificate(
    running: Running, chain: bytes, key: bytes, reason: str
) -> None:
    before = next(d for d in running.objects if d["metadata"]["name"] == "wild")
    running.replace(secret("wild", chain, key))
    try:
        assert within(15, lambda: f"any more: {reason}" in running.proxy.log.read_text())
        with running.connect("x.wild.test", context=client_context()) as client:
            assert shown(client) == ["*.wild.test"]
            assert ask(client, "x.wild.test")[0] == 200
    finally:
        running.replace(before)


def test_curl_and_openssl(running: Running) -> None:
    port = running.ports["https"]
    command = ["curl", "-sS", "--noproxy", "*", "--cacert", str(running.folder / "roots.pem")]
    command += ["--resolve", f"a.test:{port}:127.0.0.1", f"https://a.test:{port}/"]
    answer = subprocess.run(command, capture_output=True, timeout=20, check=True, env=PLAIN)
    assert json.loads(answer.stdout)["headers"]["Host"] == f"a.test:{port}"
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "a.test"]
    answer = subprocess.run(
        [*command, "-alpn", "http/1.1"],
        input=b"",
        capture_output=True,
        timeout=20,
        check=True,
        env=PLAIN,
    )
    assert b"ALPN protocol: http/1.1" in answer.stdout
