"""Client certificate headers: annotations -> configuration, operations, header values."""

from __future__ import annotations

import datetime
import ipaddress
from urllib.parse import quote_plus, unquote, unquote_plus

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fastproxy.engine.operations.writer import EditRequestHeaders, RememberedHeaders, Scripted
from fastproxy.feature import OnInvalid
from fastproxy.features.client_cert import (
    FEATURE,
    INFOS_HEADER,
    PEM_HEADER,
    Infos,
    Name,
    PassClientCert,
    infos_value,
    pem_value,
)
from fastproxy.settings.options import ClientCa, EntryPoint, EntryPointTls
from tests.support.exchange import MemoryExchange
from tests.support.features import Bad, assert_outcome, context, outcome

READ = [
    ({}, None),
    ({"pass-client-tls-cert": ""}, PassClientCert()),
    ({"pass-client-tls-cert": "pem: yes"}, PassClientCert(True)),
    ({"pass-client-tls-cert": "infos: {}"}, PassClientCert(False, Infos())),
    ({"pass-client-tls-cert": "infos:"}, PassClientCert()),
    (
        {"pass-client-tls-cert": "infos: {sans: true, subject: {commonname: true, colour: 1}}"},
        PassClientCert(False, Infos(sans=True, subject=Name(commonname=True))),
    ),
    (  # FIX 21: the issuer has flags of its own
        {"pass-client-tls-cert": "infos: {notafter: on, issuer: {organization: true}}"},
        PassClientCert(False, Infos(notafter=True, issuer=Name(organization=True))),
    ),
    ({"pass-client-tls-cert": "pem: maybe"}, Bad(OnInvalid.OFF, "boolean")),
    ({"pass-client-tls-cert": "infos: all"}, Bad(OnInvalid.OFF, "mapping")),
    ({"pass-client-tls-cert": "pem: ["}, Bad(OnInvalid.OFF, "YAML")),
]


@pytest.mark.parametrize(("annotations", "expected"), READ)
def test_annotations_become_configurations(annotations, expected):
    assert_outcome(outcome(FEATURE, annotations), expected)


REMOVAL = EditRequestHeaders(((PEM_HEADER.encode(), b""), (INFOS_HEADER.encode(), b"")))
POINTS = [
    (EntryPoint(":80"), False),
    (EntryPoint(":443", tls=EntryPointTls()), False),
    (EntryPoint(":443", tls=EntryPointTls(client_ca=ClientCa(("ca.pem",)))), True),
    (EntryPoint(":443", tls=EntryPointTls(client_ca_files=("ca.pem",))), True),
]


@pytest.mark.parametrize(("entry_point", "fires"), POINTS)
def test_the_headers_are_always_removed_first(entry_point, fires):
    config = PassClientCert(True)
    expected = [REMOVAL, RememberedHeaders(config), Scripted(config=config)]
    if not fires:
        expected = [REMOVAL]
    assert FEATURE.build(config, context(entry_points={"http": entry_point})) == expected


NOT_BEFORE = datetime.datetime.fromtimestamp(1544094636, datetime.UTC)
NOT_AFTER = datetime.datetime.fromtimestamp(1632568236, datetime.UTC)
OID = {
    "DC": NameOID.DOMAIN_COMPONENT,
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "SN": NameOID.SERIAL_NUMBER,
    "CN": NameOID.COMMON_NAME,
}


def certificate(subject, issuer=(("CN", "ca"),), names=()):
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(OID[k], v) for k, v in subject]))
        .issuer_name(x509.Name([x509.NameAttribute(OID[k], v) for k, v in issuer]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


CHEESE = certificate(
    [("O", "Cheese"), ("C", "FR")],
    names=[x509.IPAddress(ipaddress.ip_address("10.0.1.0")), x509.DNSName("*.cheese.org")],
)
ALL = Name(True, True, True, True, True, True, True)
FULL = certificate(
    [
        ("CN", "first"),
        ("CN", "last"),
        ("DC", "org"),
        ("DC", "cheese"),
        ("C", "FR"),
        ("C", "US"),
        ("ST", "Bretagne"),
        ("L", "Brest, port"),
        ("O", "A"),
        ("O", "B"),
        ("SN", "7"),
    ],
    names=[
        x509.UniformResourceIdentifier("https://u.example"),
        x509.RFC822Name("a@b.example"),
        x509.DNSName("d.example"),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
    ],
)


def test_the_vector_of_traefik():
    infos = Infos(True, True, True, Name(country=True, organization=True))
    assert infos_value([CHEESE], infos) == (
        "Subject%3D%22C%3DFR%2CO%3DCheese%22%2CNB%3D1544094636%2CNA%3D1632568236"
        "%2CSAN%3D%2A.cheese.org%2C10.0.1.0"
    )


TEXTS = [
    ([FULL], Infos(subject=ALL), 'Subject="DC=org,DC=cheese,C=FR,C=US,ST=Bretagne,L=Brest, port,'
     'O=A,O=B,SN=7,CN=last"'),
    ([FULL], Infos(sans=True), "SAN=d.example,a@b.example,2001:db8::1,https://u.example"),
    ([FULL], Infos(issuer=ALL), 'Issuer="CN=ca"'),
    ([FULL], Infos(), ""),
    ([FULL], Infos(subject=Name(serialnumber=True)), 'Subject="SN=7"'),
    ([CHEESE], Infos(subject=Name(locality=True), notbefore=True), "NB=1544094636"),
    ([certificate([("CN", "x")])], Infos(sans=True), "SAN="),
    ([CHEESE, FULL], Infos(subject=Name(country=True)), 'Subject="C=FR";Subject="C=FR,C=US"'),
    ([b"rubbish", CHEESE], Infos(subject=Name(country=True)), 'Subject="C=FR"'),
]  # fmt: skip


@pytest.mark.parametrize(("chain", "infos", "text"), TEXTS)
def test_infos(chain, infos, text):
    assert unquote_plus(infos_value(chain, infos)) == text
    assert infos_value(chain, infos) == quote_plus(text, safe="")


def test_pem_is_the_base64_of_every_certificate():
    value = pem_value([CHEESE, FULL])
    assert not set(value) & set("+/=\n ")
    for der, part in zip([CHEESE, FULL], value.split(","), strict=True):
        pem = f"-----BEGIN CERTIFICATE-----\n{unquote(part)}\n-----END CERTIFICATE-----\n"
        loaded = x509.load_pem_x509_certificate(pem.encode())
        assert loaded.public_bytes(serialization.Encoding.DER) == der


def test_the_filter_sets_the_headers_only_with_a_certificate():
    live = FEATURE.filter(PassClientCert(True, Infos()))
    bare = MemoryExchange()
    live.on_request(bare)
    assert bare.items() == []
    mutual = MemoryExchange(client_certificates=(CHEESE,))
    live.on_request(mutual)
    assert mutual.items() == [(PEM_HEADER, pem_value([CHEESE])), (INFOS_HEADER, "")]
