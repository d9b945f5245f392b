"""The compiled matcher: worked examples of `features.md` 3.4 and `kubernetes.md` 1."""

from __future__ import annotations

import struct

import pytest

from fastproxy._core import build_matcher, check, match, normalise_path, section_regexes
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

ADD, REMOVE = 1, 2
PLAIN = 0  # the route takes the request
NEVER = None

# matchers of one route, path of the request, flags of the answer (None: no route)
PATHS: list[tuple[Matcher, str, int | None]] = [
    (PathPrefix(("/foo",)), "/foo", PLAIN),
    (PathPrefix(("/foo",)), "/foobar", PLAIN),
    (PathPrefix(("/foo",)), "/fo", NEVER),
    (PathPrefix(("/foo/",)), "/foo", NEVER),
    (PathPrefix(("/",)), "/x", PLAIN),
    (PathPrefix(("foo",)), "/foo", NEVER),
    (PathPrefix(("",)), "/foo", NEVER),
    (PathPrefix(("/a", "/b")), "/bx", PLAIN),
    (PathPrefix(("/Foo",)), "/foo", NEVER),
    (PathPrefix(("/a/{x:[0-9]+}/",)), "/a/12/z", PLAIN),
    (PathPrefix(("/a/{x:[0-9]+}/",)), "/a/12", NEVER),
    (PathPrefix(("/{x}/b",)), "/a/b", PLAIN),
    (PathPrefix(("/{x}/b",)), "/a/c/b", NEVER),
    (
        PathPrefix(
            (
                "/a",
                "/{x",
            )
        ),
        "/abc",
        PLAIN,
    ),
    (PathPrefix(("/{x",)), "/x", NEVER),
    (PathElements(("/foo",)), "/foo", PLAIN),
    (PathElements(("/foo",)), "/foo/", PLAIN),
    (PathElements(("/foo",)), "/foo/x", PLAIN),
    (PathElements(("/foo",)), "/foobar", NEVER),
    (PathElements(("/foo/",)), "/foo", PLAIN),
    (PathElements(("/foo/",)), "/foo/x", PLAIN),
    (PathElements(("/foo/",)), "/foobar", NEVER),
    (PathElements(("/",)), "/anything", PLAIN),
    (PathElements(("/",)), "/", PLAIN),
    (PathExact(("/foo",)), "/foo", PLAIN),
    (PathExact(("/foo",)), "/foo/", NEVER),
    (PathExact(("/foo/",)), "/foo", NEVER),
    (PathExact(("/{x}",)), "/%7Bx%7D", PLAIN),
    (PathExact(("/{x}",)), "/a", NEVER),
    (Path(("/p",)), "/p", PLAIN),
    (Path(("/p",)), "/p/", REMOVE),
    (Path(("/p/",)), "/p/", PLAIN),
    (Path(("/p/",)), "/p", ADD),
    (Path(("/p",)), "/p/x", NEVER),
    (Path(("/",)), "/", PLAIN),
    (Path(("/",)), "/x", NEVER),
    (Path(("/p",), True), "/p", PLAIN),
    (Path(("/p",), True), "/p/", NEVER),
    (Path(("/p/",), True), "/p/", PLAIN),
    (Path(("/p/",), True), "/p", NEVER),
    (Path(("/p", "/p/")), "/p/", PLAIN),
    (Path(("/p/{x}",)), "/p/a", PLAIN),
    (Path(("/p/{x}",)), "/p/a/", REMOVE),
    (Path(("/p/{x}/",)), "/p/a", ADD),
    (Path(("/p/{x}/",)), "/p/a/", PLAIN),
    (Path(("/p/{x}",), True), "/p/a/", NEVER),
    (Path(("/p/{x}",)), "/p/a/b", NEVER),
    (Path(("/p.{x}",)), "/pxa", NEVER),
    (Path(("/p{x:}", "/q")), "/q", PLAIN),
    (Path(("/x}",)), "/x}", NEVER),
    # literal paths are brought into the form in which requests come
    (PathPrefix(("/a b",)), "/a%20b", PLAIN),
    (PathPrefix(("/é",)), "/%C3%A9", PLAIN),
    (PathPrefix(("/%7euser",)), "/~user", PLAIN),
    (PathPrefix(("/a%2fb",)), "/a%2Fb", PLAIN),
    (PathPrefix(("/a%2fb",)), "/a/b", NEVER),
    (PathPrefix(("/a//b",)), "/a/b", PLAIN),
    (PathPrefix(("/é/{x}",)), "/%C3%A9/1", PLAIN),
]


@pytest.mark.parametrize(("matcher", "path", "flags"), PATHS)
def test_paths(matcher: Matcher, path: str, flags: int | None) -> None:
    section = build_matcher([(7, 0, (matcher,), 1, "r")])
    assert match(section, 0, "h", path) == (None if flags is None else (7, flags))
    # The same as a condition beside another path matcher, which is the one in the index.
    both = build_matcher([(7, 0, (PathPrefix(("/",)), matcher), 1, "r")])
    assert match(both, 0, "h", path) == (None if flags is None else (7, flags))


HOSTS: list[tuple[Matcher, str, bool]] = [
    (Host(("a.b",)), "a.b", True),
    (Host(("A.B",)), "a.b", True),
    (Host(("a.b",)), "a.b.", False),
    (Host(("a.b", "c")), "c", True),
    (Host(("",)), "", False),
    (HostWildcard(("foo.com",)), "x.foo.com", True),
    (HostWildcard(("foo.com",)), "foo.com", False),
    (HostWildcard(("foo.com",)), "a.x.foo.com", False),
    (HostWildcard(("foo.com",)), ".foo.com", False),
    (HostWildcard(("foo.com",)), "", False),
    (HostRegexp(("{s:[a-z]+}.foo.com",)), "ab.foo.com", True),
    (HostRegexp(("{s:[a-z]+}.FOO.com",)), "ab.foo.com", True),
    (HostRegexp(("{s}.foo.com",)), "a.b.foo.com", False),
    (HostRegexp(("{s}.foo.com",)), "a.fooxcom", False),
    (HostRegexp(("foo.com", "{x")), "foo.com", True),
    (HostRegexp(("{x",)), "x", False),
]


@pytest.mark.parametrize(("matcher", "host", "matches"), HOSTS)
def test_hosts(matcher: Matcher, host: str, matches: bool) -> None:
    for table in ((matcher,), (Host(("z",)), matcher), (matcher, HostRegexp(("{x:.*}",)))):
        section = build_matcher([(1, 0, table, 1, "r")])
        expected = matches and (len(table) == 1 or table[0] is matcher)
        assert (match(section, 0, host, "/") is not None) is expected


CONDITIONS: list[tuple[Matcher, str | None, str, list[tuple[str, str]], bool]] = [
    # matcher, query, method, headers, matches
    (Method(("get",)), None, "GET", [], True),
    (Method(("GET", "PUT")), None, "PUT", [], True),
    (Method(("GET",)), None, "HEAD", [], False),
    (Headers((("K", "v"),)), None, "GET", [("k", "v")], True),
    (Headers((("K", "v"),)), None, "GET", [("K", "u"), ("K", "v")], True),
    (Headers((("K", "v"),)), None, "GET", [("K", "V")], False),
    (Headers((("K", "v"),)), None, "GET", [], False),
    (Headers((("K", ""),)), None, "GET", [("K", "any")], True),
    (Headers((("K", "v"), ("L", "w"))), None, "GET", [("K", "v")], False),
    (HeadersRegexp((("K", "^v+$"),)), None, "GET", [("K", "u"), ("K", "vv")], True),
    (HeadersRegexp((("K", "v"),)), None, "GET", [("K", "avb")], True),
    (HeadersRegexp((("K", "("),)), None, "GET", [("K", "(")], False),
    (Query((("a", "b"),)), "a=b", "GET", [], True),
    (Query((("a", "b"),)), "x=1&a=b&a=c", "GET", [], True),
    (Query((("a", "c"),)), "a=b&a=c", "GET", [], False),
    (Query((("a", "b"),)), None, "GET", [], False),
    (Query((("a", ""),)), "a", "GET", [], True),
    (Query((("a", ""),)), "a=1", "GET", [], True),
    (Query((("a", ""),)), "b", "GET", [], False),
    (Query((("a", "b c"),)), "%61=b+%63", "GET", [], True),
    (Query((("a", "b"),)), "a=%zz&a=b", "GET", [], True),
    (Query((("a", "{x:[0-9]+}"),)), "a=12", "GET", [], True),
    (Query((("a", "{x:[0-9]+}"),)), "a=12z", "GET", [], False),
    (Query((("a", "{x:[0-9]+}"),)), "a=" + "1" * 3000, "GET", [], True),
    (Query((("a", "v{x}"),)), "a=v", "GET", [], True),
    (Query((("a", "v{x"),)), "a=v", "GET", [], False),
    (Query((("a", "b"), ("c", "d"))), "a=b&c=d", "GET", [], True),
    (Query((("a", "b"), ("c", "d"))), "a=b", "GET", [], False),
]


@pytest.mark.parametrize(("matcher", "query", "method", "headers", "matches"), CONDITIONS)
def test_conditions(
    matcher: Matcher, query: str | None, method: str, headers: list[tuple[str, str]], matches: bool
) -> None:
    section = build_matcher([(1, 0, (matcher,), 9, "r"), (2, 0, (PathPrefix(("/",)),), 1, "s")])
    assert match(section, 0, "h", "/", query, method, headers) == (1 if matches else 2, PLAIN)


HOST_AB = Host(("a.b",))
KIND = HeadersRegexp((("x-kind", "^mob"),))
NUMBERED = Query((("k", "v"), ("n", "{d:[0-9]+}")))
# what one route demands together, request (method, URL), answer of the matcher
TOGETHER: list[tuple[tuple[Matcher, ...], str, str, int | None]] = [
    ((HOST_AB, PathPrefix(("/p",))), "GET", "a.b/p/x", PLAIN),
    ((HOST_AB, PathPrefix(("/p",))), "GET", "a.c/p/x", NEVER),
    ((HostRegexp(("{sub:[a-z]+}.b",)), Path(("/p",))), "GET", "x.b/p/", REMOVE),
    ((Path(("/p/",)),), "GET", "a/p", ADD),
    ((Path(("/p", "/q")),), "GET", "a/q", PLAIN),
    ((PathPrefix(("/p",)),), "GET", "a/pq", PLAIN),
    ((Path(("/{id:[0-9]+}/",)),), "GET", "a/12/", PLAIN),
    ((Path(("/{id:[0-9]+}/",)),), "GET", "a/12", ADD),
    ((PathPrefix(("/{v:v[0-9]+}/",)),), "GET", "a/v1/x", PLAIN),
    ((PathPrefix(("/{v:v[0-9]+}/",)),), "GET", "a/v/x", NEVER),
    ((Method(("POST",)),), "POST", "a/", PLAIN),
    ((Method(("POST",)),), "GET", "a/", NEVER),
    ((Headers((("X-Kind", "mobile"),)),), "GET", "a/", PLAIN),
    ((Headers((("X-Kind", "mobile"), ("X-None", "1"))),), "GET", "a/", NEVER),
    ((KIND,), "GET", "a/", PLAIN),
    ((NUMBERED,), "GET", "a/?n=7&k=v", PLAIN),
    ((NUMBERED,), "GET", "a/?n=x&k=v", NEVER),
    ((Host(("a",)), Host(("b",))), "GET", "a/", NEVER),
    ((), "GET", "any/", PLAIN),
]


@pytest.mark.parametrize(("matchers", "method", "url", "flags"), TOGETHER)
def test_all_matchers_of_a_route_must_hold(
    matchers: tuple[Matcher, ...], method: str, url: str, flags: int | None
) -> None:
    section = build_matcher([(1, 0, matchers, 1, "r")])
    target, _, query = url.partition("?")
    host, slash, path = target.partition("/")
    answer = match(section, 0, host, slash + path, query, method, [("x-kind", "mobile")])
    assert answer == (None if flags is None else (1, flags))


def length(*matchers: Matcher) -> int:
    """The priority 1.7 computes."""
    return sum(len(rules.text(matcher)) for matcher in matchers)


def best(*routes: tuple[tuple[Matcher, ...], int | None], last: bool = False) -> int | None:
    """Which route takes a request for a.foo.com/api/x; `last`: priorities only break ties."""
    entries = []
    for index, (found, given) in enumerate(routes):
        priority = length(*found) if given is None else given
        precedence = (0, priority) if last else priority
        entries.append((index, 0, found, precedence, f"r{index}"))
    section = build_matcher(entries)
    answer = match(section, 0, "a.foo.com", "/api/x")
    return answer and answer[0]


HOST, WILD = Host(("a.foo.com",)), HostWildcard(("foo.com",))
ORDER: list[tuple[list[tuple[tuple[Matcher, ...], int | None]], int, int]] = [
    # routes, the best by length, the best by specificity
    ([((PathPrefix(("/",)),), 0), ((HOST,), None)], 1, 1),
    ([((HOST, PathPrefix(("/a",))), None), ((HOST, PathPrefix(("/api",))), None)], 1, 1),
    # a long path without host beats a short one with host, unless specificity decides
    ([((PathPrefix(("/api/x",)),), None), ((Host(("a.foo.com",)),), 5)], 0, 1),
    ([((HOST,), 10), ((WILD,), 10), ((), 10)], 0, 0),
    ([((), 10), ((WILD,), 10)], 1, 1),
    ([((HostRegexp(("{x}.foo.com",)),), 10), ((), 10)], 0, 0),
    ([((WILD,), None), ((HOST,), None)], 1, 1),
    ([((WILD,), 50), ((HOST,), 10)], 0, 1),
    ([((HOST, PathElements(("/api/x",))), 9), ((HOST, PathExact(("/api/x",))), 9)], 1, 1),
    ([((HOST, PathPrefix(("/api",))), 9), ((HOST, PathPrefix(("/api/",))), 9)], 1, 1),
    ([((HOST,), 9), ((HOST,), 9)], 0, 0),
    ([((HOST,), -3), ((HOST,), -(10**30)), ((HOST,), 10**30)], 2, 2),
    # the best one fails its conditions
    ([((HOST, Method(("PUT",))), 99), ((PathPrefix(("/",)),), 0)], 1, 1),
]


@pytest.mark.parametrize(("routes", "by_length", "by_specificity"), ORDER)
def test_order(
    routes: list[tuple[tuple[Matcher, ...], int | None]], by_length: int, by_specificity: int
) -> None:
    assert best(*routes) == by_length
    assert best(*routes, last=True) == by_specificity


def test_equal_routes_are_ordered_by_name_whatever_their_order() -> None:
    entries = [(index, 0, (HOST,), 1, name) for index, name in enumerate(["b", "c", "a", "aa"])]
    assert match(build_matcher(entries), 0, "a.foo.com", "/") == (2, 0)


def test_entry_points_do_not_see_each_other() -> None:
    section = build_matcher([(1, 0, (HOST,), 1, "a"), (2, 5, (HOST,), 1, "a"), (3, 5, (), 0, "b")])
    assert match(section, 0, "a.foo.com", "/") == (1, 0)
    assert match(section, 5, "a.foo.com", "/") == (2, 0)
    assert match(section, 5, "other", "/") == (3, 0)
    assert match(section, 1, "a.foo.com", "/") is None


def test_slash_redirects_need_every_path_matcher_to_agree() -> None:
    section = build_matcher([(1, 0, (Path(("/p",)), Path(("/p/",))), 1, "r")])
    assert match(section, 0, "h", "/p") is None
    assert match(section, 0, "h", "/p/") is None


def test_a_redirecting_route_of_better_rank_wins() -> None:
    section = build_matcher([(1, 0, (Path(("/p",)),), 9, "a"), (2, 0, (Path(("/p/",)),), 1, "b")])
    assert match(section, 0, "h", "/p/") == (1, REMOVE)


def test_many_children_and_long_paths() -> None:
    names = [f"/{chr(33 + a)}{chr(33 + b)}{'x' * (a % 20)}" for a in range(90) for b in range(90)]
    routes = {normalise_path(name): index for index, name in enumerate(names)}
    section = build_matcher(
        [(index, 0, (PathExact((path,)),), 1, path) for path, index in routes.items()]
    )
    assert check(section)
    assert all(match(section, 0, "", path) == (i, 0) for path, i in [*routes.items()][::37])


def test_regexes_are_listed_once_in_order() -> None:
    section = build_matcher(
        [
            (1, 0, (HostRegexp(("{x:a|b}.c",)), Path(("/{i:[0-9]+}/",))), 1, "a"),
            (2, 0, (HostRegexp(("{x:a|b}.c",)), PathPrefix(("/é{i}",))), 1, "b"),
            (3, 0, (HeadersRegexp((("K", "v$"),)), Query((("a", "b{x}"),))), 1, "c"),
        ]
    )
    assert section_regexes(section) == [
        "(?i)^(?:a|b)\\.c$",
        "^/(?:[0-9]+)/?$",
        "^/%C3%A9(?:[^/]+)",
        "v$",
        "^b(?:.*)$",
    ]


def test_an_empty_table_matches_nothing() -> None:
    section = build_matcher([])
    assert check(section)
    assert match(section, 0, "h", "/") is None
    assert section_regexes(section) == []


def test_equal_entries_make_equal_sections() -> None:
    entries = [(1, 0, (HOST, PathPrefix(("/{x}",))), 1, "a"), (2, 0, (WILD,), 2, "b")]
    assert build_matcher(entries) == build_matcher(entries)
    assert len(build_matcher(entries)) % 8 == 0


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ((1, 0, ("Host:a",), 1, "a"), TypeError),
        ((0xFFFFFFFF, 0, (), 1, "a"), ValueError),
        ((2**32, 0, (), 1, "a"), OverflowError),
        ((-1, 0, (), 1, "a"), OverflowError),
        ((1, 0, (Host(("\ud800",)),), 1, "a"), UnicodeEncodeError),
        ((1, 0, (), 1, "\ud800"), UnicodeEncodeError),
        ((1, 0, [], 1, "a"), TypeError),
        ((1, 0, (), 1), ValueError),
        ((1, 0, (), (1, 2, 3), "a"), ValueError),
        ((1, 0, (), (1, "2"), "a"), TypeError),
        ((1, 0, (), "1", "a"), TypeError),
        ([1, 0, (), 1, "a"], TypeError),
    ],
)
def test_entries_that_cannot_be_compiled(entry: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        build_matcher([entry])  # type: ignore[list-item]


# precedences of: a long path without host, a host alone, the same host alone; the best
MIXED: list[tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]] = [
    ((0, 0), (0, 0), (0, 0), 1),
    ((1, 0), (0, 9), (0, 9), 0),
    ((0, 9), (0, 0), (0, 1), 2),
    ((2, 0), (1, 9), (2, 0), 2),
    ((2, 0), (3, 0), (2, 9), 1),
    ((2, 0), (1, 0), (-1, 9), 0),
]


@pytest.mark.parametrize(("path", "host", "same", "expected"), MIXED)
def test_every_route_has_its_own_precedence(
    path: tuple[int, int], host: tuple[int, int], same: tuple[int, int], expected: int
) -> None:
    section = build_matcher(
        [(0, 0, (PathPrefix(("/api/x",)),), path, "a"), (1, 0, (HOST,), host, "b"),
         (2, 0, (HOST,), same, "c")]
    )  # fmt: skip
    answer = match(section, 0, "a.foo.com", "/api/x")
    assert answer is not None and answer[0] == expected


SECTION = build_matcher(
    [(i, 0, (Host((f"h{i % 3}",)), PathPrefix((f"/p{i}",))), i, f"r{i}") for i in range(20)]
)


def test_every_truncation_is_noticed() -> None:
    assert check(SECTION)
    assert not any(check(SECTION[:size]) for size in range(len(SECTION)))
    assert not check(SECTION + bytes(8))


# offset of a header word, value
@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0, 0),  # magic
        (8, 2),  # version
        (12, 16),  # size
        (20, 0xFFFFFFFC),  # where the slots are
        (24, 3),  # slot count, no power of two
        (24, 1 << 31),
        (28, 97),  # nodes, misaligned
        (32, 0xFFFFFFFF),  # node count
        (72, 0xFFFFFFF0),  # text
    ],
)
def test_a_damaged_header_is_noticed(offset: int, value: int) -> None:
    damaged = bytearray(SECTION)
    struct.pack_into("<I", damaged, offset, value)
    assert not check(damaged)
    with pytest.raises(ValueError, match="damaged"):
        match(damaged, 0, "h0", "/p0")
