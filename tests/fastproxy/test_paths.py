"""Literal paths and templates of rules in the form in which requests are compared."""

from __future__ import annotations

import pytest

from fastproxy.model.paths import escape_path, normalise_path, path_pattern, template_pattern

NORMAL = [
    ("/", "/"),
    ("//", "/"),
    ("/a/", "/a/"),
    ("/a//", "/a/"),
    ("/a/./b/../c", "/a/c"),
    ("/../a", "/a"),
    ("/%2e%2E/a", "/a"),
    ("/.", "/."),
    ("/a/..", "/a/.."),
    ("/.well-known/x", "/.well-known/x"),
    ("/100%", "/100%25"),
    ("/%zz", "/%25zz"),
    ("/a?b#c", "/a%3Fb%23c"),
    ('/"<>\\^`{|}', "/%22%3C%3E%5C%5E%60%7B|%7D"),
    ("/%c3%a9é", "/%C3%A9%C3%A9"),
    ("/!$&'()*+,;=:@[]~", "/!$&'()*+,;=:@[]~"),
    ("a//b", "a//b"),
    ("", ""),
]


@pytest.mark.parametrize(("path", "normal"), NORMAL)
def test_normalise_path(path: str, normal: str) -> None:
    assert normalise_path(path) == normal


@pytest.mark.parametrize(
    ("path", "escaped"),
    [("/a//b/../", "/a//b/../"), ("%7e%2f é", "~%2F%20%C3%A9"), ("\ud800", "%3F")],
)
def test_escape_path_leaves_segments_alone(path: str, escaped: str) -> None:
    assert escape_path(path) == escaped


PATTERNS = [
    # template, whole, slash rule, pattern
    ("/a.b", False, False, r"^/a\.b"),
    ("/a/{x}", False, False, r"^/a/(?:[^/]+)"),
    ("/a/{x}", True, False, r"^/a/(?:[^/]+)$"),
    ("/a/{x}", True, True, r"^/a/(?:[^/]+)/?$"),
    ("/a/{x}/", True, True, r"^/a/(?:[^/]+)/?$"),
    ("/a/{x}/", True, False, r"^/a/(?:[^/]+)/$"),
    ("/{x:a|b}{y:[0-9]{2}}", False, False, "^/(?:a|b)(?:[0-9]{2})"),
    ("/é{x}", False, False, "^/%C3%A9(?:[^/]+)"),
    ("/{x", True, True, None),
    ("{x}", False, False, None),
    ("a{x}", False, False, None),
]


@pytest.mark.parametrize(("template", "whole", "slash_rule", "pattern"), PATTERNS)
def test_path_pattern(template: str, whole: bool, slash_rule: bool, pattern: str | None) -> None:
    assert path_pattern(template, whole=whole, slash_rule=slash_rule) == pattern


def test_template_pattern_quotes_literals_and_takes_the_default_of_the_place() -> None:
    assert template_pattern("{s}.foo.com", "[^.]+") == r"(?:[^.]+)\.foo\.com"
    assert template_pattern("a+{x:b+}", ".*") == r"a\+(?:b+)"
    assert template_pattern("{x", ".*") is None
