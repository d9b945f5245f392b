"""An exchange in memory, with attributes and rules of `fastproxy/engine/python/exchange.pyi`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Any

from fastproxy.counters.region import SharedRegion, create_region
from fastproxy.model.errors import TooLarge
from fastproxy.model.reply import Reply, Response

Headers = Sequence[tuple[str, str]]


@cache
def region() -> SharedRegion:
    """Counters of this test process."""
    return SharedRegion(create_region())


class MemoryExchange:
    """`backend` answers `forward`, `remote` answers `fetch`; both may raise."""

    def __init__(
        self,
        target: str = "/",
        *,
        method: str = "GET",
        headers: Headers = (),
        body: bytes = b"",
        path: str | None = None,
        backend: Callable[[MemoryExchange, bytes], Response] | None = None,
        remote: Callable[..., Response] | None = None,
        **values: Any,
    ) -> None:
        self.method = method
        self.target = target
        self.original_path, _, query = target.partition("?")
        self.path = self.original_path if path is None else path
        self.query = query if "?" in target else None
        self.scheme = "http"
        self.entry_point = "http"
        self.client_address = "192.0.2.7"
        self.client_certificates: tuple[bytes, ...] = ()
        self.route = "shop.example/cart"
        self.backend = "shop.example/cart"
        self.user = ""
        self.parent_secret = b"of this parent.."
        self.remembered: list[tuple[str, str | None]] = []
        self._headers = list(headers)
        self._body = body
        self._body_read = False
        self._backend = backend
        self._remote = remote
        for name, value in values.items():
            assert hasattr(self, name), name
            setattr(self, name, value)

    @property
    def host(self) -> str:
        return self.header("Host") or ""

    def remember_user(self, name: str) -> None:
        self.remembered.append((name, self.header("Authorization")))

    def remember_nonce(self, *values: object) -> None:
        pass

    def remember_headers(self, pairs: Headers) -> None:
        for name, value in pairs:
            self.set_header(name, value)

    def advance_nonce(self, nonce: bytes, count: int, issued: int, lifetime: int, now: int) -> bool:
        return region().nonce_advance(nonce, count, issued, lifetime, now)

    def header(self, name: str) -> str | None:
        return next(iter(self.headers(name)), None)

    def headers(self, name: str) -> list[str]:
        return [value for key, value in self._headers if key.lower() == name.lower()]

    def items(self) -> list[tuple[str, str]]:
        return list(self._headers)

    def set_header(self, name: str, value: str) -> None:
        self.remove_header(name)
        self.add_header(name, value)

    def add_header(self, name: str, value: str) -> None:
        assert not any(c in name + value for c in "\r\n\0"), "the engine refuses these"
        value.encode("latin-1")
        self._headers.append((name, value))

    def remove_header(self, name: str) -> None:
        self._headers = [(k, v) for k, v in self._headers if k.lower() != name.lower()]

    async def body(self, limit: int, memory: int = 1 << 20) -> bytes:
        await asyncio.sleep(0)
        if limit and len(self._body) > limit:
            raise TooLarge
        self._body_read = True
        return self._body

    async def forward(self, limit: int = 0, memory: int = 0) -> Response:
        await asyncio.sleep(0)
        assert self._body_read, "read the body before forwarding"
        assert self._backend is not None
        response = self._backend(self, self._body)
        if limit and len(response.body) > limit:
            raise TooLarge
        return response

    async def fetch(self, url: str, **request: Any) -> Response:
        await asyncio.sleep(0)
        assert self._remote is not None
        return self._remote(url, **request)


def run(result: Reply | Awaitable[Reply | None] | None) -> Reply | None:
    """What the engine does with the answer of a filter."""
    if inspect.isawaitable(result):
        return asyncio.run(_await(result))
    return result  # type: ignore[return-value]


async def _await(result: Awaitable[Reply | None]) -> Reply | None:
    return await result
