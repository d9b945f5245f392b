"""Hosts and paths as matchers; the texts and their lengths are in tests/cases/tables/rules.yaml."""

from __future__ import annotations

import pytest

from controller.kubernetes.objects import EXACT, IMPLEMENTATION_SPECIFIC, PREFIX
from controller.translate import rules_text
from controller.translate.rules_text import (
    fits,
    has_port,
    host_rule,
    is_address,
    path_rule,
    unescaped,
)
from fastproxy.features.path_rules import PathRules
from fastproxy.model.matchers import (
    Host,
    HostRegexp,
    HostWildcard,
    Matcher,
    Path,
    PathElements,
    PathExact,
    PathPrefix,
)

HOSTS: list[tuple[str, Matcher]] = [
    ("foo.com", Host(("foo.com",))),
    ("Foo.COM", Host(("foo.com",))),
    ("*.foo.com", HostWildcard(("foo.com",))),
    ("*.Foo.com", HostWildcard(("foo.com",))),
    ("*", HostRegexp(("{subdomain:[A-Za-z0-9-_]+}",))),
    ("a*.foo.com", HostRegexp(("a{subdomain:[A-Za-z0-9-_]+}.foo.com",))),
    ("a.*.foo.com", HostRegexp(("a.{subdomain:[A-Za-z0-9-_]+}.foo.com",))),
    ("*.*.com", HostRegexp(("{subdomain:[A-Za-z0-9-_]+}.*.com",))),
]


@pytest.mark.parametrize(("host", "matcher"), HOSTS)
def test_hosts(host: str, matcher: Matcher) -> None:
    rule = host_rule(host)
    assert rule.matchers == (matcher,)
    assert rule.text == f"Host:{host}"


STRIP, PLAIN = "PathPrefixStrip", "PathPrefix"
# rule-type, path, pathType -> matcher, how the path is changed
PATHS: list[tuple[str, str, str, tuple[Matcher, ...], PathRules | None]] = [
    (PLAIN, "/a", IMPLEMENTATION_SPECIFIC, (PathPrefix(("/a",)),), None),
    ("Path", "/a", IMPLEMENTATION_SPECIFIC, (Path(("/a",)),), None),
    (STRIP, "/a", IMPLEMENTATION_SPECIFIC, (PathPrefix(("/a",)),), PathRules("/a", STRIP)),
    ("ReplacePath", "/a", IMPLEMENTATION_SPECIFIC, (), PathRules("/a", "ReplacePath")),
    (PLAIN, "/a", PREFIX, (PathElements(("/a",)),), None),
    (PLAIN, "/a/", PREFIX, (PathElements(("/a/",)),), None),
    (STRIP, "/a/", PREFIX, (PathElements(("/a/",)),), PathRules("/a", STRIP)),
    (STRIP, "/", PREFIX, (PathElements(("/",)),), PathRules("/", STRIP)),
    ("PathStrip", "/a", PREFIX, (PathElements(("/a",)),), PathRules("/a", STRIP)),
    ("Path", "/a", PREFIX, (PathElements(("/a",)),), None),
    (PLAIN, "/a", EXACT, (PathExact(("/a",)),), None),
    ("PathStrip", "/a/", EXACT, (PathExact(("/a/",)),), PathRules("/a/", "PathStrip")),
    (STRIP, "/a", EXACT, (PathExact(("/a",)),), PathRules("/a", "PathStrip")),
    ("ReplacePath", "/a", EXACT, (PathExact(("/a",)),), None),
]


@pytest.mark.parametrize(("rule_type", "path", "path_type", "matchers", "changes"), PATHS)
def test_paths(
    rule_type: str,
    path: str,
    path_type: str,
    matchers: tuple[Matcher, ...],
    changes: PathRules | None,
) -> None:
    rule = path_rule(PathRules(path, rule_type), path_type, keep_trailing_slash=False)
    assert (rule.matchers, rule.changes) == (matchers, changes)


def test_the_trailing_slash_option_reaches_the_matcher() -> None:
    rule = path_rule(PathRules("/a", "Path"), IMPLEMENTATION_SPECIFIC, keep_trailing_slash=True)
    assert rule.matchers == (Path(("/a",), keep_trailing_slash=True),)


FITS = [
    ("Path", IMPLEMENTATION_SPECIFIC, True),
    ("ReplacePath", IMPLEMENTATION_SPECIFIC, True),
    (PLAIN, PREFIX, True),
    (STRIP, PREFIX, True),
    ("Path", PREFIX, False),
    ("ReplacePath", PREFIX, False),
    ("Path", EXACT, True),
    ("PathStrip", EXACT, True),
    (PLAIN, EXACT, False),
]


@pytest.mark.parametrize(("rule_type", "path_type", "expected"), FITS)
def test_rule_types_and_path_types(rule_type: str, path_type: str, expected: bool) -> None:
    assert fits(rule_type, path_type) is expected


# host, has a port, is an address
SHAPES = [
    ("foo.com", False, False),
    ("foo.com:80", True, False),
    ("foo.com:", True, False),
    ("[::1]:80", True, False),
    ("::1", False, True),
    ("[::1]", False, True),
    ("10.0.0.1", False, True),
    ("10.0.0.1:80", True, False),
    ("10.0.0", False, False),
    ("", False, False),
    ("1.example1", False, False),
]


@pytest.mark.parametrize(("host", "port", "address"), SHAPES)
def test_shapes_of_hosts(host: str, port: bool, address: bool) -> None:
    assert (has_port(host), is_address(host)) == (port, address)


TEXTS = [
    ("/a", "/a"),
    ("/a\\\\d", "/a\\d"),
    ('/a\\"', '/a"'),
    ("/\\u00e9", "/é"),
    ('/a"', None),
    ("/a\n", None),
    ("/a\\d", None),
    ("/a\\", None),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_quoted_string_bodies(text: str, expected: str | None) -> None:
    assert unescaped(text) == expected


# host, part of the reason why no request has it ("": one can)
HOSTS = [
    ("", ""),
    ("a.example", ""),
    ("A_b-1.example", ""),
    ("*.a.example", ""),
    ("a.*.example", ""),
    ("*{x:[0-9]+}.example", ""),
    ("<NAME>.example", "placeholder"),
    ("${APP}.example", "placeholder"),
    ("app.{{domain}}", "placeholder"),
    ("$(APP).example", "placeholder"),
    ("%HOST%", "placeholder"),
    ("http://t.example", "write the host alone, t.example"),
    ("https://t.example/x", "write the host alone, t.example"),
    ("t.example/shop", "host t.example and path /shop"),
    ("a.example,b.example", "a rule for each"),
    ("a.example b.example", "a rule for each"),
    ("a.example ", "blank"),
    ("\ta.example", "blank"),
    ("b\u00fccher.example", "xn--bcher-kva.example"),
    ("{sub:[a-z]+}.example", "as text"),
    ("(a|b).example", "as text"),
    ("a@b.example", "'@'"),
]


@pytest.mark.parametrize(("host", "part"), HOSTS)
def test_hosts_of_no_request(host: str, part: str) -> None:
    reason = rules_text.unreachable(host)
    assert bool(reason) == bool(part), reason
    assert part in reason


# path, part of what is said of it ("": nothing)
PATHS = [
    ("/", ""),
    ("/a/b.html", ""),
    ("/wiki/Foo_(bar)", ""),
    ("/a+b,c;d=e@f", ""),
    ("/{id:[0-9]+}/x", ""),
    ("/{name}", ""),
    ("/a$b", ""),
    ("/~user", ""),
    ("/api/*", "write /api/"),
    ("/*", "write /"),
    ("/api(/|$)(.*)", "no regular expression"),
    ("/(.*)", "no regular expression"),
    ("/.*", "no regular expression"),
    ("/.+", "no regular expression"),
    ("^/api", "no regular expression"),
    ("/^api", "no regular expression"),
    ("/api$", "no regular expression"),
    ("/[a-z]+/x", "no regular expression"),
    ("/(a|b)", "no regular expression"),
    ("/a\\.b", "no regular expression"),
    ("/(?:x)", "no regular expression"),
    ("/a?b=c", "query"),
    ("/a#b", "`#`"),
    ("/a ", "blank"),
    ("/${BASE}", "placeholder"),
    ("/<name>", "placeholder"),
    ("/{{ .Values.path }}", "placeholder"),
    ("http://a/b", "URL"),
]


@pytest.mark.parametrize(("path", "part"), PATHS)
def test_paths_that_look_like_something_else(path: str, part: str) -> None:
    reason = rules_text.compared_as_text(path)
    assert bool(reason) == bool(part), reason
    assert part in reason
