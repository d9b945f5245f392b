"""The compiled matcher against a linear scan, on small alphabets so that routes collide."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy._core import build_matcher, check, match, normalise_path
from fastproxy.model import matchers as rules
from fastproxy.model.matchers import Matcher
from tests.support.scan import Entry, Request, normalised, scan

hosts = st.sampled_from(["a", "b", "a.b", "a.b", "b.a.b", "a.c"])
segments = st.sampled_from(["a", "a", "a", "b", "ab", "a.b", "%2F", "é", "%41"])
paths = st.builds(
    lambda parts, slash: "/" + "/".join(parts) + ("/" if parts and slash else ""),
    st.lists(segments, max_size=3),
    st.booleans(),
)
rough_paths = st.one_of(
    paths, st.text("/ab.%2fF{}", max_size=6), paths.map(lambda p: p.replace("/", "//", 1))
)
templates = st.one_of(
    rough_paths,
    st.sampled_from(
        ["/{x}", "/{x}/", "/a/{x:[a-b]+}", "/a/{x:.*}", "/{x:a|b}/b", "/{x", "/{x:}", "/a}", "{x}",
         "/a{n:b?}/{m:[ab]{1,2}}", "/{x:(}", "/a/{x:/?}"]
    ),
)  # fmt: skip
host_templates = st.one_of(
    hosts, st.sampled_from(["{x}", "{x:a|b}.b", "A.{x:[a-c]+}", "{x:.*}", "{x", "a{x:}"])
)
methods = st.sampled_from(["GET", "POST", "get"])
names = st.sampled_from(["X-A", "x-b"])
values = st.sampled_from(["1", "2", ""])
query_values = st.sampled_from(["", "1", "a b", "{x}", "{x:[0-9]+}", "1{y:}", "1}"])


def some(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(strategy, min_size=1, max_size=3).map(tuple)


def pairs(
    keys: st.SearchStrategy[str], texts: st.SearchStrategy[str]
) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    return st.lists(st.tuples(keys, texts), min_size=1, max_size=2).map(tuple)


host_matchers = st.one_of(
    st.builds(rules.Host, some(st.one_of(hosts, hosts.map(str.upper), st.just("")))),
    st.builds(rules.HostWildcard, some(hosts)),
    st.builds(rules.HostRegexp, some(host_templates)),
)
path_matchers = st.one_of(
    st.builds(rules.PathPrefix, some(templates)),
    st.builds(rules.Path, some(templates), st.booleans()),
    st.builds(rules.PathExact, some(rough_paths)),
    st.builds(rules.PathElements, some(rough_paths)),
)
other_matchers = st.one_of(
    st.builds(rules.Method, some(methods)),
    st.builds(rules.Headers, pairs(names, values)),
    st.builds(rules.HeadersRegexp, pairs(names, st.sampled_from(["^1", "2|3", "", "("]))),
    st.builds(rules.Query, pairs(st.sampled_from(["k", "l"]), query_values)),
)
matchers = st.tuples(
    st.lists(host_matchers, max_size=2),
    st.lists(path_matchers, max_size=2),
    st.one_of(st.just([]), other_matchers.map(lambda matcher: [matcher])),
).flatmap(lambda parts: st.permutations([m for part in parts for m in part]).map(tuple))
simple = st.tuples(
    st.builds(rules.Host, hosts.map(lambda host: (host,))),
    st.one_of(
        st.builds(rules.PathPrefix, paths.map(lambda path: (path,))),
        st.builds(rules.PathElements, paths.map(lambda path: (path,))),
        st.builds(rules.Path, paths.map(lambda path: (path,))),
        st.builds(rules.Path, templates.map(lambda path: (path,))),
    ),
)
pathless = st.one_of(host_matchers, path_matchers).map(lambda matcher: (matcher,))
priorities = st.one_of(st.integers(0, 3), st.just(40))
precedences = st.one_of(
    priorities.map(lambda priority: (priority, 0)),
    priorities.map(lambda priority: (0, priority)),
    st.tuples(priorities, priorities),
)


@st.composite
def tables(draw: st.DrawFn) -> list[Entry]:
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.one_of(simple, matchers), precedences), max_size=12
        )
    )
    labels = draw(st.permutations(range(len(rows))))
    return [
        (index, entry_point, found, precedence, f"r{label}")
        for index, ((entry_point, found, precedence), label) in enumerate(
            zip(rows, labels, strict=True)
        )
    ]


def texts(matchers: tuple[Matcher, ...], *kinds: type[Matcher]) -> list[str]:
    """The alternatives of the matchers of some kinds."""
    found = [m for m in matchers if isinstance(m, kinds)]
    return [text for m in found for text in getattr(m, m.__slots__[0])]


@st.composite
def requests(draw: st.DrawFn, table: list[Entry]) -> Request:
    """Near what one of the routes asks for."""
    _, entry_point, matchers, _, _ = draw(st.sampled_from([*table, (0, 0, (), (0, 0), "")]))
    wild = [f"{x}.{name}" for name in texts(matchers, rules.HostWildcard) for x in ("a", "b", "")]
    asked_hosts = [*texts(matchers, rules.Host), *wild, *texts(matchers, rules.HostRegexp)]
    paths = (rules.PathPrefix, rules.PathExact, rules.PathElements, rules.Path)
    path = draw(st.sampled_from(texts(matchers, *paths) or ["/", "/a", "/a/b"]))
    tail = draw(st.sampled_from(["", "/", "/", "b", "/b"]))
    if draw(st.booleans()):
        path, tail = path.removesuffix("/"), tail.removesuffix("/")
    pairs = [pair for m in matchers if isinstance(m, rules.Headers) for pair in m.pairs]
    some_pairs = st.lists(st.tuples(names, st.sampled_from("123")), max_size=2)
    return Request(
        entry_point=draw(st.sampled_from([entry_point, entry_point, 0])),
        host=draw(st.sampled_from(asked_hosts or ["a", "a.b", "b.a.b", "", "."])).lower(),
        path=normalised("/" + path.removeprefix("/").replace("{x}", "b") + tail),
        query=draw(st.sampled_from(QUERIES)),
        method=draw(st.sampled_from(texts(matchers, rules.Method) or ["GET"])).upper(),
        headers=(*pairs, *draw(some_pairs)),
        alias=draw(st.sampled_from(["", "", "a", "a.b", "b.a.b"])),
    )


QUERIES = [None, "k=1", "k=2&k=1&l", "k", "l=&k=a+b", "%6b=1&l=12", "l=1&k", "k=%zz&k=1"]


@st.composite
def cases(draw: st.DrawFn, count: int = 6) -> tuple[list[Entry], list[Request]]:
    table = draw(tables())
    return table, draw(st.lists(requests(table), min_size=1, max_size=count))


def answer(section: bytes | memoryview, request: Request) -> tuple[int, int] | None:
    return match(
        section, request.entry_point, request.host, request.path, request.query, request.method,
        request.headers, request.alias,
    )  # fmt: skip


@given(cases())
@settings(max_examples=200, deadline=None)
def test_matcher_agrees_with_a_linear_scan(case: tuple[list[Entry], list[Request]]) -> None:
    table, asked = case
    section = build_matcher(table)
    assert check(section)
    for request in asked:
        assert answer(section, request) == scan(table, request)


@given(cases())
@settings(max_examples=100, deadline=None)
def test_specificity_agrees_with_a_linear_scan(case: tuple[list[Entry], list[Request]]) -> None:
    """All routes leave it to how specific they are, and only then to their priority."""
    mixed, asked = case
    table = [(*entry[:3], (0, sum(entry[3])), entry[4]) for entry in mixed]
    section = build_matcher(table)
    for request in asked:
        assert answer(section, request) == scan(table, request)


@given(cases(), st.integers(0, 8))
@settings(max_examples=50, deadline=None)
def test_a_section_means_the_same_at_any_address(
    case: tuple[list[Entry], list[Request]], shift: int
) -> None:
    table, asked = case
    section = build_matcher(table)
    block = bytearray(8 * shift + len(section) + 64)
    moved = memoryview(block)[8 * shift : 8 * shift + len(section)]
    moved[:] = section
    for request in asked:
        assert answer(moved.toreadonly(), request) == answer(section, request)


@given(st.text("/ab.%2fFcC5é ?#[{", max_size=12))
@settings(max_examples=300)
def test_normalised_paths_agree_with_the_twin_and_stay(path: str) -> None:
    result = normalise_path(path)
    assert result == normalised(path)
    assert normalise_path(result) == result


@given(cases(), st.data())
@settings(max_examples=150, deadline=None)
def test_damage_is_noticed_or_harmless(
    case: tuple[list[Entry], list[Request]], data: st.DataObject
) -> None:
    """Damage that passes the check must not lead a match outside the section; under
    FASTPROXY_BUILD=sanitize this is seen at once, otherwise with luck."""
    table, asked = case
    section = bytearray(build_matcher(table))
    for _ in range(data.draw(st.integers(1, 6))):
        word = 4 * data.draw(st.integers(0, len(section) // 4 - 1))
        value = data.draw(st.one_of(st.integers(0, 64), st.integers(0, 2**32 - 1)))
        section[word : word + 4] = value.to_bytes(4, "little")
    if check(section):
        for request in asked:
            answer(memoryview(section), request)
    else:
        with pytest.raises(ValueError, match="damaged"):
            answer(memoryview(section), asked[0])
