"""Stored password hashes of htpasswd files: SHA-1, MD5-crypt, bcrypt.

The kind is told by the prefix, as Traefik 1.7 does: `{SHA}`; `$2a$ $2b$ $2x$ $2y$` for bcrypt;
anything else is MD5-crypt with the magic between the first two `$` (`$apr1$`, `$1$`). Plain text
and other crypts never match.

Hashes of one *kind* cost the same to check: SHA-1, MD5-crypt, bcrypt of each cost. By the time an
answer takes nobody may learn whether a user exists, so a check that fails costs one hash of every
kind its file has, whoever the user is: twice the dearest at most, as each cost of bcrypt is twice
the one below.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterable
from hashlib import md5, sha1

import bcrypt

BCRYPT = (b"$2a$", b"$2b$", b"$2x$", b"$2y$")
SHA = b"{SHA}"
BCRYPT_HASH = re.compile(rb"\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
COSTS = range(4, 18)  # of bcrypt; 17 is the highest of htpasswd, and takes about ten seconds
MAX_BCRYPT = 72  # bytes of the password which count; Go cuts silently, as we do
MAX_MD5 = 1024  # longer passwords cost too much to check 1000 times
ALPHABET = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ORDER = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))


def kind_of(stored: bytes) -> int | None:
    """What a check costs: 0 for SHA-1, 1 for MD5-crypt, the cost of bcrypt; None for a hash no
    password has."""
    if stored.startswith(SHA):
        return 0
    if stored.startswith(BCRYPT):
        match = BCRYPT_HASH.fullmatch(stored)
        return int(match[1]) if match and int(match[1]) in COSTS else None
    return 1 if stored.count(b"$") >= 3 else None


def is_slow(kind: int) -> bool:
    """Whether checking takes longer than the event loop may be held."""
    return kind > 0


def verify(password: bytes, stored: bytes) -> bool:
    """Whether the password belongs to the stored hash; False for hashes nobody understands."""
    kind = kind_of(stored)
    if kind is None:
        return False
    if kind == 0:
        digest = base64.b64encode(sha1(password, usedforsecurity=False).digest())
        return hmac.compare_digest(digest, stored[len(SHA) :])
    if kind > 1:
        try:
            return bcrypt.checkpw(password[:MAX_BCRYPT], stored)
        except ValueError:
            return False
    if len(password) > MAX_MD5:
        return False
    _, magic, salt, _ = stored.split(b"$", 3)
    return hmac.compare_digest(md5_crypt(password, salt, b"$" + magic + b"$"), stored)


def verify_at_equal_cost(password: bytes, stored: bytes | None, others: Iterable[bytes]) -> bool:
    """`verify`, and unless it is right the time of a check of each of the others as well."""
    if stored is not None and verify(password, stored):
        return True
    for other in others:
        verify(password, other)
    return False


def md5_crypt(password: bytes, salt: bytes, magic: bytes) -> bytes:
    """Poul-Henning Kamp's MD5-based crypt, with the magic `$1$` or Apache's `$apr1$`."""
    inner = md5(password + salt + password, usedforsecurity=False).digest()
    start = md5(password + magic + salt, usedforsecurity=False)
    start.update((inner * (len(password) // 16 + 1))[: len(password)])
    bits = len(password)
    while bits:
        start.update(b"\0" if bits & 1 else password[:1])
        bits >>= 1
    digest = start.digest()
    for turn in range(1000):
        parts = [password if turn & 1 else digest]
        if turn % 3:
            parts.append(salt)
        if turn % 7:
            parts.append(password)
        parts.append(digest if turn & 1 else password)
        digest = md5(b"".join(parts), usedforsecurity=False).digest()
    groups = [(digest[a] << 16 | digest[b] << 8 | digest[c], 4) for a, b, c in ORDER]
    text = bytearray()
    for value, size in [*groups, (digest[11], 2)]:
        for _ in range(size):
            text.append(ALPHABET[value & 63])
            value >>= 6
    return magic + salt + b"$" + bytes(text)
