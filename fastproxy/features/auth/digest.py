"""Digest authentication (RFC 2617, MD5, qop=auth).

A nonce is 12 bytes: the time, three random bytes and a keyed digest of both, so that every worker
recognises the nonces of all; the key is made of the users' secrets. The highest count each nonce
has come with stands in memory shared by all workers, so that no request is accepted twice. The
table forgets what was used longest ago and then refuses nonces of that time; nonces end after a
day. The engine remembers the nonces of requests that were admitted, and checks later requests with
them by itself (`engine/digest.pyx`); what it does not admit comes here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from fastproxy.feature import Filter
from fastproxy.features.auth.config import REALM, Auth, Digest, admit, unauthorized
from fastproxy.reply import Reply

if TYPE_CHECKING:
    from fastproxy.engine.exchange import Exchange

LIFETIME = 24 * 3600  # seconds

PARAMETER = re.compile(r'\s*([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))\s*(?:,|\Z)')
COUNT = re.compile(r"0*[0-9A-Fa-f]{1,8}")  # RFC 2617: eight digits


def md5_hex(*parts: bytes) -> bytes:
    return hashlib.md5(b":".join(parts), usedforsecurity=False).hexdigest().encode()


class Nonces:
    """Issues nonces and recognises them."""

    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._clock = clock

    def issue(self) -> str:
        start = self.now().to_bytes(4, "big") + secrets.token_bytes(3)
        return base64.b64encode(start + self._seal(start)).decode()

    def _seal(self, start: bytes) -> bytes:
        return hashlib.blake2b(start, key=self._key, digest_size=5).digest()

    def issued(self, nonce: str) -> int | None:
        """When a nonce was made, in seconds; None for one that is not ours or has ended."""
        try:
            data = base64.b64decode(nonce, validate=True)
        except (binascii.Error, ValueError):
            return None
        if len(data) != 12 or not hmac.compare_digest(self._seal(data[:7]), data[7:]):
            return None
        start = int.from_bytes(data[:4], "big")
        return start if abs(self.now() - start) <= LIFETIME else None

    def now(self) -> int:
        return int(self._clock())


class DigestAuth(Filter):
    __slots__ = ("_config", "_dummy", "_nonces", "_opaque", "_users")

    def __init__(self, config: Auth, clock: Callable[[], float] = time.time) -> None:
        assert isinstance(config.method, Digest)
        self._config = config
        self._users = dict(config.method.users)
        self._dummy = secrets.token_hex(16).encode()
        secret = b"\n".join(user + b":" + stored for user, stored in config.method.users)
        key = hashlib.blake2b(secret, person=b"fastproxy nonce").digest()
        self._nonces = Nonces(key, clock)
        opaque = hashlib.blake2b(secret, person=b"fp opaque", key=key, digest_size=12).digest()
        self._opaque = base64.b64encode(opaque).decode()

    def on_request(self, exchange: Exchange) -> Reply | None:
        user = self._user(exchange)
        if user is None:
            return unauthorized(
                f'Digest realm="{REALM}", nonce="{self._nonces.issue()}", '
                f'opaque="{self._opaque}", algorithm="MD5", qop="auth"'
            )
        admit(self._config, exchange, user)
        return None

    def _user(self, exchange: Exchange) -> bytes | None:
        """The name of an authenticated user. An unknown user never is (FIX 19)."""
        given = parameters(exchange.header("Authorization"))
        if (
            given is None
            or given.get("opaque") != self._opaque
            or given.get("algorithm", "MD5") != "MD5"
            or given.get("qop") != "auth"
            or not COUNT.fullmatch(given.get("nc", ""))
            or not same_target(given.get("uri", ""), exchange)
        ):
            return None
        user, nonce = given.get("username", "").encode("latin-1"), given.get("nonce", "")
        stored = self._users.get(user, self._dummy)
        expected = md5_hex(
            stored,
            *(given.get(name, "").encode("latin-1") for name in ("nonce", "nc", "cnonce", "qop")),
            md5_hex(exchange.method.encode("latin-1"), given.get("uri", "").encode("latin-1")),
        )
        right = hmac.compare_digest(expected, given.get("response", "").encode("latin-1"))
        issued = self._nonces.issued(nonce)
        if not right or user not in self._users or issued is None:
            return None
        fresh = exchange.advance_nonce(
            nonce.encode(), int(given["nc"], 16), issued, LIFETIME, self._nonces.now()
        )
        if not fresh:
            return None
        exchange.remember_nonce(nonce.encode(), user, stored, self._opaque.encode(), issued)
        return user


def parameters(header: str | None) -> dict[str, str] | None:
    """The parameters of a `Digest` Authorization header; None for anything else."""
    scheme, _, rest = (header or "").partition(" ")
    if scheme != "Digest":
        return None
    found: dict[str, str] = {}
    position = 0
    while match := PARAMETER.match(rest, position):
        quoted = match[2]
        value = match[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        found[match[1].lower()] = value
        position = match.end()
    return None if rest[position:].strip() else found


def same_target(uri: str, exchange: Exchange) -> bool:
    """Whether the signed URI is the request's, or its path a prefix of the request's path; both
    as the client sent them (FIX 19)."""
    if uri == exchange.target:
        return True
    path = re.sub(r"\A[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*", "", uri).partition("?")[0]
    sent = exchange.target.partition("?")[0]
    return unquote_to_bytes(sent).startswith(unquote_to_bytes(path))
