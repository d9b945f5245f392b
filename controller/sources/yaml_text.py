"""YAML and JSON texts as values, within limits that hold for any text.

Idea. A text is cut into documents at its `---` lines before any YAML is parsed, so a broken
document harms no other. libyaml reads a document into events; the values are built from them here,
without recursion, and with a look at what YAML does not limit: nesting, aliases, numbers, time.
What Kubernetes' own tools refuse or read as text is not taken for something else: a number in base
60 (`1:59:59`) and a date are text, a key given twice is told.

JSON is read a hundred times faster than as the YAML it also is.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
import yaml

from controller.sources.yaml_reasons import plain

SEPARATOR = re.compile(r"^---(?=\s|$).*$", re.M)
CONTENT = re.compile(r"^[ \t]*+[^\s%#]", re.M)  # not only directives, comments and blanks
DIRECTIVE = re.compile(r"^%", re.M)

DEEPEST = 200  # levels
MOST_ALIASED = 100_000  # values that stand in a document only through aliases
LONGEST_NUMBER = 64  # characters; a longer one is text
MOST_DIRECTIVES = 16
LOOK = 4096  # events between two looks at the clock
LEAST_SECONDS = 2.0  # of processor time for a text ...
SECONDS_PER_BYTE = 4.0 / (1 << 20)  # ... and for each of its bytes

PREFIX = "tag:yaml.org,2002:"
INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*)")
FRACTION = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?")
WORDS: Mapping[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}


class Broken(ValueError):
    """A text that is no document: `line` counts from 0 in the text, `reason` is a sentence."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


class Twice(NamedTuple):
    """A key which stands twice in one mapping; the last one counts."""

    path: str
    line: int
    first: int  # line of the one that is lost
    whole: bool  # what is lost is a mapping or a list


class Document(NamedTuple):
    value: Any
    twice: tuple[Twice, ...] = ()  # lines count from 0 in the text it was read from


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """Cut at `---` lines: the number of the first line of each document, and its text."""
    start, line = 0, 1
    for mark in SEPARATOR.finditer(text):
        piece = text[start : mark.start()]
        if CONTENT.search(piece):
            yield line, piece
        line += piece.count("\n")
        # What stands behind the dashes belongs to the document (`--- {kind: ...}`).
        start = mark.start() + 3
    if CONTENT.search(text[start:]):
        yield line, text[start:]


def latest_end(text: str) -> float:
    """When reading a text that is begun now has to be done, by the clock of this thread."""
    return time.thread_time() + LEAST_SECONDS + len(text) * SECONDS_PER_BYTE


def parse(text: str, until: float = math.inf) -> Document:
    """Read one document; `until` is what `latest_end` said. Raises `Broken`."""
    if text.lstrip()[:1] == "{":
        document = _json(text)
        if document is not None:
            return document
    if len(DIRECTIVE.findall(text)) > MOST_DIRECTIVES:
        raise Broken(0, f"it has more than {MOST_DIRECTIVES} lines that begin with %")
    try:
        return _Builder(text, until).build()
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        reason = getattr(problem, "problem", None) or str(problem) or "it is not YAML"
        raise Broken(mark.line if mark is not None else 0, plain(reason)) from None


def _json(text: str) -> Document | None:
    """None when it is not JSON, or worth a slower look that knows the lines."""
    try:
        value = orjson.loads(text)
    except ValueError:
        return None
    twice = False

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        found = dict(pairs)
        twice = twice or len(found) != len(pairs)
        return found

    try:
        json.loads(text, object_pairs_hook=unique, parse_int=str)
    except (ValueError, RecursionError):
        return None
    many = text.count("{") + text.count("[") >= DEEPEST
    if twice or (many and _deep(value)):
        return None
    return Document(value)


def _deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


_NOTHING: Any = object()
_MERGE: Any = object()


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not come yet."""

    value: Any
    anchor: str | None
    began: int  # count of values before it
    key: Any = _NOTHING
    line: int = 0  # of the key
    lines: dict[Any, int] = field(default_factory=dict)  # of the keys so far
    merged: list[Any] = field(default_factory=list)


class _Builder:
    def __init__(self, text: str, until: float) -> None:
        self._events: Iterator[Any] = iter(yaml.CSafeLoader(text).get_event, None)
        self._until = until
        self._stack: list[_Open] = []
        self._count = 0
        self._aliased = 0
        self._anchors: dict[str, tuple[Any, int]] = {}  # value, count of values in it
        self._twice: list[Twice] = []
        self._root: Any = None

    def build(self) -> Document:
        for number, event in enumerate(self._events):
            if number % LOOK == 0 and time.thread_time() > self._until:
                raise Broken(event.start_mark.line, "reading it takes too long; split the file")
            kind = type(event)
            if kind is yaml.ScalarEvent:
                value = _scalar(event)
                weight = 1 + len(event.value) // 64
                self._count += weight
                if event.anchor is not None:
                    self._anchors[event.anchor] = value, weight
                self._put(value, event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._open({} if kind is yaml.MappingStartEvent else [], event)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._close(event)
            elif kind is yaml.AliasEvent:
                self._put(self._alias(event), event)
        return Document(self._root, tuple(self._twice))

    def _open(self, value: Any, event: Any) -> None:
        if event.tag not in (None, "!", PREFIX + ("map" if isinstance(value, dict) else "seq")):
            raise _unknown_tag(event)
        if len(self._stack) >= DEEPEST:
            raise Broken(event.start_mark.line, f"it is nested more than {DEEPEST} levels deep")
        if event.anchor is not None:
            self._anchors[event.anchor] = _NOTHING, 0
        self._count += 1
        self._stack.append(_Open(value, event.anchor, self._count))

    def _close(self, event: Any) -> None:
        done = self._stack.pop()
        for source in done.merged:
            for key, value in source.items():
                done.value.setdefault(key, value)
        if done.anchor is not None:
            self._anchors[done.anchor] = done.value, 1 + self._count - done.began
        self._put(done.value, event)

    def _alias(self, event: Any) -> Any:
        value, weight = self._anchors.get(event.anchor, (_NOTHING, -1))
        if value is _NOTHING:
            what = (
                "is not defined; put a value that begins with * between quotes"
                if weight < 0
                else "stands inside of what it names"
            )
            raise Broken(event.start_mark.line, f"the alias *{event.anchor} {what}")
        self._count += weight
        self._aliased += weight
        if self._aliased > MOST_ALIASED:
            raise Broken(
                event.start_mark.line, f"its aliases stand for more than {MOST_ALIASED} values"
            )
        return value

    def _put(self, value: Any, event: Any) -> None:
        """Add a complete value to what it stands in."""
        if not self._stack:
            self._root = value
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is _NOTHING:
            self._take_key(top, value, event)
        else:
            key, top.key = top.key, _NOTHING
            if key is _MERGE:
                self._merge(top, value, event)
            else:
                top.value[key] = value

    def _take_key(self, top: _Open, key: Any, event: Any) -> None:
        line = event.start_mark.line
        if isinstance(key, dict | list):
            raise Broken(line, "a key must be text, not a mapping or a list")
        merge = key == "<<" and type(event) is yaml.ScalarEvent and event.implicit[0]
        top.key = _MERGE if merge else key
        if not merge and key in top.lines:
            whole = isinstance(top.value[key], dict | list)
            self._twice.append(Twice(self._path(), line, top.lines[key], whole))
        top.lines[key] = line

    def _merge(self, top: _Open, value: Any, event: Any) -> None:
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise Broken(event.start_mark.line, "<< needs a mapping, or a list of mappings")
        top.merged += sources

    def _path(self) -> str:
        """Where in the document the parser is."""
        path = ""
        for place in self._stack:
            if isinstance(place.value, list):
                path += f"[{len(place.value)}]"
            elif place.key is not _MERGE and place.key is not _NOTHING:
                key = str(place.key)
                named = path in ("metadata.annotations", "metadata.labels")
                path += f"[{key}]" if named else f".{key}" if path else key
        return path


def _scalar(event: Any) -> Any:
    text: str = event.value
    if event.tag is None or event.tag == "!":
        return _plain(text) if event.implicit[0] else text
    kind = event.tag.removeprefix(PREFIX)
    if kind == "str":
        return text
    value = _plain(text)
    # `!!float 1` is a fraction all the same; anything else must be what it says.
    names = {"null": type(None), "bool": bool, "int": int, "float": int | float}
    if kind not in names or not isinstance(value, names[kind]):
        raise _unknown_tag(event)
    return value


def _plain(text: str) -> Any:
    """What an unquoted scalar stands for: the rules of YAML 1.1 without base 60 and dates."""
    if text in WORDS:
        return WORDS[text]
    if text[0] not in "+-.0123456789" or len(text) > LONGEST_NUMBER:
        return text
    if INTEGER.fullmatch(text):
        return _integer(text)
    if FRACTION.fullmatch(text):
        return float(text.replace("_", ""))
    return text


def _integer(text: str) -> Any:
    digits = text.replace("_", "")
    unsigned = digits.lstrip("+-")
    base = {"0b": 2, "0x": 16}.get(unsigned[:2], 8 if unsigned[:1] == "0" else 10)
    try:
        value = int(unsigned.removeprefix("0b").removeprefix("0x"), base)
    except ValueError:  # nothing but underscores behind `0x`
        return text
    return -value if digits[0] == "-" else value


def _unknown_tag(event: Any) -> Broken:
    return Broken(event.start_mark.line, f"the tag {event.tag} is not known, or not for this value")
