"""Parsed TOML into the values of `settings.py`, by their type hints.

The dataclasses are the table of options: path, type, default and restriction of each. What does
not fit a type is a problem, as in Traefik 1.7. A key that nothing reads is a warning, as 1.7
ignores it, unless somebody counts on it: then it is a problem (`COUNTED_ON`).
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from fastproxy.model import durations
from fastproxy.settings.declare import options_of
from fastproxy.settings.foreign import later
from fastproxy.settings.options import Settings

Field = dataclasses.Field[Any]

_PASSWORD = "nobody would be asked for a password"
_LET_IN = "everybody would be let in"
_CLIENT = "no client would be asked for a certificate"
_PLAIN = "its connections and certificates would be lost"
# Keys which protect something, in lower case, with what happens when they are ignored.
COUNTED_ON: Mapping[str, str] = {
    **dict.fromkeys(("auth", "authentication", "basic", "digest", "forward"), _PASSWORD),
    **dict.fromkeys(("basicauth", "digestauth", "forwardauth", "users", "usersfile"), _PASSWORD),
    **dict.fromkeys(("whitelist", "sourcerange", "whitelistsourcerange"), _LET_IN),
    **dict.fromkeys(("ipwhitelist", "ipallowlist", "allowlist"), _LET_IN),
    **dict.fromkeys(("clientca", "clientcafiles"), _CLIENT),
    **dict.fromkeys(("tls", "certificates", "defaultcertificate"), _PLAIN),
    "redirections": "nothing would be redirected",  # of Traefik 2
}
SOCKETS = "its sockets would not be opened"  # of a misspelt [entryPoints]
ALIKE = 0.85  # how alike two words are that are one word with a slip (difflib's ratio)


def key_of(field: Field) -> str:
    """Return the TOML spelling of an attribute."""
    if field.metadata.get("key"):
        return str(field.metadata["key"])
    first, *rest = field.name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@cache
def fields_of(cls: Any) -> dict[str, tuple[Field, Any]]:
    """Return field and type hint of every option of a table, by its lower-case name."""
    hints = typing.get_type_hints(cls)
    return {field.name.replace("_", ""): (field, hints[field.name]) for field in options_of(cls)}


def table_in(hint: Any) -> type | None:
    """Return the table an option holds (one, or many in a list or by name)."""
    for candidate in (hint, *typing.get_args(hint)):
        if dataclasses.is_dataclass(candidate) and isinstance(candidate, type):
            return candidate
    return None


@cache
def _everywhere(cls: type, path: str = "") -> dict[tuple[str, bool], str]:
    """Return the table in which a key exists, by its lower-case name and whether it is a table."""
    places: dict[tuple[str, bool], str] = {}
    for name, (field, hint) in fields_of(cls).items():
        inner = table_in(hint)
        below = f"{path}.{key_of(field)}".strip(".")
        places.setdefault((name, inner is not None), below if inner is not None else path)
        if inner is not None:
            if typing.get_origin(hint) is Mapping:
                below += ".NAME"
            for deeper, place in _everywhere(inner, below).items():
                places.setdefault(deeper, place)
    return places


def _like(key: str, names: Any, cutoff: float) -> str:
    plain = key.lower().replace("_", "").replace("-", "")
    return next(iter(difflib.get_close_matches(plain, names, n=1, cutoff=cutoff)), "")


def _loss(key: str, value: Any, path: str = "below") -> str:
    """Return what is lost when this key and all below it are ignored; "" if nothing counts."""
    if not path and isinstance(value, dict) and _like(key, ("entrypoints",), ALIKE):
        return SOCKETS
    own = _like(key, COUNTED_ON, ALIKE)
    if own:
        return COUNTED_ON[own]
    items = value if isinstance(value, list) else [value]
    below = (pair for item in items if isinstance(item, dict) for pair in item.items())
    return next(filter(None, (_loss(*pair) for pair in below)), "")


def _remedy(known: Mapping[str, tuple[Field, Any]], key: str, value: Any, path: str) -> str:
    is_table = isinstance(value, dict)
    elsewhere = _everywhere(Settings).get((key.lower(), is_table))
    if elsewhere is not None and elsewhere != path:
        where = f"[{elsewhere}]" if elsewhere else "the top of the file, before any [table]"
        return f"move it to {where}"
    near = _like(key, known, 0.7)
    if near:
        return f"did you mean {key_of(known[near][0])!r}?"
    return f"remove it (possible here: {', '.join(sorted(key_of(f) for f, _ in known.values()))})"


class Reader:
    """Appends to `problems` and `warnings`: pairs of key and sentence."""

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []
        self.warnings: list[tuple[str, str]] = []

    def table(self, cls: Callable[..., Any], value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            return self.wrong(path, value, f"a table; write [{path}]", cls())
        known = fields_of(cls)
        arguments: dict[str, Any] = {}
        for key, item in value.items():
            place = f"{path}.{key}".lstrip(".")
            if key.lower() not in known:
                self.unknown(known, key, item, path)
                continue
            field, hint = known[key.lower()]
            if field.name in arguments:
                self.problems.append((place, "is given twice; keys are case-insensitive, keep one"))
                continue
            arguments[field.name] = self.checked(field, self.value(hint, item, place), place)
        return cls(**arguments)

    def unknown(
        self, known: Mapping[str, tuple[Field, Any]], key: str, value: Any, path: str
    ) -> None:
        place = f"{path}.{key}".lstrip(".")
        remedy, loss = later(path, key), _loss(key, value, path)
        what = "is a name of Traefik 2" if remedy else "is not known"
        if not remedy:
            remedy = _remedy(known, key, value, path)
            what += " here" if remedy.startswith("move") else ""
        if loss:
            self.problems.append((place, f"{what} and {loss}; {remedy}"))
        else:
            self.warnings.append((place, f"{what} and ignored; {remedy}"))

    def value(self, hint: Any, value: Any, path: str) -> Any:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is object:
            return value
        if origin is types.UnionType:
            return self.value(arguments[0], value, path)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            return self.table(hint, value, path)
        if origin is tuple:
            return self.listed(arguments[0], value, path)
        if origin is Mapping:
            return self.mapped(arguments[1], value, path)
        return _READ[hint](self, value, path)

    def listed(self, hint: Any, value: Any, path: str) -> Any:
        if not isinstance(value, list):
            return self.wrong(path, value, "a list; put it between [ and ]", ())
        if hint is float:
            return tuple(self.number(item, f"{path}[{i}]") for i, item in enumerate(value))
        return tuple(self.value(hint, item, f"{path}[{i}]") for i, item in enumerate(value))

    def mapped(self, hint: Any, value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            return self.wrong(path, value, f"a table; write [{path}]", {})
        return {key: self.value(hint, item, f"{path}.{key}") for key, item in value.items()}

    def boolean(self, value: Any, path: str) -> Any:
        if isinstance(value, bool):
            return value
        return self.wrong(path, value, "true or false, without quotes", False)

    def whole(self, value: Any, path: str) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        return self.wrong(path, value, "a whole number, without quotes", 0)

    def text(self, value: Any, path: str) -> Any:
        return value if isinstance(value, str) else self.wrong(path, value, "text in quotes", "")

    def number(self, value: Any, path: str) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        return self.wrong(path, value, "a number", 0.0)

    def duration(self, value: Any, path: str) -> Any:
        wanted = 'a duration: seconds as a whole number, or text such as "10s"'
        if isinstance(value, bool) or not isinstance(value, int | str):
            return self.wrong(path, value, wanted, 0.0)
        try:
            return durations.parse_seconds(value)
        except ValueError as error:
            self.problems.append((path, f"{error}"))
            return 0.0

    def checked(self, field: Field, value: Any, path: str) -> Any:
        """Apply the field's own restriction; text of a choice is matched in any case."""
        choices, minimum = field.metadata.get("choices"), field.metadata.get("minimum", 0)
        if choices and isinstance(value, str):
            word = field.metadata["aliases"].get(value.upper(), value)
            same = [choice for choice in choices if choice.lower() == word.lower()]
            return same[0] if same else self.strange(field, value, path)
        if isinstance(value, int | float) and not isinstance(value, bool) and value < minimum:
            self.problems.append((path, f"is {value:g}; write {minimum} or more"))
        return value

    def strange(self, field: Field, value: str, path: str) -> Any:
        """Another word than the choices of an option."""
        names = ", ".join(repr(choice) for choice in field.metadata["choices"] if choice)
        if not field.metadata["lenient"]:
            self.problems.append((path, f"is {value!r}; write one of {names}"))
            return value
        used = repr(field.default) if field.default else "the default"
        sentence = f"is {value!r}, which is not known: {used} is used; write one of {names}"
        self.warnings.append((path, sentence))
        return field.default

    def wrong(self, path: str, value: Any, wanted: str, instead: Any) -> Any:
        self.problems.append((path, f"is {_kind(value)}; it must be {wanted}"))
        return instead


_READ: Mapping[type, Callable[[Reader, Any, str], Any]] = {
    bool: Reader.boolean,
    int: Reader.whole,
    str: Reader.text,
    float: Reader.duration,
}
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),
    (str, "text"),
    (int, "a whole number"),
    (float, "a number with a fraction"),
    (list, "a list"),
    (dict, "a table"),
)


def _kind(value: Any) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), type(value).__name__)


def every_option(cls: type = Settings, path: str = "") -> Iterator[tuple[str, Field, Any]]:
    """Yield TOML path, field and type hint of every option, outer ones first; `NAME` stands for
    the name of an entry point."""
    for field, hint in fields_of(cls).values():
        place = f"{path}.{key_of(field)}".lstrip(".")
        yield place, field, hint
        inner = table_in(hint)
        if inner is not None:
            below = f"{place}.NAME" if typing.get_origin(hint) is Mapping else place
            yield from every_option(inner, below)
