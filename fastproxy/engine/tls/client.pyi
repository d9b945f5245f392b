"""TLS of one worker towards backends. Connections are driven in C, see client.pxd."""

from collections.abc import Sequence
from typing import final

from fastproxy.model.configuration import Certificate

@final
class ClientContext:
    """TLS towards backends; one for each set of roots and client certificate."""

    def __init__(
        self,
        roots: Sequence[str] | None = None,
        *,
        insecure: bool = False,
        certificate: Certificate | None = None,
        sessions: int = 1024,
    ) -> None:
        """`roots` (paths or PEM texts) replace the system's; () trusts nobody.

        `insecure` verifies nothing.
        `certificate` is shown to backends that ask. `sessions` are kept for resumption.

        Raises OSError and ValueError for roots and certificates that cannot be read.
        """
