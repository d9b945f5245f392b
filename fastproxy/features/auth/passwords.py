"""Stored password hashes of htpasswd files: SHA-1, MD5-crypt, bcrypt.

The kind is told by the prefix, as Traefik 1.7 does: `{SHA}`; `$2a$ $2b$ $2x$ $2y$` for bcrypt;
anything else is MD5-crypt with the magic between the first two `$` (`$apr1$`, `$1$`). Plain text
and other crypts never match.
"""

from __future__ import annotations

import base64
import hmac
from hashlib import md5, sha1

import bcrypt

BCRYPT = (b"$2a$", b"$2b$", b"$2x$", b"$2y$")
SHA = b"{SHA}"
MAX_BCRYPT = 72  # bytes of the password which count; Go cuts silently, as we do
MAX_MD5 = 1024  # longer passwords cost too much to check 1000 times
ALPHABET = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ORDER = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))


def is_slow(stored: bytes) -> bool:
    """Whether checking takes longer than the event loop may be held."""
    return not stored.startswith(SHA)


def slowness(stored: bytes) -> int:
    """Orders hashes by what a check costs."""
    return 2 if stored.startswith(BCRYPT) else int(is_slow(stored))


def verify(password: bytes, stored: bytes) -> bool:
    """Whether the password belongs to the stored hash; False for hashes nobody understands."""
    if stored.startswith(SHA):
        digest = base64.b64encode(sha1(password, usedforsecurity=False).digest())
        return hmac.compare_digest(digest, stored[len(SHA) :])
    if stored.startswith(BCRYPT):
        try:
            return bcrypt.checkpw(password[:MAX_BCRYPT], stored)
        except ValueError:
            return False
    parts = stored.split(b"$", 3)
    if len(parts) != 4 or len(password) > MAX_MD5:
        return False
    return hmac.compare_digest(md5_crypt(password, parts[2], b"$" + parts[1] + b"$"), stored)


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
