"""TLS with clients of one worker. Connections are driven in C, see server.pxd."""

from collections.abc import Sequence
from typing import final

from fastproxy.engine.tls.certificates import CertificateSet, ServerCertificate
from fastproxy.model.configuration import Certificate
from fastproxy.settings.tls_options import TlsOptions

@final
class ServerContext:
    """TLS of one entry point. Lives as long as the worker; only its certificates change."""

    def __init__(self, options: TlsOptions) -> None:
        """Reads the files named in the options.

        Raises ValueError (unknown or unavailable cipher suites, no certificate in a clientCA file)
        and OSError (clientCA file). An unusable certificate is a warning.
        """
    @property
    def warnings(self) -> tuple[str, ...]: ...
    @property
    def own_certificate(self) -> Certificate | None:
        """The first usable certificate of the settings, else None."""
    def prepare(self, certificates: Sequence[ServerCertificate]) -> CertificateSet:
        """Index the certificates of Ingress TLS secrets together with those of the settings, which
        come first, as in Traefik 1.7. The controller
        has sorted them and left out duplicates."""
    def activate(self, prepared: CertificateSet) -> None:
        """Serve these from the next handshake on. Open connections do not notice."""
    def set_ticket_keys(self, keys: Sequence[bytes]) -> None:
        """80 random bytes each, the same in all workers: the first makes new tickets, the others
        still open old ones. No keys: no tickets. A context starts with a key of its own."""
