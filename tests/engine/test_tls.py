"""The server side of TLS: certificate choice, versions, client certificates, tickets, faults."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.engine.tls.certificates import CertificateSet, ServerCertificate, load_certificate
from fastproxy.engine.tls.client import ClientContext
from fastproxy.engine.tls.server import ServerContext
from fastproxy.settings.tls_options import PemPair, TlsOptions, self_signed
from tests.native.tls_probe import Probe
from tests.support.sanitized import PLAIN, SANITIZED
from tests.support.tls import (
    AUTHORITY,
    Peer,
    client_context,
    client_hello,
    loaded,
    pem,
    served,
    shake,
    socket_pair,
    take,
)

DEFAULT = "TRAEFIK DEFAULT CERT"
DEFAULT_PAIR = PemPair(*(part.decode() for part in self_signed()))


def context(*certificates: object, **options: object) -> ServerContext:
    made = ServerContext(TlsOptions(default_certificate=DEFAULT_PAIR, **options))  # type: ignore[arg-type]
    made.activate(made.prepare(certificates))  # type: ignore[arg-type]
    return made


def connect(
    server: ServerContext, foreign: ssl.SSLContext, name: str = "a.example.com"
) -> tuple[Peer, Probe, tuple[object, object]]:
    one, other = socket_pair()
    client, probe = Peer(one, foreign, name), Probe(other, server)
    return client, probe, shake(client, probe)


# --- which certificate -----------------------------------------------------------------------


class Named:
    """What CertificateSet needs of a certificate, without a key."""

    def __init__(self, *names: str) -> None:
        self.name, self.names, self.chain, self.key = ",".join(names), names, b"", b""


A = served("a.example.com")
WILD = served("*.example.com")
TWO = ServerCertificate(Named("*.*.com", "b.org"))  # type: ignore[arg-type]
ADDRESS = served("10.1.2.3", "2001:db8::1")
UPPER = served("Upper.Example.NET", "mixed.example.net")

CHOICES = [
    ("a.example.com", A),
    ("A.Example.COM", A),
    ("a.example.com.", A),
    ("b.example.com", WILD),
    ("example.com", None),  # `*` stands for one label
    ("x.b.example.com", None),
    ("x.other.com", TWO),
    ("b.org", TWO),
    ("www.b.org", None),
    ("10.1.2.3", ADDRESS),
    ("10.1.2.4", None),
    ("2001:db8::1", ADDRESS),
    ("upper.example.net", UPPER),
    ("", None),
    (".", None),
    ("..", None),
    ("*.example.com", WILD),
    ("a" * 63 + ".example.com", WILD),
    ("a." * 126 + "com", None),
    ("a" * 300, None),
]


@pytest.mark.parametrize(("name", "expected"), CHOICES)
def test_the_certificate_for_a_name(name: str, expected: object) -> None:
    assert CertificateSet([A, WILD, TWO, ADDRESS, UPPER]).choose(name) is expected


LABELS = st.sampled_from(["a", "b", "*", "", "-", "!", "zz"])
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


def slowly(name: str, certificates: list[tuple[str, ...]]) -> int | None:
    """`provider.md` 2.3, word for word."""
    name = name.rstrip(".")
    labels = name.split(".")
    wanted = {name} | {".".join(["*"] * k + labels[k:]) for k in range(1, len(labels) + 1)}
    owner: dict[str, int] = {}
    for index, names in enumerate(certificates):
        for one in names:
            owner.setdefault(one, index)
    matching = [one for one in owner if one in wanted] if name else []
    return owner[max(matching, key=str.encode)] if matching else None


@given(NAMES, st.lists(st.lists(NAMES, min_size=1, max_size=3).map(tuple), max_size=5))
def test_the_choice_agrees_with_the_specification(
    name: str, certificates: list[tuple[str, ...]]
) -> None:
    made = [ServerCertificate(Named(*names)) for names in certificates]  # type: ignore[arg-type]
    found = CertificateSet(made).choose(name)
    expected = slowly(name, certificates)
    assert found is (None if expected is None else made[expected])


def served_name(client: Peer) -> str:
    certificate = client.tls.getpeercert()
    assert certificate
    return "" if "subjectAltName" not in certificate else str(certificate["subjectAltName"][0][1])


def test_the_handshake_shows_the_chosen_certificate() -> None:
    server = context(A, WILD)
    for name in ("a.example.com", "q.example.com"):
        client, probe, results = connect(server, client_context(), name)
        assert results == ("done", "done")
        assert served_name(client) == ("a.example.com" if name.startswith("a") else "*.example.com")
        assert probe.server_name == name
    assert (A.parsed, TWO.parsed) == (True, False)


def test_without_a_name_the_local_address_decides() -> None:
    foreign = client_context()
    foreign.check_hostname = False
    client, probe, results = connect(context(A, served("127.0.0.1")), foreign, "")
    assert results == ("done", "done")
    assert served_name(client) == "127.0.0.1"
    assert probe.server_name == ""


@pytest.mark.parametrize("strict", [False, True])
def test_a_name_without_certificate(strict: bool) -> None:
    server = context(A, sni_strict=strict)
    client, probe, results = connect(server, client_context(verify=False), "unknown.org")
    if not strict:
        assert results == ("done", "done")
        der = client.tls.getpeercert(binary_form=True)
        assert der == ssl.PEM_cert_to_DER_cert(DEFAULT_PAIR.certificate)
    else:
        assert results == ("failed", "failed")
        assert "UNRECOGNIZED_NAME" in client.error.upper().replace(" ", "_")
        assert (probe.failure, probe.error) == ("no name", "no certificate for: unknown.org")


def test_a_refused_name_cannot_write_into_the_log() -> None:
    one, other = socket_pair()
    probe = Probe(other, context(A, sni_strict=True))
    one.sendall(client_hello("x" * 11 + "y").replace(b"xxxxxxxxxxxy", b"\n\x1b[31m\xff evil"))
    assert (probe.handshake(), probe.failure) == ("failed", "no name")
    assert probe.error == "no certificate for: ??[31m??evil"


# --- which requests a connection may carry ---------------------------------------------------

LOOPBACK = served("127.0.0.1", "local.example.com")
HERE = (A, WILD, LOOPBACK)  # the connection is to 127.0.0.1
ELSEWHERE = (A, WILD, ADDRESS)

MISDIRECTED = [
    # certificates  server name       host                    421
    (HERE, "a.example.com", b"a.example.com", False),
    (HERE, "A.Example.COM", b"a.example.com", False),
    (HERE, "a.example.com", b"b.example.com", False),  # another certificate, the same options
    (HERE, "b.example.com", b"a.example.com", False),
    (HERE, "a.example.com", b"evil.test", True),
    (HERE, "a.example.com", b"a.b.example.com", True),  # `*` stands for one label
    (HERE, "a.example.com", b"example.com", True),
    (HERE, "a.example.com", b"a.example.com.", False),
    (HERE, "a.example.com", b"b.example.com..", False),
    (HERE, "a.example.com", b"a.example.co", True),
    (HERE, "a.example.com", b"a.example.comx", True),
    (HERE, "a.example.com", b"a" * 300, True),
    (HERE, "a.example.com", b"", False),  # HTTP/1.0 need not name a host
    (HERE, "a.example.com", b"127.0.0.1", False),
    (HERE, "a.example.com", b"10.9.9.9", False),  # the way to reach 127.0.0.1 from outside
    (HERE, "", b"127.0.0.1", False),
    (HERE, "", b"10.9.9.9", False),
    (HERE, "", b"[2001:db8::9]", False),
    (HERE, "", b"a.example.com", False),
    (HERE, "", b"evil.test", True),
    (ELSEWHERE, "a.example.com", b"10.1.2.3", False),
    (ELSEWHERE, "a.example.com", b"[2001:db8::1]", False),
    (ELSEWHERE, "a.example.com", b"[2001:db8:0:0::1]", False),  # the same address
    (ELSEWHERE, "a.example.com", b"[::ffff:10.1.2.3]", False),
    (ELSEWHERE, "a.example.com", b"[2001:db8::2]", True),
    (ELSEWHERE, "a.example.com", b"127.0.0.1", True),
    (ELSEWHERE, "a.example.com", b"[]", True),
]


@pytest.mark.parametrize(("certificates", "name", "host", "expected"), MISDIRECTED)
def test_misdirected_requests(
    certificates: tuple[ServerCertificate, ...], name: str, host: bytes, expected: bool
) -> None:
    """The same lookup decides about Host as about the server name."""
    server = context(*certificates, sni_strict=True)
    one, other = socket_pair()
    client, probe = Probe(one, ClientContext(insecure=True), name), Probe(other, server)
    assert shake(client, probe) == ("done", "done")
    assert probe.misdirected(host) is expected
    tolerant = context(*certificates)
    one, other = socket_pair()
    client, probe = Probe(one, ClientContext(insecure=True), name), Probe(other, tolerant)
    assert shake(client, probe) == ("done", "done")
    assert not probe.misdirected(host)  # nobody is refused here


@given(NAMES.filter(lambda name: name.strip(".")), st.lists(NAMES, max_size=4))
def test_misdirected_means_that_a_handshake_would_fail(host: str, names: list[str]) -> None:
    """No request is carried whose name a handshake refuses, none refused that it admits."""
    text = host.rstrip(".").encode()
    STRICT.activate(STRICT.prepare([A, *([ServerCertificate(Named(*names))] if names else [])]))  # type: ignore[arg-type]
    assert STRICT_PROBE.misdirected(text) is (slowly(host, [A.names, tuple(names)]) is None)


STRICT = context(A, sni_strict=True)
STRICT_CLIENT, STRICT_PROBE, _ = connect(STRICT, client_context())


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_resumed_connections_are_as_strict(most: ssl.TLSVersion) -> None:
    server = context(A, sni_strict=True)
    foreign = client_context()
    foreign.maximum_version = most
    _, resumed = resume(server, server, foreign)
    assert resumed.resumed
    assert not resumed.misdirected(b"a.example.com")
    assert resumed.misdirected(b"evil.test")


def test_certificates_change_while_a_connection_lives() -> None:
    """What was admitted stays so; everything else is judged by the certificates of now."""
    server = context(A, WILD, sni_strict=True)
    _, probe, _ = connect(server, client_context())
    assert not probe.misdirected(b"b.example.com")
    server.activate(server.prepare([UPPER]))
    assert not probe.misdirected(b"a.example.com")
    assert probe.misdirected(b"b.example.com")
    assert not probe.misdirected(b"upper.example.net")


def test_certificates_change_without_touching_connections() -> None:
    server = context(A)
    client, probe, _ = connect(server, client_context())
    server.activate(server.prepare([WILD]))
    assert probe.write(b"still here") == 10
    assert take(client, 10) == b"still here"
    later, _, results = connect(server, client_context())
    assert results == ("done", "done")
    assert served_name(later) == "*.example.com"


def test_static_certificates_come_before_those_of_secrets() -> None:
    chain, key = pem(AUTHORITY.issue_cert("a.example.com", "static.org"))
    server = context(A, certificates=(PemPair(chain.decode(), key.decode()),))
    client, _, _ = connect(server, client_context())
    assert ("DNS", "static.org") in client.tls.getpeercert()["subjectAltName"]  # type: ignore[index]


def test_the_first_static_certificate_is_the_default() -> None:
    chain, key = pem(AUTHORITY.issue_cert("static.org"))
    server = ServerContext(TlsOptions(certificates=(PemPair(chain.decode(), key.decode()),)))
    client, _, results = connect(server, client_context(verify=False), "other.org")
    assert results == ("done", "done")
    assert client.tls.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(chain.decode())


def test_without_any_certificate_one_is_made() -> None:
    client, _, results = connect(ServerContext(TlsOptions()), client_context(verify=False))
    assert results == ("done", "done")
    shown = client.tls.getpeercert(binary_form=True)
    assert shown is not None and DEFAULT.encode() in shown


# --- loading ---------------------------------------------------------------------------------

GOOD, GOOD_KEY = pem(AUTHORITY.issue_cert("a.example.com"))
OTHER_KEY = pem(AUTHORITY.issue_cert("a.example.com"))[1]

UNUSABLE = [
    (b"", GOOD_KEY, "no certificate"),
    (b"garbage", GOOD_KEY, "no certificate"),
    (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", GOOD_KEY, "cannot be read"),
    (b"-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n", GOOD_KEY, "cannot be read"),
    (GOOD, b"", "key cannot be read"),
    (GOOD, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "key cannot be read"),
    (GOOD, OTHER_KEY, "do not belong together"),
]


@pytest.mark.parametrize(("chain", "key", "sentence"), UNUSABLE)
def test_a_pair_that_cannot_be_used(chain: bytes, key: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        load_certificate("ns/secret", chain, key)


def test_an_encrypted_key_is_refused_without_asking() -> None:
    key = serialization.load_pem_private_key(GOOD_KEY, None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(ValueError, match="key cannot be read"):
        load_certificate("ns/secret", GOOD, encrypted)


def test_what_a_loaded_certificate_says() -> None:
    value = loaded("Upper.example.com", "*.b.org", "::ffff:10.0.0.1", "2001:DB8::2")
    assert value.names == ("upper.example.com", "*.b.org", "10.0.0.1", "2001:db8::2")
    assert "key" not in repr(value)
    assert load_certificate("x", b"text before\n" + GOOD_KEY + GOOD, GOOD + GOOD_KEY).chain


def test_the_common_name_is_a_name() -> None:
    value = load_certificate("x", *pem(AUTHORITY.issue_cert("b.org", common_name="CN.Example.org")))
    assert value.names == ("cn.example.org", "b.org")


def test_an_unusable_static_pair_is_a_warning() -> None:
    pair = PemPair(GOOD.decode(), OTHER_KEY.decode())
    server = context(certificates=(pair, PemPair("/missing.crt", "/missing.key")))
    first, second = server.warnings
    assert "do not belong together" in first and "PRIVATE" not in first
    assert "/missing.crt" in second


KINDS: dict[str, Callable[[], Any]] = {
    "RSA-1024": lambda: rsa.generate_private_key(public_exponent=65537, key_size=1024),
    "RSA-2048": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}
FORMS = [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_kinds_of_keys(kind: str, form: serialization.PrivateFormat, most: ssl.TLSVersion) -> None:
    key = KINDS[kind]()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a.example.com")])
    now = datetime.now(UTC)
    chain = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now)
        .sign(key, None if kind == "Ed25519" else hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    if kind == "Ed25519":
        form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    foreign = client_context(verify=False)
    foreign.set_ciphers("DEFAULT@SECLEVEL=0")
    foreign.maximum_version = most
    server = context(ServerCertificate(load_certificate("ns/secret", chain, secret)))
    client, probe, results = connect(server, foreign)
    assert results == ("done", "done"), (client.error, probe.error)
    assert client.tls.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(chain.decode())


def test_an_expired_certificate_is_served() -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    leaf = AUTHORITY.issue_cert("a.example.com", not_after=past)
    server = context(ServerCertificate(load_certificate("old", *pem(leaf))))
    client, probe, results = connect(server, client_context())
    assert results == ("failed", "failed")
    assert "expired" in client.error
    assert probe.failure == "alert"  # OpenSSL's word before "alert" depends on its version
    assert re.fullmatch("refused by the peer: [a-z/0-9]+ alert certificate expired", probe.error)
    assert connect(server, client_context(verify=False))[2] == ("done", "done")


# --- versions, ciphers, ALPN -----------------------------------------------------------------

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = [
    # minVersion      client at most   agreed
    ("", V13, "TLSv1.3"),
    ("", V12, "TLSv1.2"),
    ("VersionTLS10", V12, "TLSv1.2"),
    ("VersionTLS12", V12, "TLSv1.2"),
    ("VersionTLS13", V13, "TLSv1.3"),
    ("VersionTLS13", V12, None),
    ("nonsense", V12, "TLSv1.2"),
]


@pytest.mark.parametrize(("minimum", "most", "agreed"), VERSIONS)
def test_versions(minimum: str, most: ssl.TLSVersion, agreed: str | None) -> None:
    foreign = client_context()
    foreign.maximum_version = most
    client, probe, results = connect(context(A, minimum_version=minimum), foreign)
    if agreed is None:
        assert results == ("failed", "failed")
        assert (probe.failure, probe.error) == ("protocol", "unsupported protocol")
    else:
        assert results == ("done", "done")
        assert client.tls.version() == probe.version == agreed


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(("minimum", "agreed"), [("VersionTLS10", "TLSv1"), ("", None)])
def test_old_versions_only_when_asked_for(minimum: str, agreed: str | None) -> None:
    foreign = client_context(verify=False)
    foreign.set_ciphers("ALL:@SECLEVEL=0")
    foreign.minimum_version = foreign.maximum_version = ssl.TLSVersion.TLSv1
    client, _, results = connect(context(A, minimum_version=minimum), foreign)
    assert client.tls.version() == agreed
    assert results == (("done", "done") if agreed else ("failed", "failed"))


CIPHERS = [
    # configured                                     the client offers       agreed
    ((), "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    (
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
        "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    ),
    (("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",), "ECDHE-ECDSA-AES128-GCM-SHA256", None),
    (
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",),
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ),
]


@pytest.mark.parametrize(("suites", "offered", "agreed"), CIPHERS)
def test_cipher_suites(suites: tuple[str, ...], offered: str, agreed: str | None) -> None:
    foreign = client_context()
    foreign.maximum_version = V12
    foreign.set_ciphers(offered)
    _, probe, results = connect(context(A, cipher_suites=suites), foreign)
    if agreed is None:
        assert (results, probe.failure, probe.error) == (
            ("failed", "failed"),
            "protocol",
            "no shared cipher",
        )
    else:
        assert (results, probe.cipher) == (("done", "done"), agreed)


def test_cipher_suites_do_not_limit_tls_13() -> None:
    suites = ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",)
    _, probe, _ = connect(context(A, cipher_suites=suites), client_context())
    assert (probe.version, probe.cipher) == ("TLSv1.3", "TLS_AES_128_GCM_SHA256")


def test_suites_that_are_unknown_or_gone() -> None:
    with pytest.raises(ValueError, match="unknown cipher suite 'TLS_NO_SUCH'"):
        context(cipher_suites=("TLS_NO_SUCH",))
    with pytest.raises(ValueError, match="none of the cipher suites is available"):
        context(cipher_suites=("TLS_RSA_WITH_RC4_128_SHA",))
    server = context(cipher_suites=("TLS_RSA_WITH_RC4_128_SHA", "TLS_RSA_WITH_AES_128_CBC_SHA"))
    assert server.warnings == (
        "cipher suite TLS_RSA_WITH_RC4_128_SHA is not available and left out",
    )


ALPN = [
    # ours                     theirs                     agreed
    ((b"http/1.1",), ["http/1.1"], b"http/1.1"),
    ((b"http/1.1",), ["h2", "http/1.1"], b"http/1.1"),
    ((b"h2", b"http/1.1"), ["http/1.1", "h2"], b"h2"),
    ((b"http/1.1",), ["h3"], None),  # RFC 7301 3.2
    ((b"http/1.1",), [], b""),
    ((b"http/1.1",), ["http/1.0", "http/1.11", "ttp/1.1"], None),
    ((b"h2",), ["http/1.1"], None),
    ((), ["h2"], b""),
]


@pytest.mark.parametrize(("ours", "theirs", "agreed"), ALPN)
def test_application_protocols(
    ours: tuple[bytes, ...], theirs: list[str], agreed: bytes | None
) -> None:
    """None: the handshake ends with the alert no_application_protocol."""
    foreign = client_context()
    if theirs:
        foreign.set_alpn_protocols(theirs)
    client, probe, results = connect(context(A, protocols=ours), foreign)
    if agreed is None:
        assert results == ("failed", "failed")
        assert "no application protocol" in str(client.error).lower()
        return
    assert results == ("done", "done")
    assert probe.protocol == agreed == (client.tls.selected_alpn_protocol() or "").encode()


# --- client certificates ---------------------------------------------------------------------

CLIENTS = trustme.CA()
CHILD = CLIENTS.create_child_ca()
CLIENT_ROOTS = (CLIENTS.cert_pem.bytes().decode(),)
KNOWN = CLIENTS.issue_cert("client@example.org")
THROUGH_CHILD = CHILD.issue_cert("child@example.org")
STRANGER = trustme.CA().issue_cert("stranger@example.org")
EXPIRED = CLIENTS.issue_cert("old@example.org", not_after=datetime.now(UTC) - timedelta(days=1))

CLIENT_CASES = [
    # optional  shown          certificates seen, or why not
    (False, KNOWN, 1),
    (False, THROUGH_CHILD, 2),
    (False, None, ("protocol", "peer did not return a certificate")),
    (False, STRANGER, ("untrusted", "certificate verify failed: unable to get local issuer")),
    (False, EXPIRED, ("untrusted", "certificate verify failed: certificate has expired")),
    (True, KNOWN, 1),
    (True, None, 0),
    (True, STRANGER, ("untrusted", "certificate verify failed: unable to get local issuer")),
]


@pytest.mark.parametrize("most", [V12, V13])
@pytest.mark.parametrize(("optional", "shown", "expected"), CLIENT_CASES)
def test_client_certificates(
    optional: bool, shown: trustme.LeafCert | None, expected: object, most: ssl.TLSVersion
) -> None:
    foreign = client_context(certificate=shown)
    foreign.maximum_version = most
    server = context(A, client_ca_files=CLIENT_ROOTS, client_ca_optional=optional)
    client, probe, results = connect(server, foreign)
    if isinstance(expected, int):
        assert results == ("done", "done")
        chain = [ssl.DER_cert_to_PEM_cert(der) for der in probe.peer_chain]
        sent = [p.bytes().decode() for p in shown.cert_chain_pems] if shown else []
        assert "".join(chain).split() == "".join(sent).split() and len(chain) == expected
    else:
        assert results[1] == "failed"
        assert (probe.failure, probe.error[: len(expected[1])]) == expected  # type: ignore[index]
        assert client.read() in (b"", "failed")


def test_without_authorities_nobody_is_asked() -> None:
    _, probe, results = connect(context(A), client_context(certificate=KNOWN))
    assert (results, probe.peer_chain) == (("done", "done"), [])


@pytest.mark.parametrize("source", ["", "garbage", "/no/such/file"])
def test_authorities_that_cannot_be_read_are_an_error(source: str) -> None:
    with pytest.raises((ValueError, OSError)):
        context(client_ca_files=(source,))


# --- tickets ---------------------------------------------------------------------------------

KEYS = [bytes([number]) * 80 for number in range(3)]


def resume(
    first: ServerContext,
    second: ServerContext,
    foreign: ssl.SSLContext,
    name: str | None = "a.example.com",
) -> tuple[Probe, Probe]:
    """Connect to `first`, then to `second` with the ticket of `first`."""
    client, probe, results = connect(first, foreign)
    assert results == ("done", "done")
    probe.write(b"x")
    assert take(client, 1) == b"x"
    one, other = socket_pair()
    again = Peer(one, foreign, name or "")
    again.tls.session = client.tls.session
    resumed = Probe(other, second)
    shake(again, resumed)
    return probe, resumed


TICKETS = [
    # keys of the one   keys of the other   resumed
    (KEYS[:1], KEYS[:1], True),
    (KEYS[:1], [KEYS[1], KEYS[0]], True),  # rotated once
    (KEYS[:1], [KEYS[2], KEYS[1]], False),  # rotated away
    ([KEYS[1], KEYS[0]], KEYS[:1], False),  # a new key the other does not know yet
    ([], [], False),
]


@pytest.mark.parametrize("most", [V12, V13])
@pytest.mark.parametrize(("ones", "others", "expected"), TICKETS)
def test_tickets_are_good_in_every_worker_with_the_key(
    ones: list[bytes], others: list[bytes], expected: bool, most: ssl.TLSVersion
) -> None:
    foreign = client_context()
    foreign.maximum_version = most
    workers = context(A), context(WILD)
    for worker, keys in zip(workers, (ones, others), strict=True):
        worker.set_ticket_keys(keys)
    first, second = resume(*workers, foreign)
    assert (first.resumed, second.resumed) == (False, expected)
    assert second.server_name == "a.example.com"


OTHER_NAMES = [
    # name asked for with a ticket made for a.example.com, resumed with TLS 1.2 (RFC 6066 3)
    ("a.example.com", True),
    ("A.example.com", True),
    ("b.example.com", False),
    ("a.example.co", False),
    (None, False),
]


@pytest.mark.parametrize(("name", "resumed"), OTHER_NAMES)
def test_a_ticket_is_good_for_the_name_it_was_made_for(name: str | None, resumed: bool) -> None:
    """Another name gets a whole handshake, not an error."""
    foreign = client_context()
    foreign.check_hostname = False
    foreign.maximum_version = ssl.TLSVersion.TLSv1_2
    server = context(A)
    _, second = resume(server, server, foreign, name)
    assert second.version == "TLSv1.2" and second.resumed is resumed


def test_tickets_survive_new_certificates() -> None:
    before, after = context(A), context(A)
    for server in (before, after):
        server.set_ticket_keys(KEYS[:1])
    after.activate(after.prepare([TWO]))
    assert resume(before, after, client_context())[1].resumed


def test_a_context_has_ticket_keys_of_its_own() -> None:
    server = context(A)
    assert resume(server, server, client_context())[1].resumed
    assert not resume(server, context(A), client_context())[1].resumed


@pytest.mark.parametrize("most", [V12, V13])
def test_a_resumed_client_keeps_its_certificates(most: ssl.TLSVersion) -> None:
    server = context(A, client_ca_files=CLIENT_ROOTS)
    foreign = client_context(certificate=THROUGH_CHILD)
    foreign.maximum_version = most
    first, second = resume(server, server, foreign)
    assert second.resumed and len(first.peer_chain) == 2
    assert second.peer_chain == first.peer_chain


def test_a_ticket_does_not_replace_a_client_certificate() -> None:
    open_door, closed_door = context(A), context(A, client_ca_files=CLIENT_ROOTS)
    for server in (open_door, closed_door):
        server.set_ticket_keys(KEYS[:1])
    _, second = resume(open_door, closed_door, client_context())
    assert not second.resumed
    assert second.error == "peer did not return a certificate"


def test_ticket_keys_have_a_size() -> None:
    with pytest.raises(ValueError, match="80 bytes"):
        context().set_ticket_keys([b"short"])


def test_strictness_holds_for_resumed_handshakes() -> None:
    server = context(A, sni_strict=True)
    foreign = client_context()
    client, probe, _ = connect(server, foreign)
    probe.write(b"x")
    take(client, 1)
    server.activate(server.prepare([ADDRESS]))
    one, other = socket_pair()
    again = Peer(one, foreign, "a.example.com")
    again.tls.session = client.tls.session
    refused = Probe(other, server)
    shake(again, refused)
    assert refused.failure == "no name"


# --- bytes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [V12, V13])
@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=12))
def test_pieces_arrive_in_order_through_a_full_socket(
    most: ssl.TLSVersion, sizes: list[int]
) -> None:
    foreign = client_context()
    foreign.maximum_version = most
    client, probe, _ = connect(SERVER, foreign)
    pieces = [bytes([65 + index]) * size for index, size in enumerate(sizes)]
    expected = b"".join(pieces)
    received = b""
    while pieces or len(received) < len(expected):
        count = probe.writev(pieces) if pieces else 0
        if isinstance(count, int):
            while pieces and count >= len(pieces[0]):
                count -= len(pieces.pop(0))
            if pieces:
                pieces[0] = pieces[0][count:]
        else:
            assert count == "want write"
        piece = client.read()
        assert isinstance(piece, bytes) or piece == "want read"
        received += piece if isinstance(piece, bytes) else b""
    assert received == expected


SERVER = context(A)


def test_small_pieces_share_a_record() -> None:
    client, probe, _ = connect(SERVER, client_context())
    assert probe.writev([b"HTTP/1.1 200 OK\r\n\r\n", b"", b"body"]) == 23
    assert client.read() == b"HTTP/1.1 200 OK\r\n\r\nbody"


def test_a_short_read_means_an_empty_socket() -> None:
    client, probe, _ = connect(SERVER, client_context())
    for _ in range(3):
        client.write(b"a" * 1000)
    assert probe.read() == b"a" * 3000
    assert not probe.pending
    client.write(b"b" * 1000)
    assert probe.read(10) == b"b" * 10
    assert probe.pending
    assert probe.read(990) == b"b" * 990
    assert probe.read() == "want read"


def test_a_record_in_two_halves() -> None:
    """Read-ahead must not lose or invent bytes when a record arrives byte by byte."""
    one, middle = socket_pair()
    other, end = socket_pair()
    client, probe = Peer(one, client_context(), "a.example.com"), Probe(end, SERVER)
    sides: list[Peer | Probe] = [client, probe]
    results: list[object] = ["", ""]
    for _ in range(20_000):
        for index, side in enumerate(sides):
            if results[index] != "done":
                results[index] = side.handshake()
                assert results[index] in ("done", "want read")
        moved = False
        for source, target in ((middle, other), (other, middle)):
            try:
                target.sendall(source.recv(1))
                moved = True
            except BlockingIOError:
                pass
        if results == ["done", "done"] and not moved:
            break
    assert results == ["done", "done"]
    client.write(b"hello")
    data = middle.recv(1000)
    for before, after in pairwise(range(len(data) + 1)):
        assert probe.read() == "want read"
        other.sendall(data[before:after])
    assert probe.read() == b"hello"


def test_closing_is_told_from_cutting() -> None:
    client, probe, _ = connect(SERVER, client_context())
    client.write(b"last")
    client.tls.setblocking(True)
    client.tls.settimeout(0.01)
    with pytest.raises(OSError):  # unwrap waits for our answer
        client.tls.unwrap()
    assert probe.read() == b"last"
    assert probe.pending  # the end came with these bytes: no event will tell of it again
    assert probe.read() == "closed"
    assert probe.write(b"still possible") == 14
    assert probe.shutdown() == "done"

    client, probe, _ = connect(SERVER, client_context())
    assert client.read() == "want read"  # takes the ticket: unread bytes would make a reset
    client.tls.close()
    assert (probe.read(), probe.failure) == ("failed", "truncated")
    assert probe.read() == "failed"


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_is_gone_is_told_nothing(most: ssl.TLSVersion) -> None:
    """No alert for an end without close_notify, and no close_notify after it."""
    foreign = client_context()
    foreign.maximum_version = most
    client, probe, _ = connect(SERVER, foreign)
    assert client.read() == "want read"  # takes the ticket
    with socket.socket(fileno=os.dup(client.tls.fileno())) as raw:
        raw.shutdown(socket.SHUT_WR)
        assert (probe.read(), probe.failure) == ("failed", "truncated")
        assert probe.shutdown() == "done"
        with pytest.raises(BlockingIOError):
            raw.recv(100)


def test_an_end_that_comes_with_the_last_bytes() -> None:
    """Nobody will say again that the peer has ended: it is pending until it is read."""
    client, probe, _ = connect(SERVER, client_context())
    client.write(b"last")
    client.tls.settimeout(0.01)
    with pytest.raises(OSError):  # unwrap waits for our answer
        client.tls.unwrap()
    assert probe.read() == b"last"
    assert probe.pending
    assert probe.read() == "closed"


def test_a_failure_that_comes_with_the_last_bytes() -> None:
    one, other = socket_pair()
    client, probe = Peer(one, client_context(), "a.example.com"), Probe(other, SERVER)
    assert shake(client, probe) == ("done", "done")
    client.write(b"last")
    os.write(client.tls.fileno(), b"\x17\x03\x03\x00\x20" + b"?" * 32)
    assert probe.read() == b"last"
    assert probe.pending
    assert (probe.read(), probe.failure) == ("failed", "protocol")


@pytest.mark.parametrize("data", [b"", b"data"])
def test_records_without_data_are_not_read_for_ever(data: bytes) -> None:
    """Whoever sends nothing else must not keep a worker busy."""
    one, other = socket_pair()
    for end in (one, other):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    client, probe = Probe(one, ClientContext(insecure=True), "a.example.com"), Probe(other, SERVER)
    assert shake(client, probe) == ("done", "done")
    if data:
        client.write(data)
    while client.update_keys() == "done":
        pass
    if data:
        assert probe.read() == data
    assert (probe.read(), probe.failure) == ("failed", "protocol")
    assert probe.error == "nothing but records without data"


def test_a_few_records_without_data_are_none_of_our_business() -> None:
    one, other = socket_pair()
    client, probe = Probe(one, ClientContext(insecure=True), "a.example.com"), Probe(other, SERVER)
    assert shake(client, probe) == ("done", "done")
    for _ in range(100):
        assert client.update_keys() == "done"
    client.write(b"data")
    assert probe.read() == b"data"
    assert probe.write(b"answer") == 6
    assert client.read() == b"answer"


def test_shutdown_is_seen_by_the_peer() -> None:
    client, probe, _ = connect(SERVER, client_context())
    assert probe.shutdown() == "done"
    assert client.read() == b""


# --- faults ----------------------------------------------------------------------------------

GARBAGE = [
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "plain http", "not TLS: http request"),
    (b"\x16\x03\x01\xff\xff" + b"a" * 70000, "protocol", ""),
    (b"\x16\x03\x01\x00\x05hello", "protocol", ""),
    (b"\x00" * 100, "not tls", ""),
    (b"\x80\x2e\x01\x00\x02" + b"a" * 100, "protocol", ""),
    (b"\xff" * 10, "not tls", ""),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "not tls", ""),
]


@pytest.mark.parametrize(("data", "failure", "error"), GARBAGE)
@pytest.mark.parametrize("whole", [True, False])
def test_garbage_instead_of_a_handshake(data: bytes, failure: str, error: str, whole: bool) -> None:
    one, other = socket_pair()
    probe = Probe(other, SERVER)
    result = probe.handshake()
    for piece in [data] if whole else [data[i : i + 1] for i in range(min(len(data), 300))]:
        assert result == "want read"
        one.send(piece)
        result = probe.handshake()
        if result == "failed":
            break
    else:
        one.close()
        result = probe.handshake()
    assert result == "failed"
    if whole:
        assert probe.failure == failure
        assert error in probe.error and probe.error
    assert probe.handshake() == "failed"
    assert probe.read() == "failed"


def test_a_peer_that_leaves_during_the_handshake() -> None:
    one, other = socket_pair()
    probe = Probe(other, SERVER)
    client = Peer(one, client_context(), "a.example.com")
    client.handshake()
    assert probe.handshake() == "want read"
    client.tls.close()
    assert (probe.handshake(), probe.failure) == ("failed", "reset")


@pytest.fixture
def listener() -> Iterator[object]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(10)
        yield made


def serve_one(listener: object, answer: bytes) -> Probe:
    """Accept, shake hands, read once, answer, shut down; as a worker would, waiting in between."""
    import select

    end, _ = listener.accept()  # type: ignore[attr-defined]
    end.setblocking(False)
    probe = Probe(end, SERVER)
    for call, wanted in ((probe.handshake, ("done", "failed")), (probe.read, ())):
        for _ in range(100):
            result = call()
            if result in wanted or isinstance(result, bytes):
                break
            select.select([end], [], [], 1)
    probe.write(answer)
    probe.shutdown()
    end.close()
    return probe


HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n"


def test_curl(listener: object, tmp_path: object) -> None:
    roots = tmp_path / "roots.pem"  # type: ignore[operator]
    roots.write_bytes(AUTHORITY.cert_pem.bytes())
    port = listener.getsockname()[1]  # type: ignore[attr-defined]
    url = f"https://a.example.com:{port}/"
    command = [
        "curl",
        "-sS",
        "--cacert",
        str(roots),
        "--resolve",
        f"a.example.com:{port}:127.0.0.1",
    ]
    command += ["--noproxy", "*", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=PLAIN) as curl:
        probe = serve_one(listener, HTTP)
        assert probe.error == ""
        assert curl.communicate(timeout=10)[0] == b"hello\n"
    assert (probe.server_name, probe.protocol) == ("a.example.com", b"http/1.1")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_client_renegotiates_in_vain(listener: object, version: str) -> None:
    port = listener.getsockname()[1]  # type: ignore[attr-defined]
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", version]
    command += ["-servername", "a.example.com"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=PLAIN,
    ) as client:
        assert client.stdin is not None
        client.stdin.write(b"R\nhello\n" if version == "-tls1_2" else b"hello\n")
        client.stdin.flush()
        probe = serve_one(listener, b"bye")
        output = client.communicate(timeout=10)[0]
    if version == "-tls1_2":
        assert b"no renegotiation" in output
    else:
        assert b"bye" in output
    assert probe.version == ("TLSv1.2" if version == "-tls1_2" else "TLSv1.3")


MALLINFO = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


class Allocated(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in MALLINFO]


def allocated() -> int:
    """Bytes taken from malloc (glibc); OpenSSL's, as Python's small objects come from elsewhere."""
    gc.collect()
    function = ctypes.CDLL(None).mallinfo2
    function.restype = Allocated
    return int(function().uordblks)


def shaken(server: ServerContext, client: ClientContext, name: str) -> None:
    one, other = socket_pair()
    probe, peer = Probe(other, server), Probe(one, client, name, 1)
    if shake(peer, probe) == ("done", "done"):
        peer.write(b"ping")
        probe.read()
        probe.write(b"x" * 40_000)
        peer.read()
    one.close()
    other.close()


def cut(server: ServerContext, client: ClientContext, name: str) -> None:
    one, other = socket_pair()
    probe, peer = Probe(other, server), Probe(one, client, name, 2)
    peer.handshake()
    probe.handshake()
    other.close()
    peer.handshake()
    one.close()


@pytest.mark.skipif(SANITIZED, reason="counts what malloc of glibc gave")
@pytest.mark.parametrize("way", [shaken, cut])
@pytest.mark.parametrize("name", ["a.example.com", "wrong.example.com", "127.0.0.1"])
def test_nothing_is_leaked(
    way: Callable[[ServerContext, ClientContext, str], None], name: str
) -> None:
    server = context(A, client_ca_files=CLIENT_ROOTS, client_ca_optional=True, sni_strict=True)
    own = load_certificate("own", *pem(THROUGH_CHILD))
    client = ClientContext((AUTHORITY.cert_pem.bytes().decode(),), certificate=own)
    for _ in range(20):
        way(server, client, name)
    before = allocated()
    for _ in range(200):
        way(server, client, name)
    assert allocated() - before < 20_000


@pytest.mark.skipif(SANITIZED, reason="counts what malloc of glibc gave")
def test_generations_leave_nothing() -> None:
    server = context()
    values = [loaded(f"h{number}.example.com") for number in range(20)]

    def generation() -> None:
        made = [ServerCertificate(value) for value in values]
        server.activate(server.prepare(made))
        connect(server, client_context(), "h1.example.com")

    for _ in range(5):
        generation()
    before = allocated()
    for _ in range(50):
        generation()
    assert allocated() - before < 40_000
