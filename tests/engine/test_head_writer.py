"""Heads without a socket: what the endpoint and the client get (`features.md` 4.1 and 4.2)."""

from __future__ import annotations

import pytest

from tests.native.head_probe import Probe
from tests.support.heads import OURS, Lines, fields, forwarded, message

# --- 4.1: what is left of a request ---

# lines, what arrives beside Host and the forwarding headers
HOP_BY_HOP: list[tuple[Lines, list[tuple[str, str]]]] = [
    (["Accept: a", "Accept: b"], [("Accept", "a"), ("Accept", "b")]),
    (["Connection: close"], []),
    (["Connection: keep-alive", "Keep-Alive: timeout=5"], []),
    (["Proxy-Connection: keep-alive"], []),
    (["Proxy-Authorization: Basic x"], []),
    (["Proxy-Authenticate: Basic"], []),
    (["Te: trailers"], [("Te", "trailers")]),
    (["Te: trailers, deflate;q=0.5"], [("Te", "trailers")]),
    (["Te: deflate"], []),
    (["Trailer: X-Sum"], []),
    (["Upgrade: foo"], []),
    (["Connection: Upgrade", "Upgrade: foo"], [("Connection", "Upgrade"), ("Upgrade", "foo")]),
    (["Connection: X-One, x-two", "X-One: 1", "X-Two: 2", "X-Three: 3"], [("X-Three", "3")]),
    (["X-One: 1", "Connection: X-One"], []),
    (["Connection: Cookie", "Cookie: a=b"], []),
    (["Connection: X-Forwarded-For"], []),
    (["Connection: Host"], []),
    (["Transfer-Encoding: chunked"], [("Transfer-Encoding", "chunked")]),
    (["Content-Length: 007"], [("Content-Length", "7")]),
    (["Expect: 100-continue", "Content-Length: 1"], [("Content-Length", "1")]),
    (["HTTP2-Settings: AAMAAABkAAQAAP__"], []),
    (["Forwarded: for=192.0.2.9"], [("Forwarded", "for=192.0.2.9")]),
    (["X-Forwarded-Prefix: /a"], []),  # of trusted peers only
    (["X_Forwarded_For: 1.2.3.4", "Transfer_Encoding: chunked", "Content_Length: 3"], []),
    (["X-Empty:"], [("X-Empty", "")]),
    (["X-Blanks:  \t a b \t "], [("X-Blanks", "a b")]),
    (["X-High: \xe4"], [("X-High", "\xe4")]),
]


@pytest.mark.parametrize(("lines", "expected"), HOP_BY_HOP)
def test_hop_by_hop(lines: Lines, expected: list[tuple[str, str]]) -> None:
    first, found = forwarded(lines)
    assert first == "GET / HTTP/1.1"
    assert found[0] == ("Host", "a.test")
    rest = [(name, value) for name, value in found[1:] if OURS.get(name) != value]
    assert rest == expected
    assert {name: value for name, value in found if name in OURS} == OURS


# --- 4.2 ---

CLAIMS = [
    "X-Forwarded-For: 198.51.100.1",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: claimed.test",
    "X-Forwarded-Port: 8443",
    "X-Forwarded-Server: claimed",
    "X-Forwarded-Uri: /claimed",
    "X-Forwarded-Method: PUT",
    "X-Real-Ip: 198.51.100.1",
]
BELIEVED = {
    "X-Forwarded-For": "198.51.100.1, 192.0.2.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "claimed.test",
    "X-Forwarded-Port": "8443",
    "X-Forwarded-Server": "proxy",
    "X-Forwarded-Uri": "/claimed",
    "X-Forwarded-Method": "PUT",
    "X-Real-Ip": "198.51.100.1",
}
SECURE = {**OURS, "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"}
TWO = ["X-Forwarded-For: 1.1.1.1", "X-Other: x", "x-forwarded-FOR: 2.2.2.2, 3.3.3.3"]

# lines, host, trusted, tls, what arrives
FORWARDING: list[tuple[Lines, str, bool, bool, dict[str, str]]] = [
    ([], "a.test", False, False, OURS),
    ([], "a.test", True, False, OURS),
    ([], "a.test", False, True, SECURE),
    (CLAIMS, "a.test", False, False, OURS),
    (CLAIMS, "a.test", False, True, SECURE),
    (CLAIMS, "a.test", True, False, BELIEVED),
    (CLAIMS, "a.test", True, True, BELIEVED),
    (TWO, "a.test", True, False,
     {**OURS, "X-Forwarded-For": "1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.1"}),
    (TWO, "a.test", False, False, OURS),
    ([], "a.test:8080", False, False,
     {**OURS, "X-Forwarded-Host": "a.test:8080", "X-Forwarded-Port": "8080"}),
    ([], "[::1]:81", False, True,
     {**SECURE, "X-Forwarded-Host": "[::1]:81", "X-Forwarded-Port": "81"}),
    ([], "[::1]", False, False, {**OURS, "X-Forwarded-Host": "[::1]"}),
    (["X-Forwarded-Proto: https"], "a.test", True, False, SECURE),
    (["X-Forwarded-Proto: wss"], "a.test", True, False, {**SECURE, "X-Forwarded-Proto": "wss"}),
    (["X-Forwarded-Proto: http"], "a.test", True, True,
     {**OURS, "X-Forwarded-Port": "443", "X-Forwarded-Proto": "http"}),
    (["X-Real-Ip: 9.9.9.9"], "a.test", True, False, {**OURS, "X-Real-Ip": "9.9.9.9"}),
    (["X-Forwarded-Proto:", "X-Forwarded-Port: ", "X-Forwarded-Host:", "X-Real-Ip:"], "a.test",
     True, True, SECURE),  # empty ones are none
    (["X_Real_Ip: 9.9.9.9", "X-Forwarded_Host: x"], "a.test", True, False, OURS),
    (["Connection: X-Forwarded-For, X-Real-Ip", *CLAIMS], "a.test", False, False, OURS),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "host", "trusted", "tls", "expected"), FORWARDING)
def test_forwarding_headers(
    lines: Lines, host: str, trusted: bool, tls: bool, expected: dict[str, str]
) -> None:
    _, found = forwarded(lines, host=host, trusted=trusted, tls=tls)
    managed = [(n, v) for n, v in found if n.lower().startswith(("x-forwarded", "x-real"))]
    assert sorted(managed) == sorted(expected.items())


def test_the_host_of_the_endpoint() -> None:
    _, found = forwarded([], host="a.test:81")
    assert found[0] == ("Host", "a.test:81")
    probe = Probe()
    probe.parse(message("GET / HTTP/1.1", ["Host: a.test:81"]))
    _, found = fields(probe.write_request(host=b"10.0.0.1:8080"))
    assert found[0] == ("Host", "10.0.0.1:8080")
    assert ("X-Forwarded-Host", "a.test:81") in found


# --- responses ---

SERVER = ("Server", "fastproxy")  # when the endpoint names none

# lines, how it is written, what the client gets
RESPONSES: list[tuple[Lines, dict[str, bool], list[tuple[str, str]]]] = [
    (["Content-Length: 3", "Date: x", "Server: y"], {},
     [("Date", "x"), ("Server", "y"), ("Content-Length", "3")]),
    (["Date: x", "Transfer-Encoding: chunked"], {"chunked": True},
     [("Date", "x"), SERVER, ("Transfer-Encoding", "chunked")]),
    (["Content-Length: 0"], {},
     [SERVER, ("Date", "Sat, 21 Nov 2026 12:00:00 GMT"), ("Content-Length", "0")]),
    (["Date: x", "Content-Length: 0", "Connection: close, X-One", "X-One: 1", "Keep-Alive: 5"], {},
     [("Date", "x"), SERVER, ("Content-Length", "0")]),
    (["Date: x", "Content-Length: 0"], {"close": True},
     [("Date", "x"), SERVER, ("Content-Length", "0"), ("Connection", "close")]),
    (["Date: x", "Content-Length: 0"], {"http10_keep_alive": True},
     [("Date", "x"), SERVER, ("Content-Length", "0"), ("Connection", "keep-alive")]),
    (["Date: x", "Content-Length: 0", "Set-Cookie: a", "Set-Cookie: b"], {},
     [("Date", "x"), ("Set-Cookie", "a"), ("Set-Cookie", "b"), SERVER, ("Content-Length", "0")]),
    (["Date: x", "Content-Length: 0", "Proxy-Authenticate: Basic", "Trailer: x", "Upgrade: h2"], {},
     [("Date", "x"), SERVER, ("Content-Length", "0")]),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "how", "expected"), RESPONSES)
def test_responses(lines: Lines, how: dict[str, bool], expected: list[tuple[str, str]]) -> None:
    probe = Probe(response=True)
    probe.parse(message("HTTP/1.1 200 Anything", lines))
    assert fields(probe.write_response(**how)) == ("HTTP/1.1 200 OK", expected)
