"""Digest authentication: challenge, acceptance, replay, several workers."""

from __future__ import annotations

import hashlib
import os
import re
import time

import pytest

from fastproxy.features.auth import Auth, Digest
from fastproxy.features.auth.config import digest_users
from fastproxy.features.auth.digest import LIFETIME, DigestAuth, parameters
from tests.support.exchange import MemoryExchange


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


HA1 = md5("ann:traefik:secret")
CONFIG = Auth(Digest(digest_users([f"ann:traefik:{HA1}".encode()])))


class Clock:
    now = 1_700_000_000.0

    def __call__(self):
        return self.now


def challenge(live):
    reply = live.on_request(MemoryExchange("/a/b?c"))
    assert (reply.status, reply.body) == (401, b"401 Unauthorized\n")
    headers = dict(reply.headers)
    assert headers["Content-Type"] == "text/plain"
    match = re.fullmatch(
        r'Digest realm="traefik", nonce="([\w+/]{16})", opaque="([\w+/]{16})", '
        r'algorithm="MD5", qop="auth"',
        headers["WWW-Authenticate"],
    )
    assert match, headers
    return match[1], match[2]


def answer(
    live, nonce=None, sent_opaque=None, *, ha1=HA1, method="GET", target="/a/b?c", **changes
):
    """The header of a client which does it right, but for `changes`."""
    if nonce is None:
        nonce, sent_opaque = challenge(live)
    header = header_of(nonce, sent_opaque, ha1=ha1, method=method, **changes)
    exchange = MemoryExchange(target, method="GET", headers=[("Authorization", header)])
    return live.on_request(exchange) is None


def header_of(nonce, sent_opaque, *, ha1=HA1, method="GET", **changes):
    fields = {
        "username": "ann",
        "realm": "traefik",
        "nonce": nonce,
        "uri": "/a/b?c",
        "qop": "auth",
        "nc": "00000001",
        "cnonce": "0a4f",
        "opaque": sent_opaque,
        "algorithm": "MD5",
    }
    fields.update(changes)
    f = {key: value or "" for key, value in fields.items()}
    ha2 = md5(f"{method}:{f['uri']}")
    fields.setdefault(
        "response", md5(f"{ha1}:{f['nonce']}:{f['nc']}:{f['cnonce']}:{f['qop']}:{ha2}")
    )
    text = ", ".join(
        f"{key}={value}" if key in ("nc", "qop") else f'{key}="{value}"'
        for key, value in fields.items()
        if value is not None
    )
    return f"Digest {text}"


CHANGES = [
    ({}, True),
    ({"algorithm": None}, True),
    ({"uri": "/a"}, True),
    ({"uri": "/a/b"}, True),
    ({"uri": "http://h/a/b"}, True),
    ({"uri": "/%61"}, True),
    ({"uri": "/b"}, False),
    ({"uri": "/a/b/c"}, False),
    ({"opaque": "x"}, False),
    ({"opaque": None}, False),
    ({"algorithm": "SHA-256"}, False),
    ({"algorithm": "md5"}, False),
    ({"qop": "auth-int"}, False),
    ({"qop": None}, False),
    ({"nc": "xyz"}, False),
    ({"nc": "0"}, False),
    ({"nc": "f" * 9}, False),
    ({"nc": "0" * 9 + "f" * 8}, True),
    ({"response": "0" * 32}, False),
    ({"response": ""}, False),
    ({"username": "eve"}, False),
    ({"username": "eve", "ha1": ""}, False),  # FIX 19
    ({"username": None, "ha1": ""}, False),
    ({"method": "POST"}, False),
    ({"target": "/stripped"}, False),
]


@pytest.mark.parametrize(("changes", "accepted"), CHANGES)
def test_acceptance(changes, accepted):
    assert answer(DigestAuth(CONFIG), **changes) is accepted


def test_the_uri_is_compared_with_what_the_client_sent():
    live = DigestAuth(CONFIG)
    nonce, opaque = challenge(live)
    assert answer(live, nonce, opaque, target="/a/b?c")
    assert answer(live, nonce, opaque, target="/a/b?other", nc="2")


def test_counts_must_rise():
    live = DigestAuth(CONFIG)
    seen = challenge(live)
    verdicts = [answer(live, *seen, nc=nc) for nc in ("01", "01", "00", "0A", "9", "0b")]
    assert verdicts == [True, False, False, True, False, True]


def test_every_worker_knows_the_nonces_and_counts_of_all():
    one, other = DigestAuth(CONFIG), DigestAuth(CONFIG)
    seen = challenge(one)
    assert answer(other, *seen, nc="1")
    assert not answer(one, *seen, nc="1")
    assert answer(one, *seen, nc="2")
    assert not answer(other, *seen, nc="2")


def test_nonces_of_other_users_files_and_invented_ones_are_refused():
    foreign = DigestAuth(Auth(Digest(((b"ann", b"0" * 32),))))
    live = DigestAuth(CONFIG)
    _, opaque = challenge(live)
    assert not answer(live, challenge(foreign)[0], opaque)
    assert not answer(live, "AAAAAAAAAAAAAAAA", opaque)
    assert not answer(live, "?", opaque)


def test_nonces_end_after_a_day():
    clock = Clock()
    live = DigestAuth(CONFIG, clock)
    seen = challenge(live)
    clock.now += LIFETIME
    assert answer(live, *seen, nc="1")
    clock.now += 1
    assert not answer(live, *seen, nc="2")


def told(live, nonce, opaque, **changes):
    """The challenge a client gets that does everything right with this nonce; "" when admitted."""
    header = header_of(nonce, opaque, **changes)
    exchange = MemoryExchange("/a/b?c", headers=[("Authorization", header)])
    exchange.parent_secret = live.parent
    reply = live.live.on_request(exchange)
    return "" if reply is None else dict(reply.headers)["WWW-Authenticate"]


class Parent:
    """A filter in the workers of one parent process."""

    def __init__(self, config=CONFIG, clock=time.time):
        self.parent = os.urandom(16)
        self.live = DigestAuth(config, clock)

    def challenge(self):
        exchange = MemoryExchange("/a/b?c")
        exchange.parent_secret = self.parent
        found = dict(self.live.on_request(exchange).headers)["WWW-Authenticate"]
        assert not found.endswith("stale=true")
        match = re.search('nonce="([^"]+)", opaque="([^"]+)"', found)
        return match[1], match[2]


def test_a_nonce_of_another_parent_is_stale():
    """Of another replica, or from before a restart: its counts are not known here."""
    one, other = Parent(), Parent()
    nonce, opaque = one.challenge()
    assert told(one, nonce, opaque) == ""
    assert told(other, nonce, opaque).endswith('qop="auth", stale=true')
    assert told(other, nonce, other.challenge()[1]).endswith(", stale=true")
    fresh = re.search('nonce="([^"]+)", opaque="([^"]+)"', told(other, nonce, opaque))
    assert told(other, fresh[1], fresh[2]) == ""


def test_stale_is_only_told_to_whoever_knows_the_password():
    clock = Clock()
    live = Parent(clock=clock)
    nonce, opaque = live.challenge()
    assert told(live, nonce, opaque, nc="1") == ""
    assert told(live, nonce, opaque, nc="1").endswith(", stale=true")  # used
    assert told(live, "AAAAAAAAAAAAAAAA", opaque).endswith(", stale=true")
    assert told(live, nonce, "x", nc="2").endswith(", stale=true")
    for changes in ({"ha1": "0" * 32}, {"username": "eve"}, {"response": "0" * 32}, {"uri": "/b"}):
        assert told(live, nonce, opaque, nc="1", **changes).endswith('qop="auth"'), changes
        assert told(live, "AAAAAAAAAAAAAAAA", "x", **changes).endswith('qop="auth"'), changes
    clock.now += LIFETIME + 1
    assert told(live, nonce, opaque, nc="3").endswith(", stale=true")  # ended


def test_a_challenge_is_no_check_of_guessed_passwords():
    """Nothing in it follows from the users alone, which somebody could compare guesses with."""
    assert not {*Parent().challenge()} & {*Parent().challenge()}


PARAMETERS = [
    (None, None),
    ("Basic a", None),
    ("digest a=b", None),
    ('Digest a="b, c", d=e', {"a": "b, c", "d": "e"}),
    ('Digest A="q\\"x"', {"a": 'q"x'}),
    ("Digest a=b c", None),
    ('Digest a="b', None),
    ("Digest ", {}),
]


@pytest.mark.parametrize(("header", "expected"), PARAMETERS)
def test_parameters(header, expected):
    assert parameters(header) == expected
