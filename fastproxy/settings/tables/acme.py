"""What is left of `[acme]`: where the certificates are that Traefik 1.7 has fetched."""

from __future__ import annotations

from dataclasses import dataclass

from fastproxy.settings.declare import hidden, ignored, option


@dataclass(frozen=True, slots=True)
class AcmeCertificate:
    """One certificate of an `acme.json`: what it is for, and until when (`2027-01-31`)."""

    names: tuple[str, ...]
    until: str
    expired: bool


@dataclass(frozen=True, slots=True)
class Acme:
    """Only where the certificates are that Traefik 1.7 has fetched; none is fetched here."""

    storage: str = option("", "the file with its certificates, of Traefik 1.7 or older; only read")
    storage_file: str = option("", "deprecated form of `storage`")
    entry_point: str = option("", "entry point with TLS that serves the certificates")
    email: object = ignored()
    on_demand: object = ignored()
    on_host_rule: object = ignored()
    ca_server: object = ignored()
    key_type: object = ignored()
    dns_challenge: object = ignored()
    http_challenge: object = ignored()
    tls_challenge: object = ignored()
    dns_provider: object = ignored()
    delay_dont_check_dns: object = ignored(key="delayDontCheckDNS")
    domains: object = ignored()
    acme_logging: object = ignored()
    override_certificates: object = ignored()
    tls_config: object = ignored()
    certificates: tuple[AcmeCertificate, ...] = hidden(())
