"""Digest authentication (RFC 2617, MD5, qop=auth).

A nonce is 12 bytes: the time, three random bytes and a keyed digest of both, so that every worker
recognises the nonces of all. The key is made of the users' secrets and of a random one which the
workers of one parent share. Of the users' secrets alone it would be the same for another parent,
whose workers do not know the counts; and whoever is shown a nonce could try passwords against it
at home.

The highest count each nonce has come with stands in memory shared by all workers, so that no
request is accepted twice. The table forgets what was used longest ago and then refuses nonces of
that time; nonces end after a day. The engine remembers the nonces of requests that were admitted,
and checks later requests with them by itself (`engine/operations/digest.pyx`); what it does not
admit comes here.

Who knows the password and comes with a nonce that is not accepted - of another replica or from
before a restart, used, ended - is told so by `stale=true`, and his client tries again without
asking him (RFC 2617, 3.2.1).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from fastproxy.feature import Filter
from fastproxy.features.auth.config import REALM, Auth, Digest, admit, unauthorized
from fastproxy.model.reply import Reply

if TYPE_CHECKING:
    from fastproxy.engine.python.exchange import Exchange

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


class Realm:
    """The nonces of one users file, and its opaque, as one parent's workers make them."""

    def __init__(
        self, users: Sequence[tuple[bytes, bytes]], secret: bytes, clock: Callable[[], float]
    ) -> None:
        listed = b"\n".join(user + b":" + stored for user, stored in users)
        key = hashlib.blake2b(listed, key=secret, person=b"fastproxy nonce").digest()
        opaque = hashlib.blake2b(listed, key=key, person=b"fp opaque", digest_size=12).digest()
        self.nonces = Nonces(key, clock)
        self.opaque = base64.b64encode(opaque).decode()


class DigestAuth(Filter):
    __slots__ = ("_clock", "_config", "_dummy", "_realm", "_users")

    def __init__(self, config: Auth, clock: Callable[[], float] = time.time) -> None:
        assert isinstance(config.method, Digest)
        self._config = config
        self._users = dict(config.method.users)
        self._dummy = secrets.token_hex(16).encode()
        self._clock = clock
        self._realm: Realm | None = None

    def on_request(self, exchange: Exchange) -> Reply | None:
        if self._realm is None:
            users = [*self._users.items()]
            self._realm = Realm(users, exchange.parent_secret, self._clock)
        given = parameters(exchange.header("Authorization"))
        user = None if given is None else self._knows(exchange, given)
        if given is not None and user is not None and self._accepts(exchange, given, user):
            admit(self._config, exchange, user)
            return None
        return unauthorized(
            f'Digest realm="{REALM}", nonce="{self._realm.nonces.issue()}", '
            f'opaque="{self._realm.opaque}", algorithm="MD5", qop="auth"'
            + ("" if user is None else ", stale=true")
        )

    def _knows(self, exchange: Exchange, given: Mapping[str, str]) -> bytes | None:
        """The name of a user who shows that he knows the password, with whatever nonce. An unknown
        user never does (FIX 19)."""
        if (
            given.get("algorithm", "MD5") != "MD5"
            or given.get("qop") != "auth"
            or not COUNT.fullmatch(given.get("nc", ""))
            or not same_target(given.get("uri", ""), exchange)
        ):
            return None
        user = given.get("username", "").encode("latin-1")
        stored = self._users.get(user, self._dummy)
        expected = md5_hex(
            stored,
            *(given.get(name, "").encode("latin-1") for name in ("nonce", "nc", "cnonce", "qop")),
            md5_hex(exchange.method.encode("latin-1"), given.get("uri", "").encode("latin-1")),
        )
        right = hmac.compare_digest(expected, given.get("response", "").encode("latin-1"))
        return user if right and user in self._users else None

    def _accepts(self, exchange: Exchange, given: Mapping[str, str], user: bytes) -> bool:
        """Whether the nonce and its count may be used now, which uses them."""
        assert self._realm is not None
        realm, nonce, opaque = self._realm, given.get("nonce", ""), self._realm.opaque
        issued = realm.nonces.issued(nonce)
        if issued is None or given.get("opaque") != opaque:
            return False
        now = realm.nonces.now()
        count = int(given["nc"], 16)
        if not exchange.advance_nonce(nonce.encode(), count, issued, LIFETIME, now):
            return False
        exchange.remember_nonce(nonce.encode(), user, self._users[user], opaque.encode(), issued)
        return True


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
