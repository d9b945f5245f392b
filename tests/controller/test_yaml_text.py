"""Any text is a value or a sentence about why not, soon and in little memory; each limit is met."""

from __future__ import annotations

import math
import time
import tracemalloc
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller.sources import yaml_text
from controller.sources.yaml_text import Broken, parse, pieces

# text -> value, as the tools of Kubernetes read it
VALUES = [
    ("", None),
    ("a: 1", {"a": 1}),
    ("a: [1, -2, +3, 0x1F, 017, 0b101, 1_000]", {"a": [1, -2, 3, 31, 15, 5, 1000]}),
    ("a: [1.5, .5, -1.5e+3, .inf, -.INF]", {"a": [1.5, 0.5, -1500.0, math.inf, -math.inf]}),
    ("a: [yes, Off, true, ~, null, '', '1', \"no\"]",
     {"a": [True, False, True, None, None, "", "1", "no"]}),
    ("a:\nb: x", {"a": None, "b": "x"}),
    ("a: 1:59:59", {"a": "1:59:59"}),
    ("a: 1:59.5", {"a": "1:59.5"}),
    ("a: 2026-01-31", {"a": "2026-01-31"}),
    ("a: 2026-01-31T10:00:00Z", {"a": "2026-01-31T10:00:00Z"}),
    ("a: =", {"a": "="}),
    ("a: 0x_", {"a": "0x_"}),
    ("a: 1e3", {"a": "1e3"}),
    ("a: " + "9" * 64, {"a": int("9" * 64)}),
    ("a: " + "9" * 65, {"a": "9" * 65}),
    ("a: 0x" + "f" * 5000, {"a": "0x" + "f" * 5000}),
    ("a: !!str 1\nb: !!int 2\nc: !!float 2\nd: ! 3", {"a": "1", "b": 2, "c": 2, "d": 3}),
    ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
    ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
    ("a: &x {b: 1}\nd: {<<: [*x, {b: 2, c: 2}]}", {"a": {"b": 1}, "d": {"b": 1, "c": 2}}),
    ("'<<': 1", {"<<": 1}),
    ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
    ('{"a": [1, "\\u00e4", null]}', {"a": [1, "ä", None]}),
    ("{a: 1}", {"a": 1}),
    ("%YAML 1.1\n---\na: 1", {"a": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_values(text: str, value: Any) -> None:
    assert parse(text).value == value


# text, line from 0, a word of the reason
BROKEN = [
    ("a: b: c", 0, "a colon stands where"),
    ("a: 1\nb: [x}", 1, "is not closed or lacks a comma"),
    ("a: *b", 0, "not defined"),
    ("a: 1\nb: &x [*x]", 1, "inside of what it names"),
    ("a: &x {b: *x}", 0, "inside of what it names"),
    ("{[a]: 1}", 0, "key must be text"),
    ("a: {<<: 1}", 0, "<< needs a mapping"),
    ("a: !!python/object:os.system x", 0, "tag"),
    ("a: !!binary aGk=", 0, "tag"),
    ("a: !!int x", 0, "tag"),
    ("a: !!set {}", 0, "tag"),
    ("a\n...\nb\n", 2, "to the left of the first"),
    ("a: \x01", 0, "control characters"),
    ("%TAG ! x\n" * 17 + "--- a", 0, "begin with %"),
]


@pytest.mark.parametrize(("text", "line", "word"), BROKEN)
def test_broken(text: str, line: int, word: str) -> None:
    with pytest.raises(Broken, match=word) as caught:
        parse(text)
    assert caught.value.line == line


def nested(kind: str, depth: int) -> str:
    if kind == "json":
        return '{"a":' * depth + "1" + "}" * depth
    if kind == "flow":
        return "x: " + "[" * (depth - 1) + "]" * (depth - 1)
    return "- " * depth + "x"


@pytest.mark.parametrize("kind", ["json", "flow", "block"])
@pytest.mark.parametrize("beyond", [0, 1, 800, 300_000])
def test_nesting_at_the_limit(kind: str, beyond: int) -> None:
    text = nested(kind, yaml_text.DEEPEST + beyond)
    if not beyond:
        parse(text)
        return
    with pytest.raises(Broken, match="nest"):
        parse(text)


@pytest.mark.parametrize("beyond", [0, 1])
def test_aliases_at_the_limit(beyond: int) -> None:
    """A list of 99 counts 100 each time its name is said."""
    count = yaml_text.MOST_ALIASED // 100 + beyond
    text = "a: &a [" + ",".join(["x"] * 99) + "]\nb: [" + ",".join(["*a"] * count) + "]\n"
    if not beyond:
        assert len(parse(text).value["b"]) == count
        return
    with pytest.raises(Broken, match="aliases stand for more"):
        parse(text)


def laughing(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, levels)]
    return "\n".join(lines)


def merging(levels: int) -> str:
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [
        f"a{n}: &a{n} {{<<: [" + ", ".join([f"*a{n - 1}"] * 10) + "]}" for n in range(1, levels)
    ]
    return "\n".join(lines)


# Texts that cost a reader without limits minutes or gigabytes, each 1 MB or less.
COSTLY = {
    "base 60": "a: 1" + ":59" * 150_000,
    "base 60 with a fraction": "a: 1" + ":59" * 150_000 + ".5",
    "digits": "a: " + "9" * 600_000,
    "hexadecimal digits": "a: 0x" + "f" * 600_000,
    "underscores": "a: 1" + "_" * 600_000,
    "laughing": laughing(30),
    "merging": merging(30),
    "a long text often": "a: &a " + "x" * 500_000 + "\nb: [" + ",".join(["*a"] * 50_000) + "]",
    "deep lists": "[" * 900_000,
    "deep mappings": "{a: " * 200_000,
    "deep JSON": '{"a":' * 150_000,
    "deep blocks": "- " * 400_000,
    "question marks": "? " * 400_000,
    "blank lines": "\n" * 900_000,
    "comments": "#\n" * 400_000,
    "directives": "%TAG !a! x\n" * 80_000,
    "separators": "---\n" * 200_000,
    "anchors": "\n".join(f"- &a{n} x" for n in range(60_000)),
    "keys": "\n".join(f"k{n}: x" for n in range(60_000)),
    "an open quote": 'a: "' + "x" * 900_000,
    "brackets never closed": "a: [" + "x," * 300_000,
}


@pytest.mark.parametrize("name", COSTLY)
def test_no_text_costs_much(name: str) -> None:
    text = COSTLY[name]
    began = time.thread_time()
    try:
        for _, piece in pieces(text):
            parse(piece)
    except Broken:
        pass
    assert time.thread_time() - began < 3.0


@pytest.mark.parametrize("name", ["laughing", "merging", "a long text often", "deep lists"])
def test_no_text_fills_the_memory(name: str) -> None:
    tracemalloc.start()
    with pytest.raises(Broken):
        parse(COSTLY[name])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20 << 20


def test_reading_ends_in_time() -> None:
    text = "a: [" + "1, " * 100_000 + "1]"
    with pytest.raises(Broken, match="takes too long"):
        parse(text, time.thread_time())
    assert len(parse(text, yaml_text.latest_end(text)).value["a"]) == 100_001


# text -> path, line, line of the first, whether a block is lost
TWICE = [
    ("a: 1\nb: 2\na: 3", [("a", 2, 0, False)]),
    ("a: {b: 1, b: 1}", [("a.b", 0, 0, False)]),
    ("a: [{b: 1,\n b: 2}]", [("a[0].b", 1, 0, False)]),
    ("a: {b: 1}\na: 2", [("a", 1, 0, True)]),
    ('{"a": {"b": 1},\n "a": {"c": 1}}', [("a", 1, 0, True)]),
    ('{"a": 1, "b": 2}', []),
    ("a: 1\na: 2\na: 3", [("a", 1, 0, False), ("a", 2, 1, False)]),
    ("x: &x {a: 1}\ny: {<<: *x, a: 2}", []),
]


@pytest.mark.parametrize(("text", "twice"), TWICE)
def test_keys_given_twice(text: str, twice: list[tuple[str, int, int, bool]]) -> None:
    assert [tuple(found) for found in parse(text).twice] == twice


# What PyYAML writes of other line ends is not what it was given.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029"), max_size=20)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | TEXT
    | st.floats(allow_nan=False),
    lambda children: st.lists(children, max_size=4)
    | st.dictionaries(TEXT, children, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(PLAIN)
def test_what_is_written_is_read(value: Any) -> None:
    """Against PyYAML's writer; what it quotes or not is its own decision."""
    text = yaml.safe_dump(value, allow_unicode=True)
    assert parse(text).value == value


@given(st.text(alphabet="ab:{}[]-?*&!<>|'\"%#,. \n\t1_x0", max_size=60))
def test_any_text_is_a_value_or_broken(text: str) -> None:
    for _, piece in pieces(text):
        try:
            parse(piece)
        except Broken as problem:
            assert problem.reason and problem.line >= 0
