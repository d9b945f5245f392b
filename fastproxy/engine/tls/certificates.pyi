"""Certificates as a server holds them, indexed by name."""

from collections.abc import Sequence
from typing import final

from fastproxy.model.configuration import Certificate

def load_certificate(name: str, chain: bytes, key: bytes) -> Certificate:
    """Read a PEM chain and key as they will be served; the result belongs to no entry point.

    Raises ValueError with a sentence when either is unreadable or they do not belong together.
    Expiry is not looked at: an expired certificate is served, as in Traefik 1.7.
    """

@final
class ServerCertificate:
    """A certificate one worker can serve. Make one for each slot and keep it while the slot's value
    is equal: OpenSSL's form of it is made at the first handshake and shared by all generations."""

    def __init__(self, certificate: Certificate) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def parsed(self) -> bool: ...

@final
class CertificateSet:
    """The certificates of one entry point in one generation, indexed by name."""

    def __init__(
        self, certificates: Sequence[ServerCertificate], default: ServerCertificate | None = None
    ) -> None:
        """Where two certificates have a name in common, it belongs to the first."""
    def __len__(self) -> int:
        """How many names there are."""
    def choose(self, name: str) -> ServerCertificate | None:
        """What a client asking for `name` is served, `None` for the default (or refusal)."""
