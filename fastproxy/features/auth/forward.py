"""Forward authentication: ask another server whether the request may pass.

The engine asks (`engine/exchange/forward_auth.pyx`), and the filter makes the reply of an answer
that refuses. What the engine leaves to it the filter asks by itself, in the same words: while the
server's name has no address, and behind another filter in Python.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from fastproxy.engine.operations.writer import QUESTION_SECONDS, AskServer
from fastproxy.feature import Filter
from fastproxy.features.auth.config import Auth, Forward, remove_spellings
from fastproxy.model.configuration import endpoint_of
from fastproxy.model.errors import ProxyError
from fastproxy.model.paths import request_target
from fastproxy.model.reply import CONDITIONS, FRAMING, Reply, Response
from fastproxy.model.urls import ascii_host, location_bytes, with_path

if TYPE_CHECKING:
    from fastproxy.engine.python.exchange import Exchange

LIMIT = 1 << 20  # bytes of the answer

# What Traefik 1.7 takes out of the copy, and what only made sense on the client's own message.
DROPPED = FRAMING | CONDITIONS | {"host", "expect"}
SPOKEN_FOR = {
    "x-forwarded-for",
    "x-forwarded-method",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-uri",
}
FAILED = Reply(500)


class ForwardAuth(Filter):
    __slots__ = ("_credentials", "_forward", "_url", "asks")

    def __init__(self, config: Auth) -> None:
        assert isinstance(config.method, Forward)
        self._forward = config.method
        self._url, self._credentials = parts_of(config.method.url)
        scheme, authority, _ = split(self._url)
        self.asks = (endpoint_of(scheme, authority), config.method.tls)

    async def on_request(self, exchange: Exchange) -> Reply | None:
        try:
            headers = request_headers(exchange, self._forward.trust)
            if self._credentials and exchange.header("Authorization") is None:
                headers.append(("Authorization", self._credentials))
            answer = await exchange.fetch(
                self._url,
                headers=headers,
                timeout=QUESTION_SECONDS,
                limit=LIMIT,
                tls=self._forward.tls,
            )
        except ProxyError:
            return FAILED
        if 200 <= answer.status < 300:
            copy_headers(exchange, answer, self._forward.response_headers)
            return None
        return self.on_refusal(answer)

    def on_refusal(self, answer: Response) -> Reply:
        return refusal(answer, self._url)


def question(config: Auth) -> list[AskServer]:
    """The operation that asks in front of the filter; none for a URL that only the filter can ask,
    which then fails."""
    forward = config.method
    assert isinstance(forward, Forward)
    try:
        url, credentials = parts_of(forward.url)
        _, authority, path = split(url)
        start = f"GET {path} HTTP/1.1\r\nHost: {authority}\r\n".encode("latin-1")
        names = tuple(name.encode("latin-1") for name in forward.response_headers)
    except ValueError:
        return []
    if any(ord(char) <= 32 for char in path + authority):
        return []
    return [AskServer(config, forward.trust, start, credentials.encode(), names)]


def split(url: str) -> tuple[str, str, str]:
    """Scheme, authority and target of a URL from `parts_of`."""
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    return scheme, authority, f"/{path}"


def parts_of(url: str) -> tuple[str, str]:
    """The URL as it is asked, with a path and neither user nor fragment, and the Authorization its
    user stands for (empty: none; Go's client sends it when the request has none of its own)."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    host = ascii_host(host)
    credentials = ""
    if at:
        name, _, password = user.partition(":")
        pair = unquote_to_bytes(name) + b":" + unquote_to_bytes(password)
        credentials = f"Basic {base64.b64encode(pair).decode()}"
    query = f"?{parts.query}" if parts.query else ""
    target = request_target(f"{parts.path or '/'}{query}")
    return f"{parts.scheme}://{host}{target}", credentials


def request_headers(exchange: Exchange, trust: bool) -> list[tuple[str, str]]:
    headers = []
    existing: dict[str, list[str]] = {}
    for name, value in exchange.items():
        lower = name.lower()
        plain = lower.replace("_", "-")
        if plain in SPOKEN_FOR:
            # Only the real spelling is ever believed.
            if lower == plain:
                existing.setdefault(plain, []).append(value)
        elif lower not in DROPPED:
            headers.append((name, value))

    def spoken(name: str, value: str) -> None:
        found = existing.get(name.lower()) if trust else None
        if found or value:
            headers.append((name, found[0] if found else value))

    prior = existing.get("x-forwarded-for", []) if trust else []
    headers.append(("X-Forwarded-For", ", ".join([*prior, exchange.client_address])))
    spoken("X-Forwarded-Method", exchange.method)
    spoken("X-Forwarded-Proto", exchange.scheme)
    spoken("X-Forwarded-Host", exchange.host)
    spoken("X-Forwarded-Uri", exchange.target)  # as received, not as rewritten (FIX 20)
    return headers


def copy_headers(exchange: Exchange, answer: Response, names: tuple[str, ...]) -> None:
    for name in names:
        remove_spellings(exchange, name)
        for key, value in answer.headers:
            if key.lower() == name.lower():
                exchange.add_header(name, value)


def refusal(answer: Response, url: str) -> Reply:
    headers = []
    for name, value in answer.headers:
        if name.lower() == "location" and value:
            location = with_path(value.encode("latin-1"), None)
            if location is None:
                return FAILED
            try:
                value = urljoin(url, location_bytes(location).decode("ascii"))
            except ValueError:
                return FAILED
        if name.lower() not in FRAMING:
            headers.append((name, value))
    return Reply(answer.status, answer.body, headers)
