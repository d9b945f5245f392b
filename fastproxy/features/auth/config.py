"""What the three kinds of authentication know, as frozen values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastproxy.model.configuration import Config
from fastproxy.model.reply import Reply
from fastproxy.settings.options import ClientTls

if TYPE_CHECKING:
    from fastproxy.engine.python.exchange import Exchange

REALM = "traefik"


@dataclass(frozen=True, slots=True)
class Basic:
    users: tuple[tuple[bytes, bytes], ...] = field(repr=False)  # name, stored hash


@dataclass(frozen=True, slots=True)
class Digest:
    users: tuple[tuple[bytes, bytes], ...] = field(repr=False)  # name, HA1 in lower-case hex


@dataclass(frozen=True, slots=True)
class Forward:
    url: str
    trust: bool = False
    response_headers: tuple[str, ...] = ()
    tls: ClientTls | None = None  # certificate and key as PEM text


@dataclass(frozen=True, slots=True)
class Auth(Config):
    method: Basic | Digest | Forward
    header_field: str = ""  # basic, digest: gets the user's name
    remove_header: bool = False  # basic, digest: Authorization is not forwarded


def basic_users(lines: Sequence[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """`user:hash` lines; of equal users the last counts. ValueError names the line."""
    users = {}
    for number, line in enumerate(lines, 1):
        parts = line.split(b":")
        if len(parts) != 2:
            raise ValueError(f"line {number} of the users is not `user:hash`")
        users[parts[0]] = parts[1]
    return tuple(users.items())


def digest_users(lines: Sequence[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """`user:realm:HA1` lines; those of other realms can never match and are left out."""
    users = {}
    for number, line in enumerate(lines, 1):
        parts = line.split(b":")
        if len(parts) != 3:
            raise ValueError(f"line {number} of the users is not `user:{REALM}:HA1`")
        if parts[1] == REALM.encode():
            users[parts[0]] = parts[2]
    return tuple(users.items())


def lines_of(data: bytes) -> list[bytes]:
    """Lines without their ends (LF or CRLF); empty ones are dropped, nothing is trimmed."""
    return [line for line in (part.removesuffix(b"\r") for part in data.split(b"\n")) if line]


def unauthorized(challenge: str) -> Reply:
    return Reply(
        401,
        b"401 Unauthorized\n",
        [("Content-Type", "text/plain"), ("WWW-Authenticate", challenge)],
    )


def remove_spellings(exchange: Exchange, name: str) -> None:
    """Remove a managed header in every spelling: any case, `-` or `_` (`http-safety.md` 5)."""
    plain = name.lower().replace("_", "-")
    for found in {key for key, _ in exchange.items()}:
        if found.lower().replace("_", "-") == plain:
            exchange.remove_header(found)


def admit(config: Auth, exchange: Exchange, user: bytes) -> None:
    """What basic and digest do after success (FIX 30 of `provider.md`)."""
    name = user.decode("latin-1")
    exchange.user = name
    if config.remove_header:
        exchange.remove_header("Authorization")
    if config.header_field:
        remove_spellings(exchange, config.header_field)
        exchange.set_header(config.header_field, name)


HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
