"""The rule grammar of `features.md` 3.4, as a table."""

from __future__ import annotations

import pytest

from fastproxy.model import matchers as rules
from fastproxy.model.matchers import (
    AddPrefix,
    Headers,
    HeadersRegexp,
    Host,
    HostRegexp,
    HostWildcard,
    Matcher,
    Method,
    Modifier,
    Path,
    PathElements,
    PathExact,
    PathPrefix,
    Query,
    ReplacePath,
    ReplacePathRegex,
    RuleError,
    Strip,
    StripRegex,
)

GRAMMAR: list[tuple[str, tuple[Matcher, ...], tuple[Modifier, ...]]] = [
    ("Host:a.b", (Host(("a.b",)),), ()),
    ("Host: A.b , c.D", (Host(("a.b", "c.d")),), ()),
    (" Host :a", (Host(("a",)),), ()),
    (";;Host:a;;Path:/p;", (Host(("a",)), Path(("/p",))), ()),
    ("HostRegexp:{x:[a-z]+}.b", (HostRegexp(("{x:[a-z]+}.b",)),), ()),
    ("Path:/p, /q", (Path(("/p", "/q")),), ()),
    ("PathPrefix:/p", (PathPrefix(("/p",)),), ()),
    # `::` collapses, a last colon is lost, a comma cuts even inside braces
    ("PathPrefix:/a::b:", (PathPrefix(("/a:b",)),), ()),
    ("Path:/{id:[0-9]{2,3}}", (Path(("/{id:[0-9]{2", "3}}")),), ()),
    ("Path:/p,,", (Path(("/p",)),), ()),
    ("PathStrip:/p", (Path(("/p",)),), (Strip(("/p",)),)),
    ("PathPrefixStrip:/p,/q", (PathPrefix(("/p", "/q")),), (Strip(("/p", "/q")),)),
    ("PathStripRegex:/{x}", (Path(("/{x}",)),), (StripRegex(("/{x}",)),)),
    ("PathPrefixStripRegex:/{x}/", (PathPrefix(("/{x}/",)),), (StripRegex(("/{x}/",)),)),
    ("Method:get,POST", (Method(("GET", "POST")),), ()),
    ("Headers:K, v, L, w", (Headers((("K", "v"), ("L", "w"))),), ()),
    ("HeadersRegexp:K, ^v.*", (HeadersRegexp((("K", "^v.*"),)),), ()),
    ("Query:a=b, c={x:[0-9]+}", (Query((("a", "b"), ("c", "{x:[0-9]+}"))),), ()),
    ("Query:a=", (Query((("a", ""),)),), ()),
    ("Query:a, b", (Query((("a", "b"),)),), ()),
    ("AddPrefix: /p", (), (AddPrefix("/p"),)),
    ("ReplacePath: /p", (), (ReplacePath("/p"),)),
    ("ReplacePathRegex: ^/a(.*) /b$1", (), (ReplacePathRegex("^/a(.*)", "/b$1"),)),
    # of one kind of modifier the last one wins, whatever the order they work in the same order
    ("AddPrefix:/a;AddPrefix:/b", (), (AddPrefix("/b"),)),
    (
        "PathStrip:/a;PathPrefixStrip:/b;Host:h",
        (Path(("/a",)), PathPrefix(("/b",)), Host(("h",))),
        (Strip(("/b",)),),
    ),
    (
        "ReplacePath:/r;AddPrefix:/p;PathPrefixStrip:/s;PathPrefixStripRegex:/{x}",
        (PathPrefix(("/s",)), PathPrefix(("/{x}",))),
        (StripRegex(("/{x}",)), Strip(("/s",)), AddPrefix("/p"), ReplacePath("/r")),
    ),
    ("Host:a;Host:b", (Host(("a",)), Host(("b",))), ()),
]


@pytest.mark.parametrize(("expression", "matchers", "modifiers"), GRAMMAR)
def test_parse(
    expression: str, matchers: tuple[Matcher, ...], modifiers: tuple[Modifier, ...]
) -> None:
    assert rules.parse(expression) == (matchers, modifiers)


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("", "the rule is empty"),
        (";;", "the rule is empty"),
        ("host:a", "'host' in 'host:a' is no rule; write one of Host, HostRegexp"),
        (":", "'' in ':' is no rule"),
        ("Host", "'Host' has no value; write `Host: value`"),
        ("Host:a;Path:", "'Path:' has no value"),
        ("Host:,", "'Host:,' has no value"),
        ("Headers:K", "Headers needs pairs, and 'K' leaves one half alone"),
        ("HeadersRegexp:K, (", "'(' is no regular expression"),
        ("Query:a", "Query needs pairs"),
        ("Query:a=b=c", "Query needs pairs"),
        ("Query:a={x", "the braces of '{x' are not `{name:regex}`"),
        ("Query:a={x:(}", "'(' is no regular expression"),
    ],
)
def test_errors_are_sentences(expression: str, sentence: str) -> None:
    with pytest.raises(RuleError) as raised:
        rules.parse(expression)
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize("value", ["^/a", "^/a /b c", "^/a  /b"])
def test_replace_path_regex_needs_two_words(value: str) -> None:
    heard: list[str] = []
    assert rules.parse(f"ReplacePathRegex:{value};Host:h", warn=heard.append) == (
        (Host(("h",)),),
        (),
    )
    assert heard and "the path stays as it is" in heard[0]


def test_keep_trailing_slash_reaches_path_only() -> None:
    found, _ = rules.parse("PathStrip:/a;PathPrefix:/b", keep_trailing_slash=True)
    assert found == (Path(("/a",), True), PathPrefix(("/b",)))


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
    "expression", ["Host:a,b", "Path:/p", "PathPrefix:/p", "Method:GET", "Headers:K,v", "Query:a=b"]
)
def test_text_and_parse_are_inverse(expression: str) -> None:
    (matcher,), _ = rules.parse(expression)
    assert rules.text(matcher) == expression


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
