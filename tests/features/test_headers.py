"""White list, custom headers and security headers: annotations -> configuration, operations."""

from __future__ import annotations

import ipaddress

import pytest

from fastproxy.engine.operations.writer import (
    AllowNetworks,
    EditRequestHeaders,
    EditResponseHeaders,
    FixLocation,
    SecureRequest,
)
from fastproxy.feature import OnInvalid
from fastproxy.features import headers, secure_headers, whitelist
from fastproxy.features.headers import CustomRequestHeaders, CustomResponseHeaders
from fastproxy.features.secure_headers import SecureHeaders
from fastproxy.features.whitelist import Whitelist, network
from tests.support.features import Bad, Refs, assert_outcome, context, outcome, problems

IPV4 = bytes(10) + b"\xff\xff"


NETWORKS = [
    ("192.0.2.7", (IPV4 + bytes((192, 0, 2, 7)), 128)),
    ("10.1.2.3/8", (IPV4 + bytes((10, 0, 0, 0)), 104)),
    ("0.0.0.0/0", (IPV4 + bytes(4), 96)),
    ("2001:db8::1", (ipaddress.ip_address("2001:db8::1").packed, 128)),
    ("2001:db8::1/32", (ipaddress.ip_address("2001:db8::").packed, 32)),
    ("::ffff:10.0.0.0/104", (IPV4 + bytes((10, 0, 0, 0)), 104)),
]


@pytest.mark.parametrize(("text", "expected"), NETWORKS)
def test_ranges_become_sixteen_bytes_and_prefix(text, expected):
    assert network(text) == expected


@pytest.mark.parametrize(
    "text", ["10.0.0.0/33", "host", "10.0.0", "::1%eth0/64", "1.2.3.4:80", "10.0.0.0/255.0.0.0"]
)
def test_other_ranges_are_refused(text):
    with pytest.raises(ValueError, match="neither an address nor a range"):
        network(text)


TEN = network("10.0.0.0/8")
RANGE = {"whitelist-source-range": "10.0.0.0/8"}
BROKEN = {"whitelist-source-range": "10.0.0.0/8, nonsense"}
DROP = Refs(whitelist_invalid="drop")
READ = [
    (whitelist.FEATURE, {}, Refs(), None),
    (whitelist.FEATURE, {"whitelist-source-range": " , "}, Refs(), None),
    (whitelist.FEATURE, {"whitelist-x-forwarded-for": "true"}, Refs(), None),
    (whitelist.FEATURE, RANGE, Refs(), Whitelist((TEN,))),
    (
        whitelist.FEATURE,
        {**RANGE, "whitelist-x-forwarded-for": "true"},
        Refs(),
        Whitelist((TEN,), True),
    ),
    (whitelist.FEATURE, BROKEN, Refs(), Bad(OnInvalid.OFF, "everybody may enter")),
    (whitelist.FEATURE, BROKEN, DROP, Bad(OnInvalid.DROP, "'nonsense'")),
    (headers.REQUEST, {}, Refs(), None),
    (headers.REQUEST, {"custom-request-headers": "nothing"}, Refs(), None),
    (
        headers.REQUEST,
        {"custom-request-headers": "x-team : blue:1 || X-Debug: || bad || X-Team: red"},
        Refs(),
        CustomRequestHeaders((("X-Team", "red"), ("X-Debug", ""))),
    ),
    (
        headers.RESPONSE,
        {"custom-response-headers": "Cache-Control: no-store||Server:"},
        Refs(),
        CustomResponseHeaders((("Cache-Control", "no-store"), ("Server", ""))),
    ),
    (
        headers.RESPONSE,
        {"custom-response-headers": "X-A: 1\r\nX-Evil: 2 || X-B: 1"},
        Refs(),
        CustomResponseHeaders((("X-B", "1"),)),
    ),
    (secure_headers.FEATURE, {}, Refs(), None),
    (
        secure_headers.FEATURE,
        {"ssl-redirect": "false", "hsts-max-age": "0", "ssl-host": "", "allowed-hosts": ","},
        Refs(),
        None,
    ),
    (
        secure_headers.FEATURE,
        {"ssl-proxy-headers": "x-forwarded-proto: https||bad", "allowed-hosts": "a, b"},
        Refs(),
        SecureHeaders(
            allowed_hosts=("a", "b"), ssl_proxy_headers=(("X-Forwarded-Proto", "https"),)
        ),
    ),
]


@pytest.mark.parametrize(("feature", "annotations", "refs", "expected"), READ)
def test_annotations_become_configurations(feature, annotations, refs, expected):
    assert_outcome(outcome(feature, annotations, refs), expected)


BOOLEANS = [a.name for a in secure_headers.ANNOTATIONS if a.default is False]
TOLD = [
    (
        whitelist.FEATURE,
        {**RANGE, "whitelist-x-forwarded-for": "y"},
        OnInvalid.DEFAULT,
        "boolean",
    ),
    (headers.REQUEST, {"custom-request-headers": "A: 1||bad"}, None, "item 2 is"),
    (headers.REQUEST, {"custom-request-headers": "bad"}, OnInvalid.DEFAULT, "no header"),
    (headers.RESPONSE, {"custom-response-headers": "A b: 1||C: 1"}, None, "item 1 is"),
    (headers.RESPONSE, {"custom-response-headers": ""}, OnInvalid.DEFAULT, "no header"),
    (secure_headers.FEATURE, {"ssl-proxy-headers": "x"}, OnInvalid.DEFAULT, "no header"),
    (secure_headers.FEATURE, {"ssl-proxy-headers": "x||A: b"}, None, "item 1 is"),
    (secure_headers.FEATURE, {"hsts-max-age": "1y"}, OnInvalid.DEFAULT, "whole number"),
    (
        secure_headers.FEATURE,
        {"content-security-policy": "a\nb"},
        OnInvalid.DEFAULT,
        "control character",
    ),
    *[(secure_headers.FEATURE, {name: "yes"}, OnInvalid.DEFAULT, "boolean") for name in BOOLEANS],
]


@pytest.mark.parametrize(("feature", "annotations", "effect", "part"), TOLD)
def test_bad_values_are_told(feature, annotations, effect, part):
    [(found, sentence)] = problems(feature, annotations)
    assert found is effect
    assert part in sentence


def test_there_are_ten_flags():
    assert len(BOOLEANS) == 10


def test_white_list_and_custom_headers_become_operations():
    assert whitelist.build(Whitelist((TEN,), True), context()) == [AllowNetworks((TEN,), True)]
    edits = (("X-A", "ä"), ("Host", "evil"), ("X-B", ""))
    assert headers.build_request(CustomRequestHeaders(edits), context()) == [
        EditRequestHeaders(((b"X-A", "ä".encode()), (b"X-B", b"")))
    ]
    assert headers.build_request(CustomRequestHeaders((("Host", "x"),)), context()) == []
    assert headers.build_response(CustomResponseHeaders((("Server", ""),)), context()) == [
        EditResponseHeaders(((b"Server", b""),))
    ]


def response(*edits, ssl=False):
    return EditResponseHeaders(tuple(edits), only_ssl=ssl)


HSTS = b"Strict-Transport-Security"
SECURITY = [
    ({"hsts-max-age": "60"}, [response((HSTS, b"max-age=60"), ssl=True)]),
    ({"hsts-max-age": "60", "force-hsts": "true"}, [response((HSTS, b"max-age=60"))]),
    (
        {"hsts-max-age": "60", "hsts-include-subdomains": "true", "hsts-preload": "true"},
        [response((HSTS, b"max-age=60; includeSubDomains; preload"), ssl=True)],
    ),
    ({"hsts-preload": "true", "force-hsts": "true"}, []),
    ({"hsts-max-age": "60", "is-development": "true"}, []),
    ({"hsts-max-age": "60", "force-hsts": "true", "is-development": "true"}, []),
    ({"frame-deny": "true"}, [response((b"X-Frame-Options", b"DENY"))]),
    (
        {"frame-deny": "true", "custom-frame-options-value": "SAMEORIGIN"},
        [response((b"X-Frame-Options", b"SAMEORIGIN"))],
    ),
    ({"content-type-nosniff": "true"}, [response((b"X-Content-Type-Options", b"nosniff"))]),
    ({"browser-xss-filter": "true"}, [response((b"X-XSS-Protection", b"1; mode=block"))]),
    (
        {"browser-xss-filter": "true", "custom-browser-xss-value": "0"},
        [response((b"X-XSS-Protection", b"0"))],
    ),
    ({"public-key": "pin"}, [response((b"Public-Key-Pins", b"pin"), ssl=True)]),
    ({"public-key": "pin", "is-development": "true"}, []),
    ({"referrer-policy": "same-origin"}, [response((b"Referrer-Policy", b"same-origin"))]),
    (
        {"content-security-policy": "script-src $NONCE; style-src $NONCE"},
        [
            response(
                (
                    b"Content-Security-Policy",
                    b"script-src 'nonce-\x01'; style-src 'nonce-\x01'",
                )
            )
        ],
    ),
    ({"ssl-host": "s.example"}, [FixLocation(b"s.example")]),
    ({"ssl-temporary-redirect": "true"}, []),
    ({"is-development": "true"}, []),
    ({"proxy-headers": "X-Forwarded-Host"}, []),
    (
        {"ssl-redirect": "true", "ssl-temporary-redirect": "true", "ssl-host": "s"},
        [SecureRequest(ssl_redirect=True, temporary=True, ssl_host=b"s"), FixLocation(b"s")],
    ),
    (
        {
            "allowed-hosts": "A.example",
            "proxy-headers": "X-H",
            "is-development": "true",
            "ssl-force-host": "true",
        },
        [
            SecureRequest(
                allowed_hosts=(b"A.example",),
                proxy_headers=(b"X-H",),
                development=True,
                force_host=True,
            )
        ],
    ),
    (
        {"ssl-proxy-headers": "X-Forwarded-Proto: https", "hsts-max-age": "1"},
        [
            SecureRequest(ssl_proxy_headers=((b"X-Forwarded-Proto", b"https"),)),
            response((HSTS, b"max-age=1"), ssl=True),
        ],
    ),
]


@pytest.mark.parametrize(("annotations", "operations"), SECURITY)
def test_security_headers_become_operations(annotations, operations):
    config = outcome(secure_headers.FEATURE, annotations)
    assert isinstance(config, SecureHeaders)
    assert secure_headers.build(config, context()) == operations
