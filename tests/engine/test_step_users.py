"""Users whose password was right lately: who is let through without asking the filter again."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from fastproxy.features.auth.basic import BasicAuth
from fastproxy.features.auth.config import Auth, Basic
from fastproxy.model.configuration import Backend, Desired, Endpoint, Route
from fastproxy.model.matchers import PathPrefix
from fastproxy.settings.options import EntryPoint, Settings
from tests.support.plane import Plane
from tests.support.scripted import Client, Origin

SECRET = b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="  # "secret"
OTHER = b"{SHA}0JQeaNqPOBUf+Gph/Fn3xc+fyqI="  # "other"
ANN = Basic(((b"ann", SECRET), (b"bob", SECRET)))
PLAIN = Auth(ANN)
TOLD = Auth(ANN, "X-User", True)


def credentials(user: str, password: str, scheme: str = "Basic") -> str:
    return f"Authorization: {scheme} {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


RIGHT = credentials("ann", "secret")


class Counted:
    """Requests the filters were asked about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        ask = BasicAuth.on_request

        def counted(live, exchange):
            self.count += 1
            return ask(live, exchange)

        monkeypatch.setattr(BasicAuth, "on_request", counted)


class Site:
    """A route `/NAME` for each authentication."""

    def __init__(self) -> None:
        self.origin = Origin()
        self.plane = Plane(Settings(entry_points={"http": EntryPoint("127.0.0.1:0")}))

    def publish(self, **auths: Auth) -> None:
        endpoints = (Endpoint("http", "127.0.0.1", self.origin.port),)
        routes = tuple(
            Route(name, ("http",), (PathPrefix((f"/{name}",)),), 10, "b", configs=(auth,))
            for name, auth in auths.items()
        )
        self.plane.prepare(Desired(routes=routes, backends=(Backend("b", endpoints),)))
        self.plane.activate()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.plane.close()
    made.origin.close()


# lines, status; and how many of three such requests reach the filter
REQUESTS = [
    ((RIGHT,), 200, 1),
    ((credentials("bob", "secret"),), 200, 1),
    ((credentials("ann", "wrong"),), 401, 3),
    ((credentials("eve", "secret"),), 401, 3),
    ((credentials("ann", "secret", "basic"),), 401, 3),
    ((RIGHT + "=",), 401, 3),
    ((RIGHT, credentials("ann", "wrong")), 200, 1),  # the first one counts
    ((credentials("ann", "wrong"), RIGHT), 401, 3),
    ((), 401, 3),
]


@pytest.mark.parametrize(("lines", "status", "asked"), REQUESTS)
def test_right_credentials_are_asked_about_once(site, monkeypatch, lines, status, asked) -> None:
    counted = Counted(monkeypatch)
    site.publish(plain=PLAIN)
    with Client(site.plane.port) as client:
        assert [client.ask("/plain", *lines).status for _ in range(3)] == [status] * 3
    assert counted.count == asked


@pytest.mark.parametrize("spelling", ["X-User", "x-USER", "X_User"])
def test_who_is_let_through_arrives_as_the_first_time(site, spelling) -> None:
    site.publish(told=TOLD, plain=PLAIN)
    lines = [RIGHT, f"{spelling}: root", f"{spelling}: admin", "Connection: X-User"]
    with Client(site.plane.port) as client:
        for _ in range(3):
            assert client.ask("/told", *lines).status == 200
            head = site.origin.seen[-1]
            assert [(n, v) for n, v in head.fields if n.lower().startswith(("x-u", "x_u"))] == [
                ("X-User", "ann")
            ]
            assert head.values("Authorization") == []
            assert client.ask("/plain", RIGHT).status == 200
            assert site.origin.seen[-1].values("Authorization") == [RIGHT.partition(": ")[2]]


def test_a_password_opens_only_what_it_was_checked_for(site, monkeypatch) -> None:
    """Neither another route, nor this one when its users have changed."""
    counted = Counted(monkeypatch)
    site.publish(one=PLAIN, two=Auth(Basic(((b"ann", OTHER),))))
    with Client(site.plane.port) as client:
        assert [client.ask("/one", RIGHT).status for _ in range(2)] == [200, 200]
        assert [client.ask("/two", RIGHT).status for _ in range(2)] == [401, 401]
        other = credentials("ann", "other")
        assert [client.ask("/two", other).status for _ in range(2)] == [200, 200]
        assert counted.count == 4
        site.publish(one=Auth(Basic(((b"ann", OTHER),))), two=PLAIN)
        assert [client.ask(path, RIGHT).status for path in ("/one", "/two")] == [401, 200]
        assert [client.ask(path, other).status for path in ("/one", "/two")] == [200, 401]


def test_a_user_of_many_routes_is_remembered_for_each(site, monkeypatch) -> None:
    counted = Counted(monkeypatch)
    names = [f"route{number}" for number in range(20)]
    site.publish(**{name: Auth(ANN, f"X-{name}") for name in names})
    with Client(site.plane.port) as client:
        for _ in range(3):
            for name in names:
                assert client.ask(f"/{name}/", RIGHT).status == 200
                assert site.origin.seen[-1].values(f"X-{name}") == ["ann"]
    assert counted.count == 20


def test_more_users_than_places(site, monkeypatch) -> None:
    """Who was replaced is checked again, and nobody is taken for somebody else."""
    users = tuple((f"user{number}".encode(), SECRET) for number in range(6000))
    site.publish(told=Auth(Basic(users), "X-User"))
    with Client(site.plane.port) as client:
        for _ in range(2):
            for user, _ in users:
                assert client.ask("/told", credentials(user.decode(), "secret")).status == 200
                assert site.origin.seen[-1].values("X-User") == [user.decode()]
