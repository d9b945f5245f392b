"""Basic authentication: passwords against stored hashes, off the event loop.

The engine remembers credentials that were right for one generation, and requests with them do not
come here any more (`engine/operations/users.pyx`); those of slow hashes are remembered here too, by
a keyed digest, so that each pair is checked once. Slow hashes run in a small process-wide executor
with a bounded queue; a full queue answers 503. Who is refused waits equally long whether the user
exists or not (see `passwords`), so that names cannot be told by time.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from fastproxy.feature import Filter
from fastproxy.features.auth.config import REALM, Auth, Basic, admit, unauthorized
from fastproxy.features.auth.passwords import (
    is_slow,
    kind_of,
    verify,
    verify_at_equal_cost,
)
from fastproxy.model.reply import Reply, plain

if TYPE_CHECKING:
    from fastproxy.engine.python.exchange import Exchange

THREADS = 2
MAX_WAITING = 64  # checks in the executor, running or waiting
MAX_REMEMBERED = 512  # right credentials per filter

NOBODY: tuple[int | None, bytes] = (None, b"")
CHALLENGE = unauthorized(f'Basic realm="{REALM}"')


class Checker:
    """The process-wide executor for slow hashes."""

    def __init__(self, threads: int = THREADS, waiting: int = MAX_WAITING) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._room = waiting

    def check(
        self, password: bytes, stored: bytes | None, others: Sequence[bytes]
    ) -> asyncio.Future[bool] | None:
        """A future of `verify_at_equal_cost`, or None when the queue is full."""
        if self._room == 0:
            return None
        self._room -= 1
        future = asyncio.get_running_loop().run_in_executor(
            self._executor, verify_at_equal_cost, password, stored, others
        )
        future.add_done_callback(self._done)
        return future

    def _done(self, future: asyncio.Future[bool]) -> None:
        self._room += 1


CHECKER = Checker()


class BasicAuth(Filter):
    __slots__ = (
        "_checker",
        "_config",
        "_key",
        "_pending",
        "_quick",
        "_remembered",
        "_slow",
        "_users",
    )

    def __init__(self, config: Auth, checker: Checker = CHECKER) -> None:
        assert isinstance(config.method, Basic)
        self._config = config
        # Whoever can never be right is as unknown as anybody.
        self._users = {
            name: (kind, stored)
            for name, stored in dict(config.method.users).items()
            if name and (kind := kind_of(stored)) is not None
        }
        examples = dict(self._users.values())  # a hash of each kind
        self._quick = next((examples[kind] for kind in examples if not is_slow(kind)), None)
        self._slow = {kind: examples[kind] for kind in sorted(examples) if is_slow(kind)}
        self._checker = checker
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, None] = OrderedDict()
        self._pending: dict[bytes, asyncio.Future[bool]] = {}

    def on_request(self, exchange: Exchange) -> Reply | Awaitable[Reply | None] | None:
        found = credentials(exchange.header("Authorization"))
        if found is None:
            return CHALLENGE
        user, password = found
        kind, stored = self._users.get(user, NOBODY)
        quick = kind is not None and not is_slow(kind)
        right = False
        if self._quick is not None:
            right = verify(password, stored if quick else self._quick) and quick
        if right or not self._slow:
            return self._finish(exchange, user, right)
        digest = hashlib.blake2b(user + b"\0" + password, key=self._key).digest()
        if digest in self._remembered:
            self._remembered.move_to_end(digest)
            return self._finish(exchange, user, True)
        others = [example for other, example in self._slow.items() if other != kind]
        checked = None if quick or kind is None else stored
        return self._check(exchange, user, password, checked, others, digest)

    async def _check(
        self,
        exchange: Exchange,
        user: bytes,
        password: bytes,
        stored: bytes | None,
        others: Sequence[bytes],
        digest: bytes,
    ) -> Reply | None:
        future = self._pending.get(digest)
        if future is None:
            future = self._checker.check(password, stored, others)
            if future is None:
                return plain(503)
            self._pending[digest] = future
            future.add_done_callback(lambda _: self._pending.pop(digest, None))
        # One client's going away must not take the answer from the others who wait for it.
        right = await asyncio.shield(future)
        if right:
            self._remembered[digest] = None
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        return self._finish(exchange, user, right)

    def _finish(self, exchange: Exchange, user: bytes, right: bool) -> Reply | None:
        if not right:
            return CHALLENGE
        exchange.remember_user(user.decode("latin-1"))
        admit(self._config, exchange, user)
        return None


def credentials(header: str | None) -> tuple[bytes, bytes] | None:
    """User and password of an Authorization header; the scheme's case matters, as in 1.7."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme != "Basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None
