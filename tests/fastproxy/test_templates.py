"""Replacement texts and patterns: Go's syntax, the placeholders, the limits."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.engine.operations.re2 import Regex
from fastproxy.engine.operations.writer import encoded_pieces
from fastproxy.templates import Field, Group, Pattern, Replacement, replacement
from tests.native.step_probe import replaced
from tests.support.literal_regex import replace_all

# Examples of Go's regexp package (all_test.go), text form.
REPLACED = [
    ("", "x", "", "x"),
    ("", "x", "abc", "xaxbxcx"),
    ("b", "x", "abc", "axc"),
    ("b*", "x", "abc", "xaxcx"),
    ("x*", "-", "baxd", "-b-a-d-"),
    ("[a-c]*", "x", "\u65e5", "x\u65e5x"),
    ("[^\u65e5]", "x", "abc\u65e5def", "xxx\u65e5xxx"),
    ("^[a-c]*", "x", "abcdabc", "xdabc"),
    ("[a-c]*$", "x", "abcd", "abcdx"),
    ("(.*)", "<$1>", "abc", "<abc>"),
    ("a(b)?c", "<$1>", "acabc", "<><b>"),
    ("a+", "($0)", "banana", "b(a)n(a)n(a)"),
    ("a+", "(${0})", "banana", "b(a)n(a)n(a)"),
    ("a+", "(${0})$0", "banana", "b(a)an(a)an(a)a"),
    ("hello, (.+)", "goodbye, ${1}", "hello, world", "goodbye, world"),
    ("hello, (.+)", "goodbye, $1x", "hello, world", "goodbye, "),
    ("hello, (.+)", "goodbye, ${1}x", "hello, world", "goodbye, worldx"),
    ("hello, (.+)", "<$0><$1><$2><$3>", "hello, world", "<hello, world><world><><>"),
    ("hello, (?P<noun>.+)", "goodbye, $noun!", "hello, world", "goodbye, world!"),
    ("hello, (?P<noun>.+)", "goodbye, ${noun}", "hello, world", "goodbye, world"),
    ("(?P<x>hi)|(?P<y>bye)", "$x$y", "hi", "hi"),
    ("(a)", "$01", "a", ""),
    ("a+", "${x", "banana", "b${xn${xn${x"),
    ("a+", "$$", "banana", "b$n$n$"),
    ("a+", "$", "banana", "b$n$n$"),
    ("(?i)B", "x", "abAB", "axAx"),
    ("z", "x", "abc", None),
    ("[[:alpha:]]+\\z", "x", "1abc", "1x"),
]


@pytest.mark.parametrize(("pattern", "text", "data", "expected"), REPLACED)
def test_replacing_is_gos(pattern, text, data, expected):
    assert both(pattern, data, text) == expected


def both(pattern, data, text):
    """What the engine and its twin make of it; they must agree."""
    compiled, by = Pattern(pattern), replacement(text)
    found = replaced(Regex(pattern.encode()), encoded_pieces(compiled.pieces(by)), data.encode())
    assert found == replace_all(compiled, data.encode(), by)
    return None if found is None else found.decode()


PARSED = [
    ("", ()),
    ("a${1}b", (b"a", Group("1"), b"b")),
    ("$1x-${1}x", (Group("1x"), b"-", Group("1"), b"x")),
    ("{{ .Request.Host }}", (Field("Host"),)),
    ("a{{.Request.Method}}b", (b"a", Field("Method"), b"b")),
    ("{{ .Request.URL.Path }}", (Field("URL.Path"),)),
    ('{{ .Request.Header.Get "X-Foo" }}', (Field("Header", "X-Foo"),)),
    ('a{{ "b" }}c', (b"abc",)),
    ("a}}b", (b"a}}b",)),
]


@pytest.mark.parametrize(("text", "parts"), PARSED)
def test_placeholders_are_parsed_into_values(text, parts):
    assert replacement(text, placeholders=True) == Replacement(parts)


UNSAFE = [
    "{{ .Request }}",
    "{{ .Request.Host | printf }}",
    "{{- .Request.Host }}",
    "{{ range . }}{{ end }}",
    '{{ .Request.Header.Get "$1" }}',
    '{{ .Request.Header.Get "a b" }}',
    '{{ "$1" }}',
    '{{ "a" "b" }}',
    "{{ .Request.Host",
    "{{}}",
]


@pytest.mark.parametrize("text", UNSAFE)
def test_everything_else_in_braces_is_refused(text):
    with pytest.raises(ValueError):
        replacement(text, placeholders=True)


@pytest.mark.parametrize("text", UNSAFE)
def test_braces_mean_nothing_where_no_placeholder_is_allowed(text):
    assert all(not isinstance(part, Field) for part in replacement(text).parts)


REFUSED = ["(", "a{1001}", "(?=a)", "(a)\\1", "\\C", "x\\\\\\C", "é" * 513, "a" * 1025, "(?<n"]


@pytest.mark.parametrize("text", REFUSED)
def test_patterns_are_refused_with_a_sentence(text):
    with pytest.raises(ValueError):
        Pattern(text)


def test_an_escaped_backslash_before_c_is_no_single_byte():
    assert both("\\\\C", "\\C", "x") == "x"


@given(st.text("ab/.", max_size=12), st.text("ab$1{}x", max_size=8))
def test_the_twin_replaces_simple_patterns_like_python(data, text):
    """Python's re agrees with RE2 on this pattern, which never matches an empty string."""
    expected = re.sub("(a)b?", lambda m: expand(text, m), data)
    found = both("(a)b?", data, text)
    assert (data if found is None else found) == expected


def expand(text, match):
    def one(reference):
        name = reference[1] or reference[2]
        if reference[3]:
            return "$"
        return match[int(name)] if name in ("0", "1") else ""

    return re.sub(r"\$(?:\{(\w+)\}|(\w+)|(\$))", one, text)
