"""TLS for one worker: contexts and certificates. Connections are driven in C, see tls.pxd."""

from collections.abc import Sequence
from socket import socket
from typing import final

from fastproxy.tls_options import LoadedCertificate, TlsOptions

def load_certificate(name: str, chain: bytes, key: bytes) -> LoadedCertificate:
    """Read a PEM chain and key as they will be served.

    Raises ValueError with a sentence when either is unreadable or they do not belong together.
    Expiry is not looked at: an expired certificate is served, as in Traefik 1.7.
    """

@final
class ServerCertificate:
    """A certificate one worker can serve. Make one for each slot and keep it while the slot's value
    is equal: OpenSSL's form of it is made at the first handshake and shared by all generations."""

    def __init__(self, loaded: LoadedCertificate) -> None: ...
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
    def prepare(self, certificates: Sequence[ServerCertificate]) -> CertificateSet:
        """Index the certificates of Ingress TLS secrets together with those of the settings, which
        come first, as in Traefik 1.7. Sort by name, leave out duplicates
        (`tls_options.without_duplicates`)."""
    def activate(self, prepared: CertificateSet) -> None:
        """Serve these from the next handshake on. Open connections do not notice."""
    def set_ticket_keys(self, keys: Sequence[bytes]) -> None:
        """80 random bytes each, the same in all workers: the first makes new tickets, the others
        still open old ones. No keys: no tickets. A context starts with a key of its own."""

@final
class ClientContext:
    """TLS towards backends; one for each set of roots and client certificate."""

    def __init__(
        self,
        roots: Sequence[str] = (),
        *,
        insecure: bool = False,
        certificate: LoadedCertificate | None = None,
        sessions: int = 1024,
    ) -> None:
        """`roots` (paths or PEM texts) replace the system's. `insecure` verifies nothing.
        `certificate` is shown to backends that ask. `sessions` are kept for resumption.

        Raises OSError and ValueError for roots and certificates that cannot be read.
        """

@final
class Probe:
    """Only for tests: the C interface on one non-blocking socket, call for call.

    Codes are returned as words: "done", "closed", "want read", "want write", "failed".
    """

    def __init__(
        self,
        socket: socket,
        context: ServerContext | ClientContext,
        name: str = "",
        session_key: int = 0,
    ) -> None: ...
    def handshake(self) -> str: ...
    def read(self, size: int = 65536) -> bytes | str: ...
    def write(self, data: bytes) -> int | str: ...
    def writev(self, pieces: list[bytes]) -> int | str: ...
    def shutdown(self) -> str: ...
    @property
    def pending(self) -> bool: ...
    @property
    def failure(self) -> str: ...
    @property
    def error(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def server_name(self) -> str: ...
    @property
    def protocol(self) -> bytes: ...
    @property
    def version(self) -> str: ...
    @property
    def cipher(self) -> str: ...
    @property
    def resumed(self) -> bool: ...
    @property
    def peer_chain(self) -> list[bytes]: ...
