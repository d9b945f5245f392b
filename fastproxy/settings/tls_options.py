"""TLS as it is configured: frozen values, read by settings and used by `engine.tls`.

Nothing here touches OpenSSL; names are those of Traefik 1.7 (`provider.md` 2.3), which are Go's.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from fastproxy.settings.options import CertificateFiles, EntryPointTls, Settings

VERSIONS = {
    "VersionTLS10": 0x0301,
    "VersionTLS11": 0x0302,
    "VersionTLS12": 0x0303,
    "VersionTLS13": 0x0304,
}

# Go's name -> OpenSSL's name. RC4 and 3DES are known, so that a file naming them still starts, but
# OpenSSL 3 no longer has them: they are left out with a warning.
CIPHER_SUITES = {
    "TLS_RSA_WITH_RC4_128_SHA": "RC4-SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA": "DES-CBC3-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA": "ECDHE-ECDSA-RC4-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA": "ECDHE-RSA-RC4-SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA": "ECDHE-RSA-DES-CBC3-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": "ECDHE-ECDSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "ECDHE-RSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    # TLS 1.3 suites cannot be chosen in Go; naming them changes nothing.
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
}


TICKET_KEY_SIZE = 80  # 16 bytes of name, 32 of AES-256, 32 of HMAC-SHA-256


class PemPair(NamedTuple):
    """A certificate chain and its key as written in the settings: each a path or inline PEM."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """`[entryPoints.<name>.tls]`. Names are checked by `problems`, files when a context is made."""

    certificates: tuple[PemPair, ...] = ()
    default_certificate: PemPair | None = field(default=None, repr=False)
    sni_strict: bool = False
    minimum_version: str = ""
    cipher_suites: tuple[str, ...] = ()
    client_ca_files: tuple[str, ...] = ()
    client_ca_optional: bool = False
    fetched: tuple[PemPair, ...] = field(default=(), repr=False)  # give way to those of Secrets
    protocols: tuple[bytes, ...] = (b"http/1.1",)  # ALPN, in order of preference

    @classmethod
    def of(cls, tls: EntryPointTls, http2: bool = False) -> TlsOptions:
        """From the settings of an entry point (`settings.canonical` has resolved aliases)."""
        default = tls.default_certificate
        authority = tls.client_ca
        return cls(
            certificates=tuple(PemPair(c.cert_file, c.key_file) for c in tls.certificates),
            default_certificate=PemPair(default.cert_file, default.key_file) if default else None,
            fetched=tuple(PemPair(c.cert_file, c.key_file) for c in tls.fetched),
            sni_strict=tls.sni_strict,
            minimum_version=tls.min_version,
            cipher_suites=tls.cipher_suites,
            client_ca_files=authority.files if authority else tls.client_ca_files,
            client_ca_optional=bool(authority and authority.optional),
            protocols=(b"h2", b"http/1.1") if http2 else (b"http/1.1",),
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences about values that make fastproxy refuse to start."""
        return tuple(
            f"unknown cipher suite {name!r}"
            for name in self.cipher_suites
            if name not in CIPHER_SUITES
        )


def read_pem(source: str) -> bytes:
    """The PEM text of a setting that is either a path or the text itself.

    Raises OSError. As in Traefik 1.7, what exists as a file is a path.
    """
    if "-----BEGIN" in source:
        return source.encode()
    return Path(source).read_bytes()


def with_default_certificates(settings: Settings) -> Settings:
    """The same with a self-signed certificate written in where an entry point needs one: made once,
    before the workers start, so that all serve the same one."""
    points = dict(settings.entry_points)
    pair: CertificateFiles | None = None
    for name, point in points.items():
        tls = point.tls
        if tls is not None and tls.default_certificate is None and not tls.certificates:
            pair = pair or CertificateFiles(*(part.decode() for part in self_signed()))
            points[name] = replace(point, tls=replace(tls, default_certificate=pair))
    return replace(settings, entry_points=points) if pair is not None else settings


def rotated(keys: tuple[bytes, ...] = ()) -> tuple[bytes, ...]:
    """The next set of session ticket keys for every worker; without any, the first one.

    The first key makes tickets, all open them. The key that becomes first was the second before, so
    workers know it already when another one starts to use it; three former keys stay valid.
    """
    if not keys:
        return secrets.token_bytes(TICKET_KEY_SIZE), secrets.token_bytes(TICKET_KEY_SIZE)
    return keys[1], secrets.token_bytes(TICKET_KEY_SIZE), keys[0], *keys[2:4]


def self_signed() -> tuple[bytes, bytes]:
    """Chain and key, PEM, of the certificate served when there is no other (`provider.md` 2.3).

    Takes a tenth of a second; to serve the same one in all workers, make it once and write it into
    `default_certificate`.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "TRAEFIK DEFAULT CERT")])
    name = f"{secrets.token_hex(16)}.{secrets.token_hex(16)}.traefik.default"
    start = datetime.now(UTC) - timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
