"""Digest requests the engine admits by itself, beside those it leaves to the filter."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator

import pytest

from fastproxy.counters.region import create_region
from fastproxy.features.auth import digest as module
from fastproxy.features.auth.config import Auth, Digest
from fastproxy.features.auth.digest import DigestAuth
from fastproxy.model.configuration import Backend, Desired, Endpoint, Route
from fastproxy.model.matchers import PathPrefix
from fastproxy.settings.options import EntryPoint, Settings
from tests.support.plane import Plane
from tests.support.scripted import Client, Origin


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


HA1 = md5("ann:traefik:secret")
AUTH = Auth(Digest(((b"ann", HA1.encode()), (b"bob", md5("bob:traefik:x").encode()))))


class Site:
    """One route with digest authentication, and how often its filter was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.region = create_region()
        self.origin = Origin()
        settings = Settings(entry_points={"http": EntryPoint("127.0.0.1:0")})
        self.plane = Plane(settings, shared=self.region)
        self.publish(AUTH)
        ask = DigestAuth.on_request

        def counted(live, exchange):
            self.asked += 1
            return ask(live, exchange)

        monkeypatch.setattr(DigestAuth, "on_request", counted)

    def publish(self, auth: Auth) -> None:
        endpoints = (Endpoint("http", "127.0.0.1", self.origin.port),)
        route = Route("a", ("http",), (PathPrefix(("/",)),), 10, "b", configs=(auth,))
        self.plane.prepare(Desired(routes=(route,), backends=(Backend("b", endpoints),)))
        self.plane.activate()

    def close(self) -> None:
        self.plane.close()
        self.origin.close()
        os.close(self.region)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(monkeypatch)
    yield made
    made.close()


class Session:
    """A client with a nonce that was right once."""

    def __init__(self, site: Site, client: Client) -> None:
        self.client = client
        refused = client.ask("/a?b=c")
        match = re.search(
            'nonce="([^"]*)", opaque="([^"]*)"', refused.values("WWW-Authenticate")[0]
        )
        assert match
        self.nonce, self.opaque = match[1], match[2]
        assert self.send(1) == 200
        site.asked = 0

    def header(self, count: int, ha1: str = HA1, target: str = "/a?b=c", **changes) -> str:
        fields = {
            "username": "ann", "realm": "traefik", "nonce": self.nonce, "uri": target,
            "qop": "auth", "nc": f"{count:08x}", "cnonce": "0a4f", "opaque": self.opaque,
            "algorithm": "MD5",
        }  # fmt: skip
        fields |= changes
        told = {key: value or "" for key, value in fields.items()}
        ha2 = md5(f"GET:{told['uri']}")
        text = ":".join([ha1, *(told[name] for name in ("nonce", "nc", "cnonce", "qop")), ha2])
        fields.setdefault("response", md5(text))
        text = ", ".join(
            f"{key}={value}" if key in ("nc", "qop") else f'{key}="{value}"'
            for key, value in fields.items()
            if value is not None
        )
        return f"Authorization: Digest {text}"

    def send(self, count: int, *lines: str, target: str = "/a?b=c", **changes) -> int:
        head = self.header(count, target=changes.pop("signed", target), **changes)
        return self.client.ask(target, head, *lines).status


# what a client that does it right changes, status, whether the filter was asked
REQUESTS = [
    ({}, 200, False),
    ({"algorithm": None}, 200, False),
    ({"nc": "a"}, 200, False),
    ({"nc": "0000000A"}, 200, False),
    ({"extra": "1"}, 200, False),
    ({"target": "/other", "signed": "/other"}, 200, False),
    ({"nc": "00000000000000002"}, 200, True),  # more digits than RFC 2617 has
    ({"signed": "/a"}, 200, True),  # a prefix of the path
    ({"cnonce": "a\\\\b"}, 401, True),
    ({"nc": "1"}, 401, True),
    ({"nc": "0"}, 401, True),
    ({"nc": "x"}, 401, True),
    ({"nc": ""}, 401, True),
    ({"nc": None}, 401, True),
    ({"ha1": "0" * 32}, 401, True),
    ({"response": "0" * 32}, 401, True),
    ({"response": ""}, 401, True),
    ({"response": None}, 401, True),
    ({"username": "bob"}, 401, True),  # the nonce is known from ann
    ({"username": "bob", "ha1": md5("bob:traefik:x")}, 200, True),
    ({"username": "eve", "ha1": ""}, 401, True),
    ({"username": None}, 401, True),
    ({"opaque": "x"}, 401, True),
    ({"opaque": None}, 401, True),
    ({"algorithm": "md5"}, 401, True),
    ({"qop": "auth-int"}, 401, True),
    ({"qop": None}, 401, True),
    ({"nonce": "AAAAAAAAAAAAAAAA"}, 401, True),
    ({"nonce": None}, 401, True),
    ({"cnonce": None}, 200, True),  # as 1.7: absent is empty
    ({"uri": "/b"}, 401, True),
    ({"uri": None}, 200, True),
    ({"signed": "/a?b=d"}, 200, True),  # as 1.7: the path alone counts
    ({"target": "/" + "x" * 4000, "signed": "/" + "x" * 4000}, 200, True),
]


@pytest.mark.parametrize(("changes", "status", "asked"), REQUESTS)
def test_requests_with_a_known_nonce(site, changes, status, asked) -> None:
    with Client(site.plane.port) as client:
        session = Session(site, client)
        assert session.send(2, **changes) == status
        assert site.asked == int(asked)


# header lines that no client sends
LINES = [
    ("{right}, nc=00000009", 401),
    ("{right},", 200),
    ("{right} x", 401),
    ("{right}, x", 401),
    ('{right}, x="', 401),
    ("{right}, =x", 401),
    ("{right}, x-y=z", 401),
    ("digest {rest}", 401),
    ("Digest\t{rest}", 401),
    ("Digest {rest}, a = b", 200),
]


@pytest.mark.parametrize(("line", "status"), LINES)
def test_odd_headers_are_left_to_the_filter(site, line, status) -> None:
    with Client(site.plane.port) as client:
        right = Session(site, client).header(2).partition(": ")[2]
        rest = right.partition(" ")[2]
        text = line.format(right=right, rest=rest)
        assert client.ask("/a?b=c", f"Authorization: {text}").status == status
        assert site.asked == 1


def test_a_count_is_admitted_once(site) -> None:
    with Client(site.plane.port) as client:
        session = Session(site, client)
        sent = [(2, 200), (2, 401), (3, 200), (2, 401), (0xFFFFFFFF, 200), (4, 401)]
        assert [session.send(count) for count, _ in sent] == [status for _, status in sent]
        assert site.asked == 3


def test_other_users_end_what_is_known(site) -> None:
    """The same nonce is issued by nobody any more; and a changed password is another."""
    with Client(site.plane.port) as client:
        session = Session(site, client)
        site.publish(Auth(Digest(((b"ann", b"0" * 32),))))
        assert session.send(2) == 401
        site.publish(AUTH)
        assert session.send(3) == 200
        assert site.asked == 2


def test_nonces_end_after_a_day(site, monkeypatch) -> None:
    """Here: after one second."""
    monkeypatch.setattr(module, "LIFETIME", 1)
    monkeypatch.setattr("fastproxy.features.auth.LIFETIME", 0)
    site.publish(Auth(AUTH.method, "X-User"))
    with Client(site.plane.port) as client:
        session = Session(site, client)
        answers = {session.send(count) for count in range(2, 6)}
        assert answers <= {200, 401}
        module.time.sleep(2.1)
        assert session.send(7) == 401


def test_who_is_admitted_arrives_as_the_first_time(site) -> None:
    site.publish(Auth(AUTH.method, "X-User", True))
    with Client(site.plane.port) as client:
        session = Session(site, client)
        for count in range(2, 5):
            assert session.send(count, "X-User: root", "x_user: root") == 200
            head = site.origin.seen[-1]
            assert [(n, v) for n, v in head.fields if n.lower().startswith(("x-u", "x_u"))] == [
                ("X-User", "ann")
            ]
            assert head.values("Authorization") == []
        assert site.asked == 0


def test_a_nonce_of_another_parent_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another replica, or from before a restart: workers there do not know its counts."""
    one, other = Site(monkeypatch), Site(monkeypatch)
    try:
        there, here = Client(one.plane.port), Client(other.plane.port)
        session = Session(one, there)
        for _ in range(2):
            refused = here.ask("/a?b=c", session.header(2))
            assert refused.status == 401
            assert refused.values("WWW-Authenticate")[0].endswith(', qop="auth", stale=true')
        assert session.send(2) == 200
    finally:
        one.close()
        other.close()
