"""Redirects: annotations -> configuration, operations, answers; the replacement syntax."""

from __future__ import annotations

import pytest

from fastproxy.engine.operations import RedirectEntryPoint, RedirectRoot, Scripted
from fastproxy.feature import OnInvalid
from fastproxy.features.redirect import FEATURE, Redirect
from fastproxy.reply import Reply
from fastproxy.settings import EntryPoint, EntryPointTls
from tests.support.exchange import MemoryExchange
from tests.support.features import Bad, Refs, assert_outcome, context, outcome, problems

REGEX = {"redirect-regex": "^http://a/(.*)", "redirect-replacement": "https://b/$1"}
PARSED = Redirect(regex="^http://a/(.*)", replacement="https://b/$1")
READ = [
    ("/", {}, None),
    ("/", {"redirect-permanent": "true"}, None),
    ("/", {"app-root": "//start"}, Redirect(root="/start")),
    ("", {"app-root": "start", "redirect-permanent": "1"}, Redirect(root="/start", permanent=True)),
    ("/a", {"app-root": "/start"}, None),
    ("/a", {"app-root": "/start", **REGEX}, PARSED),
    ("/", {"app-root": "/start", "redirect-entry-point": "nope"}, Redirect(root="/start")),
    ("/", {"redirect-entry-point": "https"}, Redirect(entry_point="https")),
    ("/", {"traefik.frontend.redirect.entrypoint": "https"}, Redirect(entry_point="https")),
    ("/", {"traefik.frontend.redirect.entryPoint": "https"}, Redirect(entry_point="https")),
    ("/", {"redirect-entry-point": "https", **REGEX}, Redirect(entry_point="https")),
    ("/", {"redirect-entry-point": "nope"}, Bad(OnInvalid.DROP, "'nope'")),
    ("/", REGEX, PARSED),
    (
        "/",
        {
            "traefik.frontend.redirect.regex": "^http://a/(.*)",
            "traefik.frontend.redirect.replacement": "https://b/$1",
        },
        PARSED,
    ),
    ("/", {"redirect-regex": "a"}, None),
    ("/", {"redirect-replacement": "a"}, None),
    (
        "/",
        {**REGEX, "redirect-regex": r"a\\.b"},
        Redirect(regex=r"a\.b", replacement="https://b/$1"),
    ),
    ("/", {**REGEX, "redirect-regex": r"a\.b"}, Bad(OnInvalid.OFF, "backslash twice")),
    ("/", {**REGEX, "redirect-replacement": 'a"b'}, Bad(OnInvalid.OFF, "double quote")),
    ("/", {**REGEX, "redirect-regex": "("}, Bad(OnInvalid.DROP, "RE2")),
    ("/", {**REGEX, "redirect-regex": "a(?!b)"}, Bad(OnInvalid.DROP, "RE2")),
    ("/", {**REGEX, "redirect-regex": r"\\C"}, Bad(OnInvalid.DROP, "not allowed")),
    ("/", {**REGEX, "redirect-regex": "a" * 1025}, Bad(OnInvalid.DROP, "1024")),
    ("/", {**REGEX, "redirect-replacement": "{{ env }}"}, Bad(OnInvalid.DROP, "placeholders")),
    ("/", {**REGEX, "redirect-replacement": "{{ .Request.Host"}, Bad(OnInvalid.DROP, "closed")),
]


@pytest.mark.parametrize(("path", "annotations", "expected"), READ)
def test_annotations_become_redirects(path, annotations, expected):
    assert_outcome(outcome(FEATURE, annotations, Refs(path)), expected)


def test_a_bad_flag_is_told():
    [(effect, sentence)] = problems(FEATURE, {"redirect-permanent": "yes"})
    assert effect is OnInvalid.DEFAULT
    assert "boolean" in sentence


POINTS = {
    "http": EntryPoint(":80"),
    "https": EntryPoint("10.0.0.1:8443", tls=EntryPointTls()),
    "plain": EntryPoint(":8080"),
}
BUILT = [
    (Redirect(root="/a b"), [RedirectRoot(b"/a%20b")]),
    (Redirect(entry_point="https"), [RedirectEntryPoint(b"https", 8443)]),
    (Redirect(entry_point="plain", permanent=True), [RedirectEntryPoint(b"http", 8080, True)]),
    (Redirect(entry_point="http"), []),
    (PARSED, [Scripted(config=PARSED)]),
]


@pytest.mark.parametrize(("config", "operations"), BUILT)
def test_redirects_become_operations(config, operations):
    assert FEATURE.build(config, context(entry_points=POINTS)) == operations


def moved(code, location, body):
    return Reply(
        code, body, [("Content-Type", "text/plain; charset=utf-8"), ("Location", location)]
    )


FOUND, PERMANENT = b"Found", b"Moved Permanently"
BAD = Reply(502, b"Bad Gateway", [("Content-Type", "text/plain; charset=utf-8")])
TABLE = [  # regex, replacement, request, answer
    ("^http://h/(.*)", "https://b/$1", {}, moved(302, "https://b/a?b=c", FOUND)),
    ("^http://h/(.*)", "https://b/$1x", {}, moved(302, "https://b/", FOUND)),
    ("^http://h/(.*)", "https://b/${1}x", {}, moved(302, "https://b/a?b=cx", FOUND)),
    ("^http://h/(?P<r>.*)", "https://b/$r/$$", {}, moved(302, "https://b/a?b=c/$", FOUND)),
    ("^https://", "http://", {}, None),
    ("^https://h", "http://g", {"scheme": "https"}, moved(302, "http://g/a?b=c", FOUND)),
    (
        "^https://h",
        "http://g",
        {"headers": [("Host", "h"), ("X-Forwarded-Proto", "https")]},
        moved(302, "http://g/a?b=c", FOUND),
    ),
    ("^http://h/(.*)", "http://h/$1", {}, None),  # V equals U
    (
        "^http://h",
        "https://{{ .Request.Host }}.{{ .Request.Method }}",
        {},
        moved(302, "https://h.GET/a?b=c", FOUND),
    ),
    (
        "^.*$",
        '/{{ .Request.Header.Get "X-A" }}{{ "lit" }}{{.Request.URL.Path}}',
        {"headers": [("Host", "h"), ("x-a", "{{ .Request.Host }}$1")]},
        moved(302, "/%7B%7B%20.Request.Host%20%7D%7D$1lit/a", FOUND),
    ),
    ("^.*$", "http://b c/", {}, BAD),
    ("^.*$", "http://b:port/", {}, BAD),
    ("^.*$", "http://b/%zz", {}, BAD),
    ("^.*$", "a:b", {}, moved(302, "a:b", FOUND)),
    ("^.*$", "1:b", {}, BAD),
    ("^.*$", "/a b\u00e9", {}, moved(302, "/a%20b%C3%A9", FOUND)),
    (
        "^http://h/(.*)",
        "https://b/x/$1",
        {"path": "/stripped"},
        moved(302, "https://b/a?b=c", FOUND),  # the path of the replacement is lost
    ),
    ("/a", "/b", {"target": "/a/a"}, moved(302, "http://h/b/b", FOUND)),
]


@pytest.mark.parametrize(("regex", "text", "request_", "answer"), TABLE)
def test_regex_redirects(regex, text, request_, answer):
    live = FEATURE.filter(Redirect(regex=regex, replacement=text))
    exchange = MemoryExchange(**{"target": "/a?b=c", "headers": [("Host", "h")], **request_})
    assert live.on_request(exchange) == answer


STATUSES = [
    ("GET", False, 302, FOUND),
    ("GET", True, 301, PERMANENT),
    ("HEAD", False, 307, b"Temporary Redirect"),
    ("POST", True, 308, b"Permanent Redirect"),
]


@pytest.mark.parametrize(("method", "permanent", "code", "body"), STATUSES)
def test_the_status_depends_on_the_method(method, permanent, code, body):
    live = FEATURE.filter(Redirect(regex="^http://h", replacement="https://h", permanent=permanent))
    exchange = MemoryExchange("/", method=method, headers=[("Host", "h")])
    assert live.on_request(exchange) == moved(code, "https://h/", body)
