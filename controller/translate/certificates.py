"""TLS secrets of Ingresses: which certificate is served where (`provider.md` 5.9)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from controller.kubernetes.objects import Secret
from controller.kubernetes.tls_secrets import (
    CERTIFICATE_ENTRY,
    KEY_ENTRY,
    certificate_names,
    is_pem,
    trouble,
)
from fastproxy.model import findings
from fastproxy.model.configuration import Certificate, ObjectReference
from fastproxy.model.findings import Finding


class Wanted(NamedTuple):
    """One Ingress asks for one certificate."""

    secret: Secret
    entry_points: tuple[str, ...]


def check_secret(
    secret: Secret | None, name: str, ingress: ObjectReference, field: str
) -> Finding | None:
    """Say why an Ingress cannot use the Secret; the whole Ingress is skipped then."""
    if secret is None:
        return findings.TLS_SECRET_MISSING(ingress, field, secret=name)
    if secret.former is not None:
        return None
    for entry in (CERTIFICATE_ENTRY, KEY_ENTRY):
        if not secret.data.get(entry):
            return findings.TLS_SECRET_INCOMPLETE(ingress, field, secret=name, entry=entry)
        if not is_pem(secret.data[entry]):
            return findings.TLS_SECRET_NOT_PEM(ingress, field, secret=name, entry=entry)
    return None


class Chosen(NamedTuple):
    certificates: tuple[Certificate, ...]
    findings: tuple[Finding, ...]


def choose(wanted: Iterable[Wanted]) -> Chosen:
    """One certificate per Secret, entry points united; of two for the same names on one entry point
    the first in the order of namespace/name stays."""
    secrets: dict[tuple[str, str], tuple[Secret, set[str]]] = {}
    for wish in wanted:
        key = (wish.secret.namespace, wish.secret.name)
        secrets.setdefault(key, (wish.secret, set()))[1].update(wish.entry_points)
    certificates: list[Certificate] = []
    problems: list[Finding] = []
    holders: dict[tuple[str, tuple[str, ...]], str] = {}
    for secret, entry_points in (
        secrets[key] for key in sorted(secrets, key=lambda name: f"{name[0]}/{name[1]}")
    ):
        certificate, problem = _certificate(secret, entry_points, holders)
        if certificate is not None:
            certificates.append(certificate)
        if problem is not None:
            problems.append(problem)
    return Chosen(tuple(certificates), tuple(problems))


def _certificate(
    secret: Secret, entry_points: set[str], holders: dict[tuple[str, tuple[str, ...]], str]
) -> tuple[Certificate | None, Finding | None]:
    data = secret.data if secret.former is None else secret.former
    chain, key = data[CERTIFICATE_ENTRY], data[KEY_ENTRY]
    name = f"{secret.namespace}/{secret.name}"
    names = certificate_names(chain, key)
    if names.problem:
        kind = findings.CERTIFICATE_UNUSABLE
        return None, kind(secret.reference, "data", secret=name, reason=names.problem)
    taken = {e: holders[e, names.names] for e in entry_points if (e, names.names) in holders}
    free = tuple(sorted(entry_points - taken.keys()))
    for entry_point in free:
        holders[entry_point, names.names] = name
    problem = None
    if secret.former is not None:
        reason = trouble(secret.data)
        problem = findings.CERTIFICATE_KEPT(secret.reference, "data", secret=name, reason=reason)
    elif taken:
        problem = findings.CERTIFICATE_DUPLICATE(
            secret.reference,
            "data",
            secret=name,
            other=", ".join(sorted(set(taken.values()))),
            entry_points=", ".join(sorted(taken)),
        )
    return (Certificate(name, free, chain, key, names.names) if free else None), problem
