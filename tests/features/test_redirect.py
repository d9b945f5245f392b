"""Redirects: annotations -> configuration, operations, answers; the replacement syntax."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.engine.operations.writer import (
    AddPrefix,
    Piece,
    RedirectEntryPoint,
    RedirectRegex,
    RedirectRoot,
    ReplacePath,
)
from fastproxy.feature import OnInvalid
from fastproxy.features.redirect import FEATURE, Redirect
from fastproxy.settings.options import EntryPoint, EntryPointTls
from tests.native.step_probe import Passed, StepProbe
from tests.support.features import Bad, Refs, assert_outcome, context, outcome, problems
from tests.support.literal_regex import Request, redirected

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
    (
        PARSED,
        [RedirectRegex(((Piece.TEXT, 0, b"https://b/"), (Piece.GROUP, 1, b"")), False, PARSED)],
    ),
]


@pytest.mark.parametrize(("config", "operations"), BUILT)
def test_redirects_become_operations(config, operations):
    assert FEATURE.build(config, context(entry_points=POINTS)) == operations


def answer(config, request="GET /a?b=c", *lines, tls=False, before=()):
    """What the engine answers: status, Location and body; None when the request goes on."""
    probe = StepProbe(
        b"".join(o.encode() for o in (*before, *FEATURE.build(config, context()))),
        [FEATURE.filter(config)],
        tls=tls,
    )
    head = "\r\n".join([f"{request} HTTP/1.1", "Host: h", *lines, "", ""])
    found = probe.run(head.encode())
    if isinstance(found, Passed):
        return None
    location = found.lines.decode().removeprefix("Location: ").removesuffix("\r\n")
    return found.status, location, found.body


def moved(location):
    return 302, location, b"Found"


BAD = (502, "", b"Bad Gateway")
SECURE = "X-Forwarded-Proto: https"
TABLE = [  # regex, replacement, request and headers, answer
    ("^http://h/(.*)", "https://b/$1", (), moved("https://b/a?b=c")),
    ("^http://h/(.*)", "https://b/$1x", (), moved("https://b/")),
    ("^http://h/(.*)", "https://b/${1}x", (), moved("https://b/a?b=cx")),
    ("^http://h/(?P<r>.*)", "https://b/$r/$$", (), moved("https://b/a?b=c/$")),
    ("^https://", "http://", (), None),
    ("^https://h", "http://g", ("GET /a?b=c", SECURE), moved("http://g/a?b=c")),
    ("^https://h", "http://g", ("GET /a?b=c", "X-Forwarded-Proto: HTTPS"), None),
    ("^http://h/(.*)", "http://h/$1", (), None),  # V equals U
    ("^http://h$", "x", ("GET http://h",), None),
    (
        "^http://h",
        "https://{{ .Request.Host }}.{{ .Request.Method }}",
        (),
        moved("https://h.GET/a?b=c"),
    ),
    (
        "^.*$",
        '/{{ .Request.Header.Get "X-A" }}{{ "lit" }}{{.Request.URL.Path}}',
        ("GET /a?b=c", "x-a: {{ .Request.Host }}$1"),
        moved("/%7B%7B%20.Request.Host%20%7D%7D$1lit/a"),
    ),
    ("^.*$", '{{ .Request.Header.Get "X-A" }}x', (), moved("x")),
    ("^.*$", "http://b c/", (), BAD),
    ("^.*$", "http://b:port/", (), BAD),
    ("^.*$", "http://b/%zz", (), BAD),
    ("^.*$", "http://u:p@b:8/?%zz", (), moved("http://u:p@b:8/?%zz")),
    ("^.*$", "http://[::1]:8/", (), moved("http://[::1]:8/")),
    ("^.*$", "http://[::1/", (), BAD),
    ("^.*$", "a:b", (), moved("a:b")),
    ("^.*$", "1:b", (), BAD),
    ("^.*$", "1/b:c", (), moved("1/b:c")),
    ("^.*$", "/a b\u00e9", (), moved("/a%20b%C3%A9")),
    ("/a", "/b", ("GET /a/a",), moved("http://h/b/b")),
    ("^http://h(.*)", "https://h$1", ("GET /a?",), moved("https://h/a?")),
]


@pytest.mark.parametrize(("regex", "text", "request_", "expected"), TABLE)
def test_regex_redirects(regex, text, request_, expected):
    assert answer(Redirect(regex=regex, replacement=text), *request_) == expected


def test_the_scheme_is_that_of_the_connection():
    config = Redirect(regex="^https://h", replacement="http://g")
    assert answer(config, tls=True) == moved("http://g/a?b=c")


def test_the_path_of_the_replacement_is_lost_behind_path_operations():
    config = Redirect(regex="^http://h/(.*)", replacement="https://b/x/$1")
    found = answer(config, before=[ReplacePath(b"/stripped")])
    assert found == moved("https://b/a?b=c")


ADDED = [  # regex, replacement, Location: the first occurrence of the prefix is taken out of V
    ("^http://h/(.*)", "https://b/x/$1", "https://b/x/a?b=c"),
    ("^http://h/(.*)", "https://b/p/$1", "https://b/p/a?b=c"),
    ("^http://h/p/(.*)", "https://b/x/$1", "https://b/x/a?b=c"),
]


@pytest.mark.parametrize(("regex", "text", "location"), ADDED)
def test_an_added_prefix_is_taken_out_again(regex, text, location):
    config = Redirect(regex=regex, replacement=text)
    assert answer(config, before=[AddPrefix(b"/p")]) == moved(location)


def test_an_added_prefix_counts_only_alone():
    config = Redirect(regex="^http://h/(.*)", replacement="https://b/x/$1")
    operations = [AddPrefix(b"/p"), ReplacePath(b"/r")]
    assert answer(config, before=operations) == moved("https://b/a?b=c")


@pytest.mark.parametrize("permanent", [False, True])
def test_an_entry_point_without_a_host_is_nowhere(permanent):
    """A request of HTTP/1.0 without Host is not let through to what only https may see."""
    config = Redirect(entry_point="https", permanent=permanent)
    probe = StepProbe(b"".join(o.encode() for o in FEATURE.build(config, context(
        entry_points=POINTS))))  # fmt: skip
    found = probe.run(b"GET / HTTP/1.0\r\n\r\n")
    assert (found.status, found.body) == (502, b"Bad Gateway")


def test_a_location_that_does_not_fit_is_414():
    config = Redirect(regex="a", replacement="b" * 100)
    assert answer(config, "GET /" + "a" * 500) == (414, "", b"Request URI Too Long")


STATUSES = [
    ("GET", False, 302, b"Found"),
    ("GET", True, 301, b"Moved Permanently"),
    ("HEAD", False, 307, b"Temporary Redirect"),
    ("POST", True, 308, b"Permanent Redirect"),
]


@pytest.mark.parametrize(("method", "permanent", "code", "body"), STATUSES)
def test_the_status_depends_on_the_method(method, permanent, code, body):
    config = Redirect(regex="^http://h", replacement="https://h", permanent=permanent)
    assert answer(config, f"{method} /") == (code, "https://h/", body)


PARTS = "http:// // h :8 / ? # %41 %4 @ [::1] é a:b $1 $0 ~ ^"
MORE_PARTS = (" ", "{{ .Request.URL.Path }}", '{{ .Request.Header.Get "X-A" }}')
pieces = st.lists(st.sampled_from([*PARTS.split(" "), *MORE_PARTS]), min_size=1, max_size=5)
expressions = st.sampled_from(["^.*$", "^http://h(.*)", "(/)", "a|b|(c)", "(?P<n>h)", "x*"])
targets = st.sampled_from(["/", "/a?b=c", "/a/a?", "/%2Fa", "/c?/"])
headers = st.sampled_from(["", "X-A: ä@/%", SECURE, "x-a: c"])


@given(expressions, pieces, targets, headers, st.booleans())
def test_the_engine_redirects_as_its_twin(regex, parts, target, line, stripped):
    config = Redirect(regex=regex, replacement="".join(parts))
    path, mark, query = target.partition("?")
    name, _, value = line.partition(": ")
    expected = redirected(
        config,
        Request(
            method="GET",
            scheme="http",
            host="h",
            path="/s" if stripped else path,
            query=query if mark else None,
            headers={name.lower(): value.encode().decode("latin-1")},
            original_path=path,
        ),
    )
    before = [ReplacePath(b"/s")] if stripped else []
    found = answer(config, f"GET {target}", *([line] if line else []), before=before)
    if isinstance(expected, tuple):
        assert found == (*expected, b"Found")
    else:
        assert found == (BAD if expected else None)
