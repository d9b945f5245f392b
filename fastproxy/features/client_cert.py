"""Tell the backend about the client's TLS certificate in two headers.

Both headers are always removed from the client's request first; they are set when the client
presented certificates, which needs `clientCA` on the entry point (`features.md` 3.12).
"""

from __future__ import annotations

import base64
import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from cryptography import x509
from cryptography.x509.oid import NameOID

from fastproxy.annotation_values import mapping, read_field, yaml_boolean, yaml_mapping
from fastproxy.engine.operations.writer import (
    EditRequestHeaders,
    Operation,
    RememberedHeaders,
    Scripted,
)
from fastproxy.feature import (
    Annotation,
    BuildContext,
    Feature,
    Filter,
    Notes,
    OnInvalid,
    Refs,
    Scope,
)
from fastproxy.model.configuration import Config

if TYPE_CHECKING:
    from fastproxy.engine.python.exchange import Exchange

log = logging.getLogger(__name__)

PEM_HEADER = "X-Forwarded-Tls-Client-Cert"
INFOS_HEADER = "X-Forwarded-Tls-Client-Cert-Infos"


@dataclass(frozen=True, slots=True)
class Name:
    """Which parts of a distinguished name to show."""

    country: bool = False
    province: bool = False
    locality: bool = False
    organization: bool = False
    commonname: bool = False
    serialnumber: bool = False
    domaincomponent: bool = False


@dataclass(frozen=True, slots=True)
class Infos:
    notbefore: bool = False
    notafter: bool = False
    sans: bool = False
    subject: Name = Name()
    issuer: Name = Name()


@dataclass(frozen=True, slots=True)
class PassClientCert(Config):
    pem: bool = False
    infos: Infos | None = None


def name_flags(node: object, what: str) -> Name:
    found = mapping(node, what)
    return Name(**{f.name: read_field(found, f.name, yaml_boolean, False) for f in fields(Name)})


def infos_flags(node: object, what: str) -> Infos | None:
    if isinstance(node, str):
        mapping(node, what)  # refuses everything but null
        return None
    found = mapping(node, what)
    return Infos(
        notbefore=read_field(found, "notbefore", yaml_boolean, False),
        notafter=read_field(found, "notafter", yaml_boolean, False),
        sans=read_field(found, "sans", yaml_boolean, False),
        subject=read_field(found, "subject", name_flags, Name()),
        issuer=read_field(found, "issuer", name_flags, Name()),
    )


def pass_client_cert(value: str) -> PassClientCert:
    found: Mapping[str, Any] = yaml_mapping(value)
    return PassClientCert(
        read_field(found, "pem", yaml_boolean, False),
        read_field(found, "infos", infos_flags, None),
    )


PASS_CLIENT_CERT = Annotation(
    name="pass-client-tls-cert",
    parse=pass_client_cert,
    default=PassClientCert(),
    doc="YAML: `pem: true` passes the certificate in X-Forwarded-Tls-Client-Cert, `infos` chosen "
    "fields of it in X-Forwarded-Tls-Client-Cert-Infos.",
    example=(
        "pem: true\n"
        "infos:\n"
        "  notbefore: true\n"
        "  notafter: true\n"
        "  sans: true\n"
        "  subject: {country: true, organization: true, commonname: true}\n"
        "  issuer: {commonname: true}\n"
    ),
    on_invalid=OnInvalid.OFF,
    keys_inside={
        "pem": None,
        "infos": {
            **dict.fromkeys(f.name for f in fields(Infos)),
            "subject": dict.fromkeys(f.name for f in fields(Name)),
            "issuer": dict.fromkeys(f.name for f in fields(Name)),
        },
    },
    public=True,
)


def read(notes: Notes, refs: Refs) -> PassClientCert | None:
    return notes.get(PASS_CLIENT_CERT) if notes.has(PASS_CLIENT_CERT) else None


def build(config: PassClientCert, context: BuildContext) -> Sequence[Operation]:
    removal = EditRequestHeaders(((PEM_HEADER.encode(), b""), (INFOS_HEADER.encode(), b"")))
    entry_point = context.entry_points.get(context.entry_point)
    tls = entry_point.tls if entry_point is not None else None
    if tls is None or not (tls.client_ca or tls.client_ca_files):
        context.warn(
            PASS_CLIENT_CERT.name,
            f"the entry point {context.entry_point} asks no client for a certificate; give it "
            "tls.clientCA",
        )
        return [removal]
    return [removal, RememberedHeaders(config), Scripted(config=config)]


def pem_value(chain: Sequence[bytes]) -> str:
    """DER certificates -> base64 without PEM armour, query-escaped, joined by commas."""
    return ",".join(quote(base64.b64encode(der).decode(), safe="") for der in chain)


def infos_value(chain: Sequence[bytes], infos: Infos) -> str:
    """DER certificates -> the chosen fields, query-escaped; an unreadable certificate is left
    out."""
    texts = []
    for der in chain:
        try:
            texts.append(infos_text(x509.load_der_x509_certificate(der), infos))
        except ValueError:
            log.warning("a client certificate cannot be read for %s", INFOS_HEADER)
    return quote_plus(";".join(texts), safe="")


def infos_text(certificate: x509.Certificate, infos: Infos) -> str:
    parts = []
    if subject := name_text(certificate.subject, infos.subject):
        parts.append(f'Subject="{subject}"')
    if issuer := name_text(certificate.issuer, infos.issuer):
        parts.append(f'Issuer="{issuer}"')
    if infos.notbefore:
        parts.append(f"NB={int(certificate.not_valid_before_utc.timestamp())}")
    if infos.notafter:
        parts.append(f"NA={int(certificate.not_valid_after_utc.timestamp())}")
    if infos.sans:
        parts.append(f"SAN={','.join(alternative_names(certificate))}")
    return ",".join(parts)


def name_text(name: x509.Name, flags: Name) -> str:
    def values(key: str, oid: x509.ObjectIdentifier, wanted: bool) -> list[str]:
        found = [text(a.value) for a in name.get_attributes_for_oid(oid)] if wanted else []
        return [f"{key}={value}" for value in found if value]

    # Go keeps only the last SERIALNUMBER and the last CN.
    return ",".join(
        [
            *values("DC", NameOID.DOMAIN_COMPONENT, flags.domaincomponent),
            *values("C", NameOID.COUNTRY_NAME, flags.country),
            *values("ST", NameOID.STATE_OR_PROVINCE_NAME, flags.province),
            *values("L", NameOID.LOCALITY_NAME, flags.locality),
            *values("O", NameOID.ORGANIZATION_NAME, flags.organization),
            *values("SN", NameOID.SERIAL_NUMBER, flags.serialnumber)[-1:],
            *values("CN", NameOID.COMMON_NAME, flags.commonname)[-1:],
        ]
    )


def text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def alternative_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    kinds = (x509.DNSName, x509.RFC822Name, x509.IPAddress, x509.UniformResourceIdentifier)
    return [str(value) for kind in kinds for value in names.get_values_for_type(kind)]


@functools.lru_cache(maxsize=256)
def values_of(config: PassClientCert, chain: tuple[bytes, ...]) -> tuple[tuple[str, str], ...]:
    headers = []
    if config.pem:
        headers.append((PEM_HEADER, pem_value(chain)))
    if config.infos is not None:
        headers.append((INFOS_HEADER, infos_value(chain, config.infos)))
    return tuple(headers)


class CertificateHeaders(Filter):
    """Called once for each connection: the removal, and the headers of later requests, are native
    operations in front of this filter."""

    __slots__ = ("_config",)

    def __init__(self, config: PassClientCert) -> None:
        self._config = config

    def on_request(self, exchange: Exchange) -> None:
        chain = exchange.client_certificates
        exchange.remember_headers(values_of(self._config, tuple(chain)) if chain else ())


FEATURE = Feature(
    name="Client certificate headers",
    scope=Scope.INGRESS,
    annotations=(PASS_CLIENT_CERT,),
    read=read,
    on_invalid=OnInvalid.OFF,
    config=PassClientCert,
    build=build,
    filter=CertificateHeaders,
    doc=__doc__ or "",
)
