"""One request as Python sees it. Made only for routes that carry a Scripted operation."""

from collections.abc import Sequence
from typing import final

@final
class Reply:
    """An answer made by fastproxy itself."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]
    def __init__(
        self, status: int, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
    ) -> None: ...

@final
class Response:
    """A whole response of a backend (sub-requests, buffering)."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

@final
class ResponseHead:
    status: int
    def header(self, name: str) -> str | None: ...
    def set_header(self, name: str, value: str) -> None: ...
    def add_header(self, name: str, value: str) -> None: ...
    def remove_header(self, name: str) -> None: ...

@final
class Exchange:
    """Text is latin-1 throughout. Valid until the exchange ends; RuntimeError afterwards."""

    method: str
    target: str  # request target as received (origin form)
    path: str  # current path, normalised, after path operations; assignable, is re-normalised
    query: str | None
    host: str  # Host header as sent
    scheme: str  # "https" when the client connection is TLS
    entry_point: str
    client_address: str  # without port
    route: str
    backend: str
    user: str  # for the access log; assignable
    def header(self, name: str) -> str | None: ...
    def headers(self, name: str) -> list[str]: ...
    def items(self) -> list[tuple[str, str]]: ...
    def set_header(self, name: str, value: str) -> None: ...
    def add_header(self, name: str, value: str) -> None: ...
    def remove_header(self, name: str) -> None: ...
    async def body(self, limit: int) -> bytes:
        """The whole request body; raises `errors.TooLarge` above `limit` (0 = unlimited)."""
    async def forward(self) -> Response:
        """Run what stands behind this filter, up to the backend, and collect the response
        (`around` only). May be called again: the body must have been read."""
    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        timeout: float = 30.0,
        backend: str | None = None,
        limit: int = 1 << 20,
        tls: object | None = None,
    ) -> Response:
        """A sub-request through the engine's own client side; with `backend`, through that
        backend's balancer on this entry point. Raises `errors.BackendError`."""
