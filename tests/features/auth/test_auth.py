"""Authentication: annotations and Secrets -> configuration."""

from __future__ import annotations

import pytest

from fastproxy.engine.operations.writer import AskServer, RememberedNonce, RememberedUser, Scripted
from fastproxy.feature import OnInvalid
from fastproxy.features.auth import FEATURE, Auth, Basic, Digest, Forward
from fastproxy.features.auth.basic import BasicAuth
from fastproxy.features.auth.digest import DigestAuth
from fastproxy.features.auth.forward import ForwardAuth
from fastproxy.settings.options import ClientTls
from tests.support.features import Bad, Refs, assert_outcome, context, outcome, problems

PEM = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
KEY = b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"
REFS = Refs(
    secrets={
        "users": {"any": b"ann:{SHA}x\r\n\nbob:y\n"},
        "good": {"any": b"ann:{SHA}x\njim:$apr1$a$b"},
        "hopeless": {"any": b"ann:x\njim:$2y$18$" + b"a" * 53},
        "again": {"any": b"ann:a\nann:b"},
        "digest": {"auth": b"ann:traefik:0123\nbob:other:4567"},
        "empty": {"auth": b"\n\r\n"},
        "two": {"a": b"ann:x", "b": b"bob:y"},
        "none": {},
        "bad": {"auth": b"ann:x\nbob"},
        "colons": {"auth": b"ann:x:y"},
        "tls": {"tls.crt": PEM, "tls.key": KEY},
        "tls3": {"tls.crt": PEM, "tls.key": KEY, "ca.crt": PEM},
        "notpem": {"tls.crt": b"", "tls.key": KEY},
    }
)


def basic(secret="users", **more):
    return {"auth-type": "basic", "auth-secret": secret, **more}


def digest(secret="digest", **more):
    return {"auth-type": "Digest", "auth-secret": secret, **more}


def forward(**more):
    values = {"auth-type": "FORWARD", "auth-url": "https://a.example/check"}
    return {**values, **{key.replace("_", "-"): value for key, value in more.items()}}


USERS = Basic(((b"ann", b"{SHA}x"), (b"bob", b"y")))
URL = "https://a.example/check"
PATH, DROP = OnInvalid.PATH, OnInvalid.DROP
READ = [
    ({}, None),
    ({"auth-type": ""}, None),
    ({"auth-realm": "traefik"}, None),
    ({"auth-realm": "other"}, Bad(PATH, "traefik")),
    ({"auth-type": "oauth"}, Bad(PATH, "basic, digest or forward")),
    (basic(), Auth(USERS)),
    (basic("again"), Auth(Basic(((b"ann", b"b"),)))),
    (
        basic(**{"auth-header-field": "X-User", "auth-remove-header": "true"}),
        Auth(USERS, "X-User", True),
    ),
    (basic(**{"auth-header-field": "a b"}), Bad(PATH, "header name")),
    (basic(**{"auth-realm": "x"}), Bad(PATH, "realm")),
    ({"auth-type": "basic"}, Bad(PATH, "is missing")),
    (basic("nope"), Bad(PATH, "no Secret 'nope'")),
    (basic("two"), Bad(PATH, "2 entries")),
    (basic("none"), Bad(PATH, "0 entries")),
    (basic("empty"), Bad(PATH, "holds no users")),
    (basic("bad"), Bad(DROP, "line 2")),
    (basic("colons"), Bad(DROP, "line 1")),
    (digest(), Auth(Digest(((b"ann", b"0123"),)))),
    (digest("users"), Bad(DROP, "line 1")),
    (digest("nope"), Bad(PATH, "no Secret")),
    (forward(), Auth(Forward(URL))),
    ({"auth-type": "forward"}, Bad(PATH, "is missing")),
    (forward(auth_url="auth.example"), Bad(PATH, "no URL")),
    (forward(auth_url="ftp://a/"), Bad(PATH, "no URL")),
    (forward(auth_url="http://a:b/"), Bad(PATH, "no URL")),
    (forward(auth_url="http://a/\t"), Bad(PATH, "no URL")),
    (
        forward(auth_trust_headers="true", auth_response_headers="X-User, X-Groups"),
        Auth(Forward(URL, True, ("X-User", "X-Groups"))),
    ),
    (forward(auth_tls_insecure="false"), Auth(Forward(URL))),  # FIX 13
    (
        forward(auth_tls_insecure="true"),
        Auth(Forward(URL, tls=ClientTls(insecure_skip_verify=True))),
    ),
    (
        forward(auth_tls_secret="tls"),
        Auth(Forward(URL, tls=ClientTls(cert=PEM.decode(), key=KEY.decode()))),
    ),
    (forward(auth_tls_secret="nope"), Bad(PATH, "no Secret")),
    (forward(auth_tls_secret="tls3"), Bad(PATH, "exactly")),
    (forward(auth_tls_secret="notpem"), Bad(PATH, "tls.crt")),
]  # fmt: skip


@pytest.mark.parametrize(("annotations", "expected"), READ)
def test_annotations_become_authentication(annotations, expected):
    assert_outcome(outcome(FEATURE, annotations, REFS), expected)


TOLD = [
    (basic("good", **{"auth-remove-header": "on"}), OnInvalid.DEFAULT, "boolean"),
    (basic(), None, "line 2 of the users"),
    (basic("hopeless"), None, "line 1 and 2 of the users"),
    (forward(auth_trust_headers="on"), OnInvalid.DEFAULT, "boolean"),
    (forward(auth_tls_insecure=""), OnInvalid.DEFAULT, "boolean"),
    (forward(auth_response_headers="X-A, b c"), None, "header name"),
]


@pytest.mark.parametrize(("annotations", "effect", "part"), TOLD)
def test_bad_values_are_told(annotations, effect, part):
    [(found, sentence)] = problems(FEATURE, annotations, REFS)
    assert found is effect
    assert part in sentence


TOLD = Auth(USERS, "X-User", True)
KINDS = [
    (Auth(USERS), BasicAuth, [RememberedUser(Auth(USERS))]),
    (TOLD, BasicAuth, [RememberedUser(TOLD, b"X-User", True)]),
    (
        Auth(Digest(()), "X-User", True),
        DigestAuth,
        [RememberedNonce(Auth(Digest(()), "X-User", True), b"X-User", True, 86400)],
    ),
    (
        Auth(Forward(URL, True, ("X-User",))),
        ForwardAuth,
        [
            AskServer(
                Auth(Forward(URL, True, ("X-User",))),
                trust=True,
                start=b"GET /check HTTP/1.1\r\nHost: a.example\r\n",
                response_headers=(b"X-User",),
            )
        ],
    ),
]


@pytest.mark.parametrize(("config", "kind", "before"), KINDS)
def test_each_kind_has_its_filter(config, kind, before):
    assert FEATURE.build(config, context()) == [*before, Scripted(config=config)]
    assert type(FEATURE.filter(config)) is kind


def test_secrets_are_not_shown():
    assert "SHA" not in repr(Auth(USERS))
    assert KEY.decode() not in repr(outcome(FEATURE, forward(auth_tls_secret="tls"), REFS))
