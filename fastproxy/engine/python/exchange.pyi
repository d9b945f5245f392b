"""One request as Python sees it. Made only for routes that carry a Scripted operation."""

from collections.abc import Sequence
from typing import final

from fastproxy.model.reply import Reply as Reply
from fastproxy.model.reply import Response as Response

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
    original_path: str  # normalised path before path operations
    query: str | None
    host: str  # Host header as sent
    scheme: str  # "https" when the client connection is TLS
    entry_point: str
    client_address: str  # without port
    client_certificates: tuple[bytes, ...]  # DER, as presented and verified; () without
    route: str
    backend: str
    user: str  # for the access log; assignable
    parent_secret: bytes  # random, the same in all workers of one parent process, and in no other
    def header(self, name: str) -> str | None: ...
    def headers(self, name: str) -> list[str]: ...
    def items(self) -> list[tuple[str, str]]: ...
    def set_header(self, name: str, value: str) -> None: ...
    def add_header(self, name: str, value: str) -> None: ...
    def remove_header(self, name: str) -> None: ...
    def advance_nonce(self, nonce: bytes, count: int, issued: int, lifetime: int, now: int) -> bool:
        """Whether this count of a digest nonce is above all it has come with, on whatever worker;
        times in seconds of one clock."""
    def remember_user(self, name: str) -> None:
        """Admit later requests with the same Authorization without asking this filter, by the
        `RememberedUser` operation in front of it. Before the header is removed."""
    def remember_nonce(
        self, nonce: bytes, user: bytes, secret: bytes, opaque: bytes, issued: int
    ) -> None:
        """Admit later requests with this nonce (issued in that second) and opaque of this user,
        whose HA1 is `secret`, by the `RememberedNonce` operation in front of this filter."""
    def remember_headers(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Set header fields, on this request and, by a `RememberedHeaders` operation in front of
        this filter, on all later ones of the connection. Only for what the connection decides."""
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
