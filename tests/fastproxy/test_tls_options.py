"""TLS settings as values: names, sources of PEM, ticket keys, the default certificate."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastproxy.engine.tls.certificates import load_certificate
from fastproxy.settings.options import (
    CertificateFiles,
    ClientCa,
    EntryPoint,
    EntryPointTls,
    Settings,
)
from fastproxy.settings.tls_options import (
    CIPHER_SUITES,
    TICKET_KEY_SIZE,
    PemPair,
    TlsOptions,
    read_pem,
    rotated,
    self_signed,
    with_default_certificates,
)

PEM = "-----BEGIN X-----\nAAAA\n-----END X-----\n"
PAIR = CertificateFiles("a.crt", "a.key")

SETTINGS = [
    (EntryPointTls(), TlsOptions()),
    (
        EntryPointTls(certificates=(PAIR,), default_certificate=CertificateFiles("d", "e")),
        TlsOptions((PemPair("a.crt", "a.key"),), PemPair("d", "e")),
    ),
    (
        EntryPointTls(sni_strict=True, min_version="VersionTLS12", cipher_suites=("X",)),
        TlsOptions(sni_strict=True, minimum_version="VersionTLS12", cipher_suites=("X",)),
    ),
    (
        EntryPointTls(client_ca=ClientCa(("ca.pem",), optional=True)),
        TlsOptions(client_ca_files=("ca.pem",), client_ca_optional=True),
    ),
    (EntryPointTls(client_ca_files=("ca.pem",)), TlsOptions(client_ca_files=("ca.pem",))),
]


@pytest.mark.parametrize(("tls", "expected"), SETTINGS)
def test_settings_become_options(tls: EntryPointTls, expected: TlsOptions) -> None:
    assert TlsOptions.of(tls) == expected


def test_unknown_cipher_suites_are_problems() -> None:
    assert TlsOptions(cipher_suites=tuple(CIPHER_SUITES)).problems == ()
    assert TlsOptions(cipher_suites=("TLS_NEW",)).problems == ("unknown cipher suite 'TLS_NEW'",)


def test_pem_is_a_path_or_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("anything")
    assert read_pem(str(tmp_path / "file")) == b"anything"
    assert read_pem(PEM) == PEM.encode()
    with pytest.raises(OSError, match="missing"):
        read_pem(str(tmp_path / "missing"))


def test_ticket_keys_are_known_before_they_are_used() -> None:
    keys = rotated()
    for _ in range(10):
        following = rotated(keys)
        assert following[0] == keys[1]  # every worker has it already
        assert following[2] == keys[0]  # and still opens what the former made
        assert len(following) <= 5
        assert len(set(following)) == len(following)
        assert {len(key) for key in following} == {TICKET_KEY_SIZE}
        keys = following


def test_a_ticket_key_stays_for_three_rotations() -> None:
    keys = rotated()
    first = keys[0]
    for _ in range(3):
        keys = rotated(keys)
        assert first in keys
    assert first not in rotated(keys)


def test_the_self_signed_certificate() -> None:
    certificate = load_certificate("default", *self_signed())
    common_name, alternative = certificate.names
    assert common_name == "traefik default cert"
    assert alternative.endswith(".traefik.default")


def test_one_default_certificate_for_those_who_need_it() -> None:
    points = {
        "plain": EntryPoint(),
        "a": EntryPoint(tls=EntryPointTls()),
        "b": EntryPoint(tls=EntryPointTls()),
        "c": EntryPoint(tls=EntryPointTls(certificates=(PAIR,))),
    }
    found = with_default_certificates(Settings(entry_points=points)).entry_points
    assert (found["plain"], found["c"]) == (points["plain"], points["c"])
    assert found["a"].tls is not None and found["a"].tls.default_certificate is not None
    assert found["a"].tls == found["b"].tls
    assert "PRIVATE" not in repr(found)


def test_settings_without_tls_stay_as_they_are() -> None:
    settings = Settings(entry_points={"http": EntryPoint()})
    assert with_default_certificates(settings) is settings
