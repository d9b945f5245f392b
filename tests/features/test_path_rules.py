"""Path rules: annotations -> configuration, matcher, rule text, operations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.engine.operations.writer import (
    AddPrefix,
    Piece,
    ReplacePath,
    RewritePrefix,
    RewriteRegex,
    StripPrefixes,
)
from fastproxy.feature import OnInvalid
from fastproxy.features import path_rules
from fastproxy.features.path_rules import FEATURE, PathRules
from fastproxy.model.matchers import Path, PathPrefix
from fastproxy.model.paths import escape_path, normalise_path
from tests.native.step_probe import Answered, StepProbe
from tests.support.features import Bad, Refs, assert_outcome, context, outcome, problems
from tests.support.literal_regex import rewritten

READ = [
    ("/a", {}, PathRules("/a")),
    ("", {"rule-type": "Nonsense"}, None),
    ("/a", {"rule-type": "PathPrefixStrip"}, PathRules("/a", "PathPrefixStrip")),
    ("/a", {"traefik.frontend.rule.type": "Path"}, PathRules("/a", "Path")),
    ("/a", {"rule-type": ""}, PathRules("/a")),
    ("/a", {"rule-type": "pathprefix"}, Bad(OnInvalid.PATH, "PathPrefixStrip")),
    ("/a", {"rewrite-target": "/v2"}, PathRules("/a", rewrite_target="/v2")),
    (
        "/a",
        {"rewrite-target": "/v2", "rule-type": "ReplacePath"},
        Bad(OnInvalid.PATH, "rule-type ReplacePath"),
    ),
    (
        "/a",
        {"request-modifier": "AddPrefix: /p", "rule-type": "ReplacePath"},
        Bad(OnInvalid.PATH, "rule-type ReplacePath"),
    ),
    ("/a", {"request-modifier": "AddPrefix: /p"}, PathRules("/a", modifier=("AddPrefix", "/p"))),
    (
        "/a",
        {"request-modifier": " ReplacePath : /x : lost : "},
        PathRules("/a", modifier=("ReplacePath", "/x")),
    ),
    ("/a", {"request-modifier": " :"}, Bad(OnInvalid.PATH, "Type: value")),
    ("/a", {"request-modifier": "AddPrefix"}, Bad(OnInvalid.PATH, "Type: value")),
    ("/a", {"request-modifier": "PathStrip: /a"}, Bad(OnInvalid.PATH, "AddPrefix")),
    ("/a", {"request-modifier": ""}, PathRules("/a")),
]


@pytest.mark.parametrize(("path", "annotations", "expected"), READ)
def test_annotations_become_path_rules(path, annotations, expected):
    assert_outcome(outcome(FEATURE, annotations, Refs(path)), expected)


WARNED = [
    ({"request-modifier": "ReplacePathRegex: ^/a"}, "one blank"),
    ({"request-modifier": "ReplacePathRegex: ^/(a /b"}, "RE2"),
    ({"request-modifier": "ReplacePathRegex: ^/(?=a) /b"}, "RE2"),
    ({"request-modifier": "ReplacePathRegex: ^/a\\C /b"}, "not allowed"),
    ({"request-modifier": f"ReplacePathRegex: {'x' * 1025} /b"}, "longer than 1024"),
]


@pytest.mark.parametrize(("annotations", "part"), WARNED)
def test_a_rewrite_that_cannot_work_is_a_warning_and_no_rewrite(annotations, part):
    [(effect, sentence)] = problems(FEATURE, annotations, Refs("/a"))
    assert effect is None
    assert part in sentence
    assert FEATURE.build(outcome(FEATURE, annotations, Refs("/a")), context()) == []


MATCHERS = [
    ("Path", (Path(("/a",)),), False),
    ("PathPrefix", (PathPrefix(("/a",)),), False),
    ("PathStrip", (Path(("/a",)),), True),
    ("PathPrefixStrip", (PathPrefix(("/a",)),), True),
    ("ReplacePath", (), True),
]


@pytest.mark.parametrize(("rule_type", "matchers", "kept"), MATCHERS)
def test_the_rule_type_decides_the_matcher(rule_type, matchers, kept):
    config = PathRules("/a", rule_type)
    found = path_rules.matcher(config)
    assert (() if found is None else (found,)) == matchers
    assert path_rules.changes_path(config) is kept


TEXTS = [  # the lengths are those of provider.md 5.6
    (PathRules("/bar"), "PathPrefix:/bar", 15),
    (
        PathRules("/api", rewrite_target="/v2"),
        "PathPrefix:/api;ReplacePathRegex: ^/api(.*) /v2$1",
        49,
    ),
    (PathRules("/", rewrite_target="/app/"), "PathPrefix:/;ReplacePathRegex: ^(.*) /app$1", 43),
    (PathRules("/a", "PathStrip", modifier=("AddPrefix", "/p")), "PathStrip:/a;AddPrefix:/p", 25),
]


@pytest.mark.parametrize(("config", "text", "length"), TEXTS)
def test_the_rule_text_is_that_of_traefik(config, text, length):
    assert path_rules.rule_text(config) == text
    assert len(text) == length


def by_regex(config, *pieces):
    return [RewriteRegex(pieces, config)]


def text(value):
    return (Piece.TEXT, 0, value)


FIRST = (Piece.GROUP, 1, b"")


def rewrite(path, target, **more):
    return PathRules(path, rewrite_target=target, **more)


OPERATIONS = [
    (PathRules("/a", "PathPrefixStrip"), [StripPrefixes((b"/a",))]),
    (PathRules("/a", "PathStrip"), [StripPrefixes((b"/a",))]),
    (PathRules("/caf\u00e9 x", "PathPrefixStrip"), [StripPrefixes((b"/caf%C3%A9%20x",))]),
    (PathRules("/%7ea%2fb%zz", "PathStrip"), [StripPrefixes((b"/~a%2Fb%25zz",))]),
    (PathRules("/a", "ReplacePath"), [ReplacePath(b"/a")]),
    (PathRules("/a", modifier=("AddPrefix", "/p")), [AddPrefix(b"/p")]),
    (PathRules("/a", modifier=("ReplacePath", "/p?q#r")), [ReplacePath(b"/p%3Fq%23r")]),
    (rewrite("/api", "/v2"), [RewritePrefix(b"/api", b"/v2")]),
    (rewrite("/api", "/\ud800"), [RewritePrefix(b"/api", b"/%3F")]),
    (rewrite("/api", "/v2/"), [RewritePrefix(b"/api", b"/v2")]),
    (rewrite("/api", "/"), [RewritePrefix(b"/api", b"")]),
    (rewrite("/", "/app"), [RewritePrefix(b"", b"/app")]),
    (rewrite("/v1.0", "/v2"), [RewritePrefix(b"/v1.0", b"/v2")]),
    (
        rewrite("/v1.0", "/v2", modifier=("AddPrefix", "/p")),
        [
            AddPrefix(b"/p"),
            *by_regex(rewrite("/v1.0", "/v2", modifier=("AddPrefix", "/p")), text(b"/v2"), FIRST),
        ],
    ),
    (
        rewrite("/v1", "/v2", modifier=("AddPrefix", "/p")),
        [AddPrefix(b"/p"), RewritePrefix(b"/v1", b"/v2")],
    ),
    (rewrite("/a+b", "/v2"), by_regex(rewrite("/a+b", "/v2"), text(b"/v2"), FIRST)),
    (rewrite("/a", "/v$2"), by_regex(rewrite("/a", "/v$2"), text(b"/v"), FIRST)),
    (
        rewrite("/a", "/b", modifier=("ReplacePathRegex", "^/v1/(.*) /v2/$1")),
        by_regex(
            rewrite("/a", "/b", modifier=("ReplacePathRegex", "^/v1/(.*) /v2/$1")),
            text(b"/v2/"),
            FIRST,
        ),
    ),
    (
        rewrite("/a", "/b", rule_type="PathPrefixStrip"),
        [StripPrefixes((b"/a",)), RewritePrefix(b"/a", b"/b")],
    ),
]


@pytest.mark.parametrize(("config", "operations"), OPERATIONS)
def test_path_rules_become_operations(config, operations):
    assert FEATURE.build(config, context()) == operations


def run(operations, path):
    """What the operations make of a request for `path`: its new path and X-Replaced-Path."""
    expressions = [FEATURE.filter(o.config) for o in operations if isinstance(o, RewriteRegex)]
    probe = StepProbe(b"".join(o.encode() for o in operations), expressions)
    found = probe.run(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    if isinstance(found, Answered):
        return found.status, None
    return found.path.decode(), dict(found.headers).get(b"X-Replaced-Path")


def outcome_of(config, path):
    """The engine's answer, which must be the twin's."""
    found, replaced = run(FEATURE.build(config, context()), path)
    expected = rewritten(config, path)
    if expected is None:
        assert (found, replaced) == (path, None)
        return None
    assert found == expected
    assert found == 400 or replaced == path.encode()
    return found


REWRITES = [
    ("^/v1/(.*) /v2/$1", "/v1/x", "/v2/x"),
    ("^/v1/(.*) /v2/$1", "/v2/x", None),
    ("a b", "/aXa", "/bXb"),
    ("/api(.*) $1", "/apix", "/x"),  # FIX 7
    ("/api(.*) $1", "/api", "/"),
    ("^/(\\w+)/(?P<rest>.*) /${rest}/${1}/$nothing", "/a/b", "/b/a/"),
    ("^/a.b$ /one", "/a%20b", "/one"),
    ("^/\u00e9 /e", "/%C3%A9", "/e"),
    ("^/e /\u00e9", "/e/x", "/%C3%A9/x"),
    ("^/a/b /c", "/a%2Fb", None),
    ("^/(.*) /p/$1", "/a%2Fb%25c%20d%5C", "/p/a%2Fb%25c%20d%5C"),
    ("^/a $nothing", "/a/b", "/b"),
    ("^/a /x/", "/a/b", "/x//b"),
    ("^/v1/(.*) /v2/$1", "/v1/a//b/", "/v2/a//b/"),
    ("^/v1/(.*) /v2/$1", "//v1//x", "/v2/x"),  # seen without empty segments only
    ("^/v1/(.*) /v2/$1", "/v1//x", "/v2//x"),
    ("^//v1 /x", "//v1", "/x"),
    ("^/a /x%2fy%zz", "/a/b", "/x%2Fy%25zz/b"),
    ("2F z", "/a%2Fb", 400),
    ("b ..", "/a/b", 400),
    ("b .", "/a/b/", 400),
    ("b ?#", "/a/b", "/a/%3F%23"),
]


@pytest.mark.parametrize(("value", "path", "expected"), REWRITES)
def test_regex_rewrites_work_on_the_decoded_path(value, path, expected):
    assert outcome_of(PathRules("/", modifier=("ReplacePathRegex", value)), path) == expected


def test_a_rewrite_that_does_not_fit_is_414():
    config = PathRules("/", modifier=("ReplacePathRegex", "a " + "b" * 100))
    assert run(FEATURE.build(config, context()), "/" + "a" * 500) == (414, None)


segments = st.lists(
    st.sampled_from(["a", "b", "v1", "%2F", "%25", "%5C", "%20", "%C3%A9", "%FF", ".x", "/", "~"]),
    max_size=8,
)
patterns = st.sampled_from(
    ["a", "^/a(.*)", "(a|b)*", "x*", "[^/]+", "(?i)A", "/", "(/)|(b)", "\\bv", ".", " ", "$", "%"]
)
replacements = st.lists(
    st.sampled_from(["/", "x", "$1", "${2}", "$0", "$$", ".", "%", "%2f", "\u00e9", "?"]),
    max_size=4,
)


@given(segments, patterns, replacements)
def test_the_engine_rewrites_as_its_twin(parts, pattern, texts):
    path = escape_path("/" + "".join(parts) + "/")
    modifier = ("ReplacePathRegex", f"{pattern} {''.join(texts)}")
    if PathRules("/", modifier=modifier).regex is not None:
        outcome_of(PathRules("/", modifier=modifier), path)


PLAIN = ["/api", "/v1.0", "/a b", "/a-b_c~d", "/x@y", "/"]
SEEN = ["", "/", "x", "/u?", "/%2F", ".0", "/a%20b"]


@pytest.mark.parametrize("path", PLAIN)
@pytest.mark.parametrize("rest", SEEN)
@pytest.mark.parametrize("target", ["/", "/v2", "/v2/", "/w%20x"])
def test_a_native_rewrite_is_the_regex_rewrite(path, rest, target):
    """The twin: what RewritePrefix is documented to do, against the regular expression."""
    config = rewrite(path, target)
    plain = path_rules.plain_rewrite(config)
    assert plain is not None
    start = normalise_path(f"{path}{rest}".replace("?", "%3F"))
    assert run([plain], start)[0] == rewritten(config, start)
