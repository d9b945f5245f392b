"""What a TLS Secret holds: a certificate chain and its key, or why not (`provider.md` 5.9)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from controller.kubernetes.objects import Secret

CERTIFICATE_ENTRY, KEY_ENTRY = "tls.crt", "tls.key"
# Consecutive blocks to the end. Text before a block is tolerated, behind the last one only white
# space (FIX 12: Traefik refused even that).
PEM = re.compile(
    rb"(?:(?:(?!-----BEGIN )[^\n]*\n)*+-----BEGIN (?P<label>[^\n-]+)-----[ \t\r]*\n"
    rb"(?:(?!-----)[^\n]*\n)*-----END (?P=label)-----[ \t\r]*(?:\n|\Z))+\s*"
)
CACHED = 8192


def is_pem(data: bytes) -> bool:
    return PEM.fullmatch(data) is not None


def trouble(data: Mapping[str, bytes]) -> str:
    """Say why these are not a certificate and its key; "" if they are."""
    for entry in (CERTIFICATE_ENTRY, KEY_ENTRY):
        if not data.get(entry):
            return f"{entry} is missing."
        if not is_pem(data[entry]):
            return f"{entry} is not PEM."
    return certificate_names(data[CERTIFICATE_ENTRY], data[KEY_ENTRY]).problem


def keeping(secret: Secret, old: Secret) -> Secret:
    """Let a Secret that has become unusable remember the certificate it held: traffic must not
    suffer from a bad renewal."""
    if CERTIFICATE_ENTRY not in old.data and old.former is None:
        return secret
    if not trouble(secret.data):
        return secret
    former = old.former if trouble(old.data) else old.data
    return replace(secret, former=former)


class Names(NamedTuple):
    """What a certificate is for, or why it cannot be used."""

    names: tuple[str, ...]
    problem: str = ""


def certificate_names(chain: bytes, key: bytes) -> Names:
    """CN, sorted DNS names and IP addresses of the first certificate, if the key belongs to it.

    Remembered by a hash: the keys of Secrets that are gone must not stay in memory.
    """
    digest = hashlib.sha256(len(chain).to_bytes(8, "big") + chain + key).digest()
    known = _NAMES.get(digest)
    if known is None:
        if len(_NAMES) >= CACHED:
            _NAMES.clear()
        known = _NAMES[digest] = _read_names(chain, key)
    return known


_NAMES: dict[bytes, Names] = {}


def _read_names(chain: bytes, key: bytes) -> Names:
    try:
        leaf = x509.load_pem_x509_certificate(chain)
        private = load_pem_private_key(key, None, unsafe_skip_rsa_key_validation=True)
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if private.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
            return Names((), "the private key belongs to another certificate.")
        common = [str(a.value) for a in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        alternatives = _alternative_names(leaf)
    except Exception as problem:  # the parser raises a dozen unrelated classes on hostile input
        return Names((), f"{str(problem).splitlines()[0] if str(problem) else 'it is unreadable'}.")
    return Names(tuple(name.lower() for name in (*common[:1], *alternatives)))


def _alternative_names(leaf: x509.Certificate) -> list[str]:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return sorted(extension.value.get_values_for_type(x509.DNSName)) + sorted(map(str, addresses))
