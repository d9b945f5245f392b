"""Forward authentication: the sub-request, what it changes, what the client gets."""

from __future__ import annotations

import pytest

from fastproxy.features.auth import Auth, Forward
from fastproxy.features.auth.forward import ForwardAuth
from fastproxy.model.errors import BackendError, BackendTimeout, TooLarge
from fastproxy.model.reply import Reply, Response
from fastproxy.settings.options import ClientTls
from tests.support.exchange import MemoryExchange, run

URL = "https://auth.example/check?x=1"
CLIENT = [
    ("Host", "shop.example"),
    ("Cookie", "a=b"),
    ("Content-Length", "5"),
    ("Connection", "close"),
    ("X-Forwarded-For", "10.0.0.1"),
    ("x-forwarded-for", "10.0.0.2"),
    ("X_Forwarded_For", "10.6.6.6"),
    ("X-Forwarded-Method", "BREW"),
    ("X-Forwarded-Proto", "gopher"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Uri", "/evil"),
    ("X-Forwarded-Port", "99"),
]
UNTRUSTED = [
    ("Cookie", "a=b"),
    ("X-Forwarded-Port", "99"),
    ("X-Forwarded-For", "192.0.2.7"),
    ("X-Forwarded-Method", "POST"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "shop.example"),
    ("X-Forwarded-Uri", "/a/b?c"),
]
TRUSTED = [
    ("Cookie", "a=b"),
    ("X-Forwarded-Port", "99"),
    ("X-Forwarded-For", "10.0.0.1, 10.0.0.2, 192.0.2.7"),
    ("X-Forwarded-Method", "BREW"),
    ("X-Forwarded-Proto", "gopher"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Uri", "/evil"),
]
BARE = [
    ("X-Forwarded-For", "192.0.2.7"),
    ("X-Forwarded-Method", "POST"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Uri", "/a/b?c"),
]


@pytest.mark.parametrize(
    ("trust", "headers", "expected"),
    [(False, CLIENT, UNTRUSTED), (True, CLIENT, TRUSTED), (False, [], BARE), (True, [], BARE)],
)
def test_the_request_to_the_authentication_server(trust, headers, expected):
    asked = []

    def remote(url, **request):
        asked.append((url, request))
        return Response(204, [], b"")

    tls = ClientTls(insecure_skip_verify=True)
    exchange = MemoryExchange(
        "/a/b?c", path="/b", method="POST", scheme="https", headers=headers, remote=remote
    )
    assert run(ForwardAuth(Auth(Forward(URL, trust, tls=tls))).on_request(exchange)) is None
    [(url, request)] = asked
    assert url == URL
    assert request == {"headers": expected, "timeout": 30.0, "limit": 1 << 20, "tls": tls}


URLS = [
    # auth-url, what is asked, the Authorization beside the client's own
    ("http://a.example", "http://a.example/", None),
    ("http://a.example?x=1", "http://a.example/?x=1", None),
    ("http://a.example:81/y?z#part", "http://a.example:81/y?z", None),
    ("http://ann:p%40ss@a.example/y", "http://a.example/y", "Basic YW5uOnBAc3M="),
    ("http://ann@[::1]:81/y", "http://[::1]:81/y", "Basic YW5uOg=="),
]


@pytest.mark.parametrize(("url", "asked", "authorization"), URLS)
def test_the_parts_of_the_url(url, asked, authorization):
    seen = []

    def remote(url, headers, **request):
        seen.append((url, dict(headers).get("Authorization")))
        return Response(302, [("Location", "/login")], b"")

    for headers in ([], [("authorization", "Bearer x")]):
        exchange = MemoryExchange(headers=headers, remote=remote)
        reply = run(ForwardAuth(Auth(Forward(url))).on_request(exchange))
        assert "@" not in reply.headers[0][1]
    assert seen == [(asked, authorization), (asked, None)]


def ask(status, headers=(), body=b"", names=(), client=()):
    exchange = MemoryExchange(
        headers=client, remote=lambda url, **request: Response(status, headers, body)
    )
    reply = run(ForwardAuth(Auth(Forward(URL, response_headers=names))).on_request(exchange))
    return reply, exchange.items()


COPIED = [
    ((), [("X-User", "root")], [("X-User", "root")]),
    (("X-User",), [("x-user", "root"), ("X_User", "root"), ("A", "1")], [("A", "1")]),
    (
        ("x-user", "X-Group"),
        [("X-User", "root")],
        [("x-user", "ann"), ("X-Group", "a"), ("X-Group", "b")],
    ),
]


@pytest.mark.parametrize(("names", "client", "expected"), COPIED)
def test_headers_of_the_answer_replace_those_of_the_client(names, client, expected):
    answered = [("X-User", "ann"), ("X-Group", "a"), ("x-group", "b")]
    headers = answered if len(names) > 1 else []
    assert ask(200, headers, names=names, client=client) == (None, expected)


REFUSALS = [
    (401, [("WWW-Authenticate", "X")], b"no", Reply(401, b"no", [("WWW-Authenticate", "X")])),
    (500, [], b"", Reply(500)),
    (
        302,
        [("Location", "/login"), ("Content-Length", "0"), ("Connection", "close")],
        b"",
        Reply(302, b"", [("Location", "https://auth.example/login")]),
    ),
    (
        302,
        [("Location", "https://b.example/x y")],
        b"",
        Reply(302, b"", [("Location", "https://b.example/x%20y")]),
    ),
    (302, [("Location", "")], b"", Reply(302, b"", [("Location", "")])),
    (302, [("Location", "?b")], b"", Reply(302, b"", [("Location", f"{URL.partition('?')[0]}?b")])),
    (302, [("Location", "http://b:port/")], b"", Reply(500)),
    (302, [("Location", "http://[/")], b"", Reply(500)),
    (403, [("Set-Cookie", "a"), ("Set-Cookie", "b")], b"", None),
]


@pytest.mark.parametrize(("status", "headers", "body", "answer"), REFUSALS)
def test_other_answers_go_to_the_client(status, headers, body, answer):
    reply, _ = ask(status, headers, body)
    assert reply == (answer or Reply(status, body, headers))


@pytest.mark.parametrize("error", [BackendError(), BackendTimeout(), TooLarge()])
def test_failures_are_500_without_body(error):
    def remote(url, **request):
        raise error

    live = ForwardAuth(Auth(Forward(URL)))
    assert run(live.on_request(MemoryExchange(remote=remote))) == Reply(500)
