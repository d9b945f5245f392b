"""Header fields that tell the endpoint who the user is: set by us alone, whatever clients send."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator

import pytest

from tests.support.feature_rows import Ask, Backend, Field, Row, answering, running, secret

HA1 = hashlib.md5(b"ann:traefik:secret").hexdigest()
USERS = {"auth-header-field": "X-Auth-User", "auth-secret": "users"}
BASIC = Row("basic", {**USERS, "auth-type": "basic"})
DIGEST = Row("digest", {**USERS, "auth-type": "digest", "auth-secret": "digest"})
ASKS = Row(
    "forward",
    {
        "auth-type": "forward",
        "auth-url": "http://127.0.0.1:AUTHPORT/",
        "auth-response-headers": "X-Auth-User",
    },
)
PAGES = {"error-pages": "a: {status: ['599'], backend: row0.test/, query: /page}"}
FILTERED = Row("behind a filter", {**ASKS.ingress, **PAGES, "pass-client-tls-cert": "pem: true"})
ANN = ("Authorization", "Basic YW5uOnNlY3JldA==")
FORGED: dict[str, tuple[tuple[str, str], ...]] = {
    "nothing": (),
    "the field": (("X-Auth-User", "root"),),
    "twice": (("X-Auth-User", "root"), ("X-Auth-User", "admin")),
    "another case": (("x-auth-USER", "root"),),
    "underscores": (("X_Auth_User", "root"), ("X-Auth_User", "root")),
    "named by Connection": (("Connection", "X-Auth-User"),),
    "sent and named by Connection": (("X-Auth-User", "root"), ("Connection", "close, x-auth-user")),
    "named by TE and Trailer": (("TE", "trailers"), ("Trailer", "X-Auth-User")),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Backend]:
    made = Backend(1, "X-Auth-Answer")
    yield made
    made.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, server: Backend) -> Iterator[Field]:
    users = secret("users", {"users": "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="})
    digest = secret("digest", {"users": f"ann:traefik:{HA1}"})
    yield from running(
        tmp_path_factory.mktemp("identity"),
        [BASIC, DIGEST, ASKS, FILTERED],
        manifests=f"{users}\n---\n{digest}",
        words={"AUTHPORT": str(server.ports[0])},
    )


def told(proxy: Field) -> list[tuple[str, str]]:
    """What the endpoint was told about the user, in any spelling."""
    [seen] = proxy.backend.seen
    return [
        (name, value)
        for name, value in seen.headers.items()
        if name.lower().replace("_", "-") == "x-auth-user"
    ]


def digest_of(proxy: Field) -> tuple[str, str]:
    refused = proxy.ask(Ask(), proxy.host(DIGEST))
    found = re.search('nonce="([^"]*)", opaque="([^"]*)"', refused.headers["WWW-Authenticate"])
    assert found
    asked = hashlib.md5(b"GET:/").hexdigest()
    text = f"{HA1}:{found[1]}:00000001:c:auth:{asked}"
    return "Authorization", (
        f'Digest username="ann", realm="traefik", nonce="{found[1]}", uri="/", qop=auth, '
        f'nc=00000001, cnonce="c", opaque="{found[2]}", '
        f'response="{hashlib.md5(text.encode()).hexdigest()}"'
    )


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
@pytest.mark.parametrize("row", [BASIC, DIGEST, ASKS, FILTERED], ids=str)
def test_the_endpoint_is_told_by_us_alone(
    proxy: Field, row: Row, forged: tuple[tuple[str, str], ...]
) -> None:
    headers = forged
    if row is BASIC:
        headers += (ANN,)
    elif row is DIGEST:
        headers += (digest_of(proxy),)
    else:
        headers += (answering("X-Auth-Answer", headers=[["X-Auth-User", "ann"]]),)
    for _ in range(1 if row is DIGEST else 2):  # the second time the engine knows the user
        proxy.backend.seen.clear()
        assert proxy.ask(Ask(headers=headers), proxy.host(row)).status == 200
        assert told(proxy) == [("X-Auth-User", "ann")]


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
@pytest.mark.parametrize("row", [ASKS, FILTERED], ids=str)
def test_a_server_that_tells_nobody_leaves_nobody(
    proxy: Field, row: Row, forged: tuple[tuple[str, str], ...]
) -> None:
    proxy.backend.seen.clear()
    assert proxy.ask(Ask(headers=forged), proxy.host(row)).status == 200
    assert told(proxy) == []


@pytest.mark.parametrize("user", ["", ":", "ann", "ann:", ":secret", "ann:secret2", "Ann:secret"])
def test_who_is_nobody(proxy: Field, user: str) -> None:
    header = ("Authorization", f"Basic {b64encode(user.encode()).decode()}")
    proxy.backend.seen.clear()
    assert proxy.ask(Ask(headers=(header,)), proxy.host(BASIC)).status == 401
    assert proxy.backend.seen == []
