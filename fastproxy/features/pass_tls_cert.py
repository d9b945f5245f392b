"""Offer https endpoints the entry point's own certificates (deprecated).

It does not forward the client's certificate; see `pass-client-tls-cert` for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastproxy.annotation_values import boolean
from fastproxy.engine.operations.writer import OfferEntryPointCertificate, Operation
from fastproxy.feature import (
    Annotation,
    BuildContext,
    Feature,
    Invalid,
    Notes,
    OnInvalid,
    Refs,
    Scope,
)
from fastproxy.model.configuration import Config

PASS_TLS_CERT: Annotation[bool | None] = Annotation(
    name="pass-tls-cert",
    parse=boolean,
    default=None,
    doc="Deprecated. Use the entry point's certificates as client certificates for https "
    "endpoints; default: `enablePassTLSCert`. Not served on entry points without TLS.",
    example="true",
    aliases=("traefik.frontend.passTLSCert",),
    public=True,
)


@dataclass(frozen=True, slots=True)
class PassTlsCert(Config):
    pass


def read(notes: Notes, refs: Refs) -> PassTlsCert | None:
    enabled = notes.get(PASS_TLS_CERT)
    if enabled is None:
        enabled = refs.enable_pass_tls_cert
    return PassTlsCert() if enabled else None


def build(config: PassTlsCert, context: BuildContext) -> Sequence[Operation]:
    entry_point = context.entry_points.get(context.entry_point)
    if entry_point is None or entry_point.tls is None:
        raise Invalid(
            PASS_TLS_CERT.name,
            f"the entry point {context.entry_point} has no TLS, hence no certificate to pass; "
            "choose TLS entry points with frontend-entry-points",
            OnInvalid.DROP,
        )
    return [OfferEntryPointCertificate()]


FEATURE = Feature(
    name="Pass TLS certificate",
    scope=Scope.INGRESS,
    annotations=(PASS_TLS_CERT,),
    read=read,
    on_invalid=OnInvalid.DEFAULT,
    config=PassTlsCert,
    build=build,
    doc=__doc__ or "",
)
