"""Features of entry points: settings -> operations in their order."""

from __future__ import annotations

import pytest

from fastproxy.engine.operations.writer import (
    AllowNetworks,
    AskServer,
    Compress,
    Piece,
    RedirectEntryPoint,
    RedirectRegex,
    RememberedNonce,
    RememberedUser,
    Scripted,
)
from fastproxy.features.auth import Auth, Basic, Digest, Forward
from fastproxy.features.redirect import Redirect
from fastproxy.features.whitelist import network
from fastproxy.publish.entry_point_features import entry_point_operations
from fastproxy.settings.options import (
    ClientTls,
    EntryPoint,
    EntryPointAuth,
    EntryPointRedirect,
    EntryPointTls,
    Users,
    WhiteList,
)
from fastproxy.settings.options import Forward as ForwardSettings

HTTPS = EntryPoint(":8443", tls=EntryPointTls())
BASIC = EntryPointAuth(header_field="X-U", basic=Users(("a:1", "b:2"), remove_header=True))
TEN = network("10.0.0.0/8")
REGEX = Redirect(regex="^a", replacement="b", permanent=True)


def scripted(config):
    return Scripted(config=config)


BASIC_AUTH = Auth(Basic(((b"a", b"1"), (b"b", b"2"))), "X-U", True)
DIGEST_AUTH = Auth(Digest(((b"a", b"1"),)))
FORWARD_AUTH = Auth(Forward("http://a/", True, ("X-A",), ClientTls(ca="ca.pem")))
BASIC_STEPS = [RememberedUser(BASIC_AUTH, b"X-U", True), scripted(BASIC_AUTH)]


def to(name):
    return EntryPointRedirect(name)


def regex(expression, replacement):
    return EntryPointRedirect(regex=expression, replacement=replacement, permanent=True)


BUILT = [
    (EntryPoint(":80"), []),
    (
        EntryPoint(redirect=to("https")),
        [RedirectEntryPoint(b"https", 8443)],
    ),
    (EntryPoint(redirect=to("http")), []),
    (EntryPoint(redirect=regex("^a", "b")), [RedirectRegex(((Piece.TEXT, 0, b"b"),), True, REGEX)]),
    (EntryPoint(redirect=regex("^a", "")), []),
    (EntryPoint(compress=True), [Compress()]),
    (EntryPoint(white_list=WhiteList(("10.0.0.0/8",), True)), [AllowNetworks((TEN,), True)]),
    (EntryPoint(whitelist_source_range=("10.0.0.0/8",)), [AllowNetworks((TEN,))]),
    (
        EntryPoint(auth=BASIC),
        BASIC_STEPS,
    ),
    (
        EntryPoint(auth=EntryPointAuth(digest=Users(("a:traefik:1",)))),
        [RememberedNonce(DIGEST_AUTH, b"", False, 86400), scripted(DIGEST_AUTH)],
    ),
    (
        EntryPoint(
            auth=EntryPointAuth(
                forward=ForwardSettings("http://a/", True, ("X-A",), ClientTls(ca="ca.pem"))
            )
        ),
        [
            AskServer(FORWARD_AUTH, True, b"GET / HTTP/1.1\r\nHost: a\r\n", b"", (b"X-A",)),
            scripted(FORWARD_AUTH),
        ],
    ),
    (EntryPoint(auth=EntryPointAuth()), []),
    (
        EntryPoint(
            redirect=to("https"),
            auth=BASIC,
            compress=True,
            white_list=WhiteList(("10.0.0.0/8",)),
        ),
        [
            RedirectEntryPoint(b"https", 8443),
            *BASIC_STEPS,
            Compress(),
            AllowNetworks((TEN,)),
        ],
    ),
]


@pytest.mark.parametrize(("entry_point", "operations"), BUILT)
def test_settings_become_operations(entry_point, operations):
    assert entry_point_operations("http", {"http": entry_point, "https": HTTPS}) == operations


IMPOSSIBLE = [
    (EntryPoint(redirect=to("nope")), "'nope'"),
    (EntryPoint(redirect=regex("(", "b")), "RE2"),
    (EntryPoint(redirect=regex("a", "{{ x }}")), "placeholders"),
    (EntryPoint(white_list=WhiteList()), "empty"),
    (EntryPoint(white_list=WhiteList(("x",))), "range"),
    (EntryPoint(auth=EntryPointAuth(basic=Users(("a",)))), "line 1"),
]


@pytest.mark.parametrize(("entry_point", "part"), IMPOSSIBLE)
def test_impossible_settings_are_refused(entry_point, part):
    with pytest.raises(ValueError, match=part):
        entry_point_operations("http", {"http": entry_point})


def test_the_users_file_is_merged_over_the_users(tmp_path):
    file = tmp_path / "users"
    file.write_bytes(b"# comment\n\n b:3 \r\n#c:4\nd:5\n")
    users = Users(("a:1", "b:2"), str(file))
    *_, operation = entry_point_operations(
        "http", {"http": EntryPoint(auth=EntryPointAuth(basic=users))}
    )
    assert dict(operation.config.method.users) == {b"a": b"1", b"b": b"3", b"d": b"5"}
