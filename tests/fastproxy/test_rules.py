"""The text of a matcher as a rule of Traefik 1.7, and the pieces of a template."""

from __future__ import annotations

import pytest

from fastproxy.model import matchers as rules
from fastproxy.model.matchers import (
    Headers,
    HeadersRegexp,
    Host,
    HostRegexp,
    HostWildcard,
    Matcher,
    Method,
    Path,
    PathElements,
    PathExact,
    PathPrefix,
    Query,
)


@pytest.mark.parametrize(
    ("matcher", "text"),
    [
        (Host(("a.b", "c")), "Host:a.b,c"),
        (HostWildcard(("foo.com",)), "Host:*.foo.com"),
        (HostRegexp(("{s}.foo.com",)), "HostRegexp:{s}.foo.com"),
        (Path(("/p",)), "Path:/p"),
        (PathPrefix(("/p",)), "PathPrefix:/p"),
        (PathExact(("/p",)), "Path:/p"),
        (PathElements(("/p",)), "PathPrefix:/p"),
        (Method(("GET", "PUT")), "Method:GET,PUT"),
        (Headers((("K", "v"),)), "Headers:K,v"),
        (HeadersRegexp((("K", "v"),)), "HeadersRegexp:K,v"),
        (Query((("a", "b"), ("c", "d"))), "Query:a=b,c=d"),
    ],
)
def test_text(matcher: Matcher, text: str) -> None:
    assert rules.text(matcher) == text


@pytest.mark.parametrize(
    ("template", "pieces"),
    [
        ("/a", ((False, "/a"),)),
        ("/{x}", ((False, "/"), (True, ""))),
        ("{x:a}b{y}", ((True, "a"), (False, "b"), (True, ""))),
        ("/{id:[0-9]{2}}/z", ((False, "/"), (True, "[0-9]{2}"), (False, "/z"))),
        ("/{x:a:b}", ((False, "/"), (True, "a:b"))),
        ("", ()),
        ("/{x", None),
        ("/x}", None),
        ("/{}", None),
        ("/{:a}", None),
        ("/{x:}", None),
        ("/{x:{a}", None),
    ],
)
def test_template_pieces(template: str, pieces: tuple[tuple[bool, str], ...] | None) -> None:
    assert rules.template_pieces(template) == pieces
