"""The certificates which Traefik 1.7 has fetched and left in its `acme.json`; read only.

fastproxy fetches none. What the file holds is served by the entry point that `[acme]` names, and a
warning says of each certificate until when. Without such a file every host of the old proxy would
be answered with a self-signed certificate, so that is refused.

Two forms (1.7 reads both):
`{"Certificates": [{"Domain": {"Main", "SANs"}, "Certificate", "Key"}]}`, and before 1.5
`{"DomainsCertificate": {"Certs": [{"Domains", "Certificate": {"Certificate", "PrivateKey"}}]}}`;
chain and key are PEM text in base64.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastproxy.settings.options import AcmeCertificate, CertificateFiles, Settings

MOST_BYTES = 16 << 20
RENEWED = (
    "nothing renews it here: let cert-manager (or who else makes them) put its successor into a"
    " Secret that an Ingress names in spec.tls"
)

Found = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Stored:
    """One entry of the file: the names it was fetched for, and chain and key in PEM."""

    names: tuple[str, ...]
    chain: bytes
    key: bytes


def resolve(settings: Settings) -> tuple[Settings, Found, Found]:
    """Return the settings with the certificates of `[acme]`, problems, and warnings. Reads its
    file, relative to the current directory."""
    acme = settings.acme
    if acme is None:
        return settings, [], []
    file = acme.storage or acme.storage_file
    try:
        usable, warnings = _usable(file)
    except (OSError, ValueError, RecursionError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        return settings, [("acme", _refusal(file, reason))], []
    name = acme.entry_point
    point = settings.entry_points.get(name)
    if point is None or point.tls is None:
        sentence = f"is {name!r}, which is no entry point with TLS; name one that has it"
        return settings, [("acme.entryPoint", sentence)], []
    warnings += [("acme", _told(certificate, file)) for certificate, _ in usable]
    tls = replace(point.tls, fetched=tuple(pair for _, pair in usable))
    return (
        replace(
            settings,
            entry_points={**settings.entry_points, name: replace(point, tls=tls)},
            acme=replace(acme, certificates=tuple(certificate for certificate, _ in usable)),
        ),
        [],
        warnings,
    )


def _refusal(file: str, reason: str) -> str:
    where = f"{file!r} ({reason})" if file else "a storage, which is not named"
    return (
        "fastproxy fetches no certificates; it serves those of the acme.json of Traefik 1.7, and"
        f" there are none in {where}: hosts would be answered with a self-signed certificate. Copy"
        " that file there, or put certificates into Secrets (for example by cert-manager), name"
        " them in spec.tls of the Ingresses and remove [acme]"
    )


def _told(certificate: AcmeCertificate, file: str) -> str:
    names = ", ".join(certificate.names)
    ended = "has expired on" if certificate.expired else "is served until it expires on"
    return f"the certificate for {names} in {file!r} {ended} {certificate.until}; {RENEWED}"


Pair = tuple[AcmeCertificate, CertificateFiles]


def _usable(file: str) -> tuple[list[Pair], Found]:
    """Return what can be served; raises OSError and ValueError when there is nothing."""
    if not file:
        raise ValueError("no file is named")
    if not Path(file).is_file():
        raise ValueError("it is no file" if Path(file).exists() else "No such file or directory")
    if Path(file).stat().st_size > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES} bytes")
    usable: list[Pair] = []
    warnings: Found = []
    for stored in stored_in(Path(file).read_text(encoding="utf-8")):
        try:
            certificate = _certificate(stored)
        except ValueError as problem:
            names = ", ".join(stored.names) or "no name"
            sentence = f"the certificate for {names} in {file!r} is not served: {problem}"
            warnings.append(("acme", f"{sentence}; put a good one into a Secret"))
        else:
            usable.append((certificate, CertificateFiles(*map(_text, (stored.chain, stored.key)))))
    if not usable:
        raise ValueError("no certificate in it can be used" if warnings else "it holds none")
    return usable, warnings


def _text(pem: bytes) -> str:
    return pem.decode("ascii", "replace")


def stored_in(text: str) -> list[Stored]:
    """Return the entries of an `acme.json`; raises ValueError for what is none of 1.7's."""
    document = _lower(json.loads(text))
    if not isinstance(document, dict):
        raise ValueError("it is no acme.json of Traefik 1.7")
    old = document.get("domainscertificate")
    if isinstance(old, dict):
        return [_old(entry) for entry in _listed(old.get("certs"))]
    if "certificates" not in document:
        raise ValueError("it is no acme.json of Traefik 1.7")
    return [_new(entry) for entry in _listed(document["certificates"])]


def _lower(value: Any) -> Any:
    """Keys in lower case: Go reads them in any."""
    if isinstance(value, dict):
        return {key.lower(): _lower(item) for key, item in value.items()}
    return [_lower(item) for item in value] if isinstance(value, list) else value


def _listed(value: Any) -> Iterator[dict[str, Any]]:
    yield from (each for each in (value if isinstance(value, list) else ()) if each)


def _new(entry: Any) -> Stored:
    entry = entry if isinstance(entry, dict) else {}
    return Stored(_names(entry.get("domain")), _bytes(entry, "certificate"), _bytes(entry, "key"))


def _old(entry: Any) -> Stored:
    entry = entry if isinstance(entry, dict) else {}
    held = entry.get("certificate")
    held = held if isinstance(held, dict) else {}
    names = _names(entry.get("domains"))
    return Stored(names, _bytes(held, "certificate"), _bytes(held, "privatekey"))


def _names(domain: Any) -> tuple[str, ...]:
    domain = domain if isinstance(domain, dict) else {}
    alternatives = domain.get("sans")
    names = [domain.get("main"), *(alternatives if isinstance(alternatives, list) else ())]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def _bytes(entry: dict[str, Any], key: str) -> bytes:
    try:
        return base64.b64decode(entry.get(key) or "", validate=True)
    except (ValueError, TypeError):
        return b""


def _certificate(stored: Stored) -> AcmeCertificate:
    """Raises ValueError for a chain that cannot be read, or a key that is not its own."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        leaf = x509.load_pem_x509_certificate(stored.chain)
        own = load_pem_private_key(stored.key, None).public_key()
    except Exception as problem:  # the parser raises a dozen unrelated classes
        raise ValueError("its certificate or key cannot be read") from problem
    if own != leaf.public_key():
        raise ValueError("its key belongs to another certificate")
    until = leaf.not_valid_after_utc
    names = stored.names or (leaf.subject.rfc4514_string(),)
    return AcmeCertificate(names, f"{until:%Y-%m-%d}", until < datetime.now(UTC))
