"""The objects of a large cluster: each Ingress has a Service, endpoints and maybe a certificate."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.kubernetes_objects import endpoint_slice, ingress, secret, service

Object = dict[str, Any]
Create = Callable[[str, Object], object]
NAMESPACE = "scale"


@dataclass(frozen=True)
class Size:
    ingresses: int = 5000
    endpoints: int = 20000
    certificates: int = 2000

    @property
    def per_service(self) -> int:
        return max(1, self.endpoints // self.ingresses)


def host(number: int) -> str:
    return f"h{number}.example"


def backend(number: int) -> str:
    """Name of the backend made from Ingress `number`."""
    return f"{host(number)}/"


def slice_of(number: int, size: Size, turn: int = 0) -> Object:
    """The endpoints of Service `number`; another `turn`, other addresses. Nobody answers there."""
    addresses = tuple(
        f"10.{200 + turn % 40}.{number // 200}.{1 + number % 200 if n == 0 else (number + n) % 250}"
        for n in range(size.per_service)
    )
    return endpoint_slice(f"s{number}", tuple(dict.fromkeys(addresses)), 8080, NAMESPACE)


def objects(size: Size) -> Iterator[tuple[str, Object]]:
    """All objects with their kinds; Ingresses last, as a cluster grows."""
    sign = authority()
    for number in range(size.certificates):
        yield "Secret", secret(f"c{number}", sign(host(number)), NAMESPACE, "kubernetes.io/tls")
    for number in range(size.ingresses):
        yield "Service", service(f"s{number}", namespace=NAMESPACE)
        yield "EndpointSlice", slice_of(number, size)
    for number in range(size.ingresses):
        yield "Ingress", ingress_of(number, size)


def ingress_of(number: int, size: Size) -> Object:
    return ingress(
        f"i{number}",
        host(number),
        service=f"s{number}" if number < size.ingresses else "s0",
        namespace=NAMESPACE,
        tls_secret=f"c{number}" if number < size.certificates else "",
    )


def authority() -> Callable[[str], dict[str, bytes]]:
    """Give a function that makes a certificate for a host; one key serves all, names differ."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    now = datetime.datetime.now(datetime.UTC)

    def sign(name: str) -> dict[str, bytes]:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        return {"tls.crt": certificate.public_bytes(serialization.Encoding.PEM), "tls.key": pem}

    return sign
