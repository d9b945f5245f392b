"""The command line of Traefik 1.7 as a document like the one of a settings file.

The flag of an option is its TOML path, joined by dots, in any case (`--kubernetes.ingressClass`),
so the dataclasses of `settings.py` are the table of flags too (`provider.md` 1.4). `overlay` lays
the flags over the file, and both are read by the same reader.
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from fastproxy.settings import foreign as settings_foreign
from fastproxy.settings.entry_points import parse_entry_point
from fastproxy.settings.options import Settings
from fastproxy.settings.reader import every_option, fields_of, key_of, table_in

SHORT = {"c": "configfile", "d": "debug", "g": "gracetimeout", "l": "loglevel"}
OTHER_NAMES = {"log-level": "loglevel"}
FILE = "configfile"
# As Go's strconv.ParseBool.
BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
OFF = object()  # a table that a flag switches off


class _Section:
    """The type of the flag of a section that is not ours."""


class _Inside:
    """That of the flags below it."""


class FlagError(Exception):
    """The command line cannot be understood; the text names the flag and the remedy."""

    def __init__(self, text: str, *, usage: bool = False) -> None:
        super().__init__(text)
        self.usage = usage  # whether the usage of the command helps


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says about settings."""

    file: str = ""  # of --configfile
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)  # keys in lower case
    names: frozenset[str] = frozenset()  # of the flags: paths in lower case

    def says(self, path: str) -> bool:
        """Return whether a flag gave the option at this path (or one around it)."""
        path = re.sub(r"\[\d+\].*", "", path.lower())
        return any(path == name or path.startswith(f"{name}.") for name in self.names)


@cache
def _hints() -> Mapping[str, Any]:
    """The type of every option that has a flag, by its lower-case path."""
    hints = {path.lower(): hint for path, _, hint in every_option() if ".NAME." not in path}
    return {**hints, FILE: str}


def read(arguments: Sequence[str]) -> Given:
    """Return what these flags say; raises FlagError for what 1.7 ends with, too."""
    document: dict[str, Any] = {}
    names: set[str] = set()
    file = ""
    for flag, name, text in _pairs(arguments):
        if name == FILE:
            file = _needed(flag, text)
            continue
        path, hint = _known(flag, name)
        value = _value(flag, hint, text)
        table = _table(document, path[:-1])
        if path == ["entrypoints"]:
            names |= {f"entrypoints.{point}".lower() for point in value}
            value = {**document.get("entrypoints", {}), **value}
        elif path[0] in settings_foreign.KEYS:
            names.add(path[0])
        elif isinstance(value, list) and isinstance(table.get(path[-1]), list):
            value = table[path[-1]] + value  # repeated: more of them
        else:
            names.add(name)
        if not (value == {} and isinstance(table.get(path[-1]), dict)):
            table[path[-1]] = value
    return Given(file, document, frozenset(names))


def separated(arguments: Sequence[str], own: Container[str]) -> tuple[list[str], list[str]]:
    """Return the flags of settings, each with its value, and everything else.

    `own` are the options of a command, which come before flags of the same name; what is no flag
    is the command's too.
    """
    flags: list[str] = []
    rest: list[str] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        if not word.startswith("-") or word == "-" or _option(word) in own:
            rest.append(word)
            continue
        flags.append(word)
        name = word[2:].lower() if word.startswith("--") else SHORT.get(word[1:2], "")
        alone = "=" not in word and (word.startswith("--") or len(word) == 2)
        if alone and left and _takes(OTHER_NAMES.get(name, name), left[0]):
            flags.append(left.pop(0))
    return flags, rest


def _option(word: str) -> str:
    return word.partition("=")[0] if word.startswith("--") else word[:2]


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str, str | None]]:
    """Yield each flag as written, its lower-case name, and its text if it has one."""
    left = list(arguments)
    while left:
        word = left.pop(0)
        if word == "--":
            continue
        if word.startswith("--"):
            flag, equal, text = word.partition("=")
            name = flag[2:].lower()
        elif word.startswith("-") and word[1:2] in SHORT:
            flag, name = word[:2], SHORT[word[1]]
            text = word[2:].removeprefix("=")
            equal = "=" if len(word) > 2 else ""
            if equal and name == "debug":  # -dl INFO
                equal, text = "", ""
                left.insert(0, f"-{word[2:]}")
        else:
            raise FlagError(f"{word!r} is no flag; flags begin with --", usage=True)
        name = OTHER_NAMES.get(name, name)
        if equal:
            yield flag, name, text
        elif left and _takes(name, left[0]):
            yield flag, name, left.pop(0)
        else:
            yield flag, name, None


def _takes(name: str, word: str) -> bool:
    """Return whether the next word is the value of a flag: a switch takes only true or false."""
    hint = _hints().get(name)
    if hint is bool or hint is object or (table_in(hint) is not None and name != "entrypoints"):
        return word in BOOLEANS or (hint is object and not word.startswith("-"))
    return not word.startswith("-") or word[1:].isdecimal()


def _known(flag: str, name: str) -> tuple[list[str], Any]:
    """Return where a flag's value goes, and its type; free text below what is not ours."""
    path = name.split(".")
    if name in _hints():
        return path, _hints()[name]
    if path[0] in settings_foreign.KEYS:
        return path[:1], _Section if len(path) == 1 else _Inside
    parents = (".".join(path[:end]) for end in range(len(path) - 1, 0, -1))
    above = next((parent for parent in parents if parent in _hints()), "")
    if above and _hints()[above] is object:
        return above.split("."), object
    near = difflib.get_close_matches(name, _hints(), n=1, cutoff=0.7)
    hint = f"did you mean --{near[0]}?" if near else "see docs/settings.md for those there are"
    raise FlagError(f"{flag} is not known; {hint}", usage=True)


def _table(document: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """Return the table at a path, made where there is none."""
    for key in path:
        below = document.get(key)
        if not isinstance(below, dict):
            below = document[key] = {}
        document = below
    return document


def _needed(flag: str, text: str | None) -> str:
    if text is None:
        raise FlagError(f"{flag} needs a value; write {flag}=VALUE")
    return text


def _value(flag: str, hint: Any, text: str | None) -> Any:
    """Return what TOML would have held."""
    if hint is _Section:
        return OFF if text is not None and BOOLEANS.get(text) is False else {}
    if hint is _Inside:
        return {}
    if hint is object:
        return True if text is None else BOOLEANS.get(text, text)
    if typing.get_origin(hint) is Mapping:
        return _mapping(flag, hint, _needed(flag, text))
    if hint is bool or table_in(hint) is not None:
        on = _boolean(flag, text)
        return on if hint is bool else ({} if on else OFF)
    return _scalar(flag, hint, _needed(flag, text))


def _boolean(flag: str, text: str | None) -> bool:
    if text is None:
        return True
    if text not in BOOLEANS:
        raise FlagError(f"{flag} is {text!r}; write {flag}=true or {flag}=false")
    return BOOLEANS[text]


def _scalar(flag: str, hint: Any, text: str) -> Any:
    if hint is int:
        return _number(flag, int, text)
    if typing.get_origin(hint) is tuple:
        items = [part.strip() for part in re.split("[,;]", text) if part.strip()]
        if typing.get_args(hint)[0] is float:
            return [_number(flag, float, item) for item in items]
        return items
    return text


def _number(flag: str, kind: type, text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise FlagError(f"{flag} is {text!r}; it must be a number") from None


def _mapping(flag: str, hint: Any, text: str) -> dict[str, Any]:
    """`--entrypoints`, or names with their modes."""
    if table_in(hint) is not None:
        try:
            return dict([parse_entry_point(text)])
        except ValueError as problem:
            raise FlagError(f"{flag}: {problem}") from None
    pairs = [part.partition("=") for part in re.split(r"[,;\s]+", text) if part]
    for name, equal, mode in pairs:
        if not (name and equal and mode):
            raise FlagError(f'{flag} is {text!r}; write for example {flag}="Username=drop"')
    return {name: mode for name, _, mode in pairs}


def overlay(document: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's document with what the flags say instead; keys of `flags` are lower-case,
    except the names of entry points, each of which is replaced whole."""
    return _laid(document, flags, Settings)


def _laid(document: Mapping[str, Any], flags: Mapping[str, Any], cls: Any) -> dict[str, Any]:
    result = dict(document)
    for key, value in flags.items():
        old = next((each for each in document if each.lower() == key), None)
        if value is OFF:
            if old is not None:
                del result[old]
            continue
        before = document[old] if old is not None else {}
        field, hint = fields_of(cls).get(key, (None, None)) if cls is not None else (None, None)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = table_in(hint)
            if typing.get_origin(hint) is not Mapping:
                value = _laid(before, value, inner)
            elif inner is not None:
                value = {**before, **{name: _laid({}, one, inner) for name, one in value.items()}}
        result[old or (key_of(field) if field is not None else key)] = value
    return result
