"""TLS towards backends: whom it trusts, what it resumes, and how failures are told apart."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from fastproxy.engine.tls.certificates import load_certificate
from fastproxy.engine.tls.client import ClientContext
from tests.native.tls_probe import Probe
from tests.support.tls import (
    AUTHORITY,
    ROOTS,
    Peer,
    pem,
    server_context,
    shake,
    socket_pair,
    take,
)

CLIENT = ClientContext(ROOTS)
BLIND = ClientContext(insecure=True)
SYSTEM = ClientContext()
YESTERDAY = datetime.now(UTC) - timedelta(days=1)

GOOD = server_context(AUTHORITY.issue_cert("pod.example.com", "127.0.0.1", "::1"))
CHILD = server_context(AUTHORITY.create_child_ca().issue_cert("pod.example.com"))
EXPIRED = server_context(AUTHORITY.issue_cert("pod.example.com", not_after=YESTERDAY))
STRANGE = server_context(trustme.CA().issue_cert("pod.example.com"))
ONLY_COMMON_NAME = server_context(
    AUTHORITY.issue_cert("elsewhere.example.com", common_name="pod.example.com")
)

VERIFY = "certificate verify failed: "
CASES = [
    # client  backend           name               failure and text
    (CLIENT, GOOD, "pod.example.com", ""),
    (CLIENT, GOOD, "pod.example.com.", ""),  # as DNS writes it; certificates and SNI do not
    (CLIENT, GOOD, "127.0.0.1", ""),
    (CLIENT, GOOD, "::1", ""),
    (CLIENT, CHILD, "pod.example.com", ""),
    (CLIENT, GOOD, "other.example.com", VERIFY + "hostname mismatch"),
    (CLIENT, GOOD, "127.0.0.2", VERIFY + "IP address mismatch"),
    (CLIENT, EXPIRED, "pod.example.com", VERIFY + "certificate has expired"),
    (CLIENT, STRANGE, "pod.example.com", VERIFY + "unable to get local issuer certificate"),
    (CLIENT, ONLY_COMMON_NAME, "pod.example.com", VERIFY + "hostname mismatch"),
    (SYSTEM, GOOD, "pod.example.com", VERIFY + "unable to get local issuer certificate"),
    (BLIND, GOOD, "other.example.com", ""),
    (BLIND, STRANGE, "127.0.0.9", ""),
    (BLIND, EXPIRED, "", ""),
]


def connect(
    client: ClientContext, backend: ssl.SSLContext, name: str, key: int = 0
) -> tuple[Probe, Peer, tuple[object, object]]:
    one, other = socket_pair()
    probe, peer = Probe(one, client, name, key), Peer(other, backend, server=True)
    return probe, peer, shake(probe, peer)


@pytest.mark.parametrize(("client", "backend", "name", "text"), CASES)
def test_whom_we_trust(
    client: ClientContext, backend: ssl.SSLContext, name: str, text: str
) -> None:
    probe, _, results = connect(client, backend, name)
    if text:
        assert results[0] == "failed"
        assert (probe.failure, probe.error, probe.status) == ("untrusted", text, 500)
    else:
        assert results == ("done", "done")
        assert (probe.failure, probe.error) == ("", "")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pod.example.com", "pod.example.com"),
        ("pod.example.com.", "pod.example.com"),
        ("127.0.0.1", None),
        ("::1", None),
    ],
)
def test_addresses_are_not_told(name: str, told: str | None) -> None:
    heard: list[str | None] = []
    backend = server_context(AUTHORITY.issue_cert("pod.example.com", "127.0.0.1", "::1"))
    backend.sni_callback = lambda _, asked, __: heard.append(asked)
    assert connect(CLIENT, backend, name)[2] == ("done", "done")
    assert heard == [told]


def test_roots_that_cannot_be_read() -> None:
    for roots in (("/no/such/file",), ("-----BEGIN nothing",)):
        with pytest.raises((OSError, ValueError)):
            ClientContext(roots)


NO_TLS = [
    # what the endpoint does                    failure  status
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not tls", 500),
    (b"", "reset", 502),
    (b"\x15\x03\x03\x00\x02\x02\x28", "alert", 502),  # fatal handshake_failure
    (b"\x16\x03\x03\x00\x04\xff\xff\xff\xff", "protocol", 500),
]


@pytest.mark.parametrize(("answer", "failure", "status"), NO_TLS)
def test_endpoints_that_do_not_shake_hands(answer: bytes, failure: str, status: int) -> None:
    one, other = socket_pair()
    probe = Probe(one, CLIENT, "pod.example.com")
    assert probe.handshake() == "want read"
    other.recv(65536)
    other.send(answer)
    other.close()
    assert probe.handshake() == "failed"
    assert (probe.failure, probe.status) == (failure, status)
    assert probe.error


def test_a_reset_during_the_handshake() -> None:
    one, other = socket_pair()
    probe = Probe(one, CLIENT, "pod.example.com")
    probe.handshake()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    other.close()
    assert probe.handshake() == "failed"
    assert (probe.failure, probe.status) == ("reset", 502)
    assert probe.error == "connection reset: Connection reset by peer"


def test_the_wrong_versions() -> None:
    old = server_context(AUTHORITY.issue_cert("pod.example.com"))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert connect(CLIENT, old, "pod.example.com")[0].version == "TLSv1.2"


def exchange(probe: Probe, peer: Peer) -> None:
    assert probe.write(b"ping") == 4
    assert take(peer, 4) == b"ping"
    assert peer.write(b"pong") == 4
    assert take(probe, 4) == b"pong"


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_for_the_same_endpoint_and_name(most: ssl.TLSVersion) -> None:
    client = ClientContext(ROOTS, sessions=4096)
    backend = server_context(AUTHORITY.issue_cert("pod.example.com", "127.0.0.1"))
    backend.maximum_version = most
    resumed = []
    for name, key in [
        ("pod.example.com", 7),
        ("pod.example.com", 7),
        ("pod.example.com", 7),
        ("pod.example.com", 8),
        ("127.0.0.1", 7),
        ("127.0.0.1", 7),
    ]:
        probe, peer, results = connect(client, backend, name, key)
        assert results == ("done", "done")
        exchange(probe, peer)
        resumed.append(probe.resumed)
        del probe  # as when it leaves the pool: without a word
    assert resumed == [False, True, True, False, False, True]


def test_a_full_session_cache_forgets() -> None:
    client = ClientContext(ROOTS, sessions=1)
    backend = server_context(AUTHORITY.issue_cert("pod.example.com"))
    resumed = []
    for key in (1, 2, 1):
        probe, peer, _ = connect(client, backend, "pod.example.com", key)
        exchange(probe, peer)
        resumed.append(probe.resumed)
    assert resumed == [False, False, False]


def test_a_failed_connection_leaves_no_session() -> None:
    client = ClientContext(ROOTS)
    strange = server_context(trustme.CA().issue_cert("pod.example.com"))
    for _ in range(2):
        probe, _, results = connect(client, strange, "pod.example.com", 1)
        assert (results[0], probe.failure) == ("failed", "untrusted")


def test_showing_a_certificate_of_our_own() -> None:
    backend = server_context(AUTHORITY.issue_cert("pod.example.com"), client_authority=AUTHORITY)
    own = load_certificate("entry point", *pem(AUTHORITY.issue_cert("entry.example.com")))
    probe, peer, results = connect(
        ClientContext(ROOTS, certificate=own), backend, "pod.example.com"
    )
    assert results == ("done", "done")
    exchange(probe, peer)
    assert peer.tls.getpeercert()["subjectAltName"] == (("DNS", "entry.example.com"),)  # type: ignore[index]

    probe, _, _ = connect(CLIENT, backend, "pod.example.com")
    assert probe.read() == "failed"
    assert (probe.failure, probe.status) == ("alert", 502)
    assert "certificate required" in probe.error


def test_the_chain_of_a_backend() -> None:
    probe, _, _ = connect(CLIENT, CHILD, "pod.example.com")
    assert len(probe.peer_chain) == 2


def test_an_end_without_close_notify_is_an_end() -> None:
    probe, peer, _ = connect(CLIENT, GOOD, "pod.example.com")
    peer.write(b"all of it")
    peer.tls.close()
    assert probe.read() == b"all of it"
    assert probe.read() == "closed"
    assert probe.read() == "closed"


@pytest.mark.parametrize("kept", [1, 4, 5, 6, 100])
def test_an_end_inside_a_record_is_none(kept: int) -> None:
    one, middle = socket_pair()
    other, end = socket_pair()
    probe, peer = Probe(one, CLIENT, "pod.example.com"), Peer(end, GOOD, server=True)
    for _ in range(10):
        results = (probe.handshake(), peer.handshake())
        for source, target in ((middle, other), (other, middle)):
            with suppress(BlockingIOError):
                target.send(source.recv(65536))
    assert results == ("done", "done")
    assert probe.read() == "want read"
    peer.write(b"x" * 1000)
    middle.send(other.recv(65536)[:kept])
    middle.close()
    assert (probe.read(), probe.failure) == ("failed", "truncated")
    assert probe.error == "closed in the middle of a record"
    assert probe.read() == "failed"
