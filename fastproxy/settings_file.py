"""Read a TOML file into `Settings`, and collect everything that is wrong with it at once.

Keys are case-insensitive as in Traefik 1.7. A problem names the file, the key and the remedy; a
file with one problem yields no settings.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fastproxy import durations, settings_check, settings_points
from fastproxy.settings import Settings

# Providers and services of Traefik 1.7 which a Kubernetes Ingress proxy does not have.
FOREIGN = frozenset({
    "acme", "boltdb", "cluster", "consul", "consulcatalog", "docker", "dynamodb", "ecs",
    "etcd", "eureka", "file", "marathon", "mesos", "rancher",
    "rest", "servicefabric", "storeconfig", "tracing", "web", "zookeeper",
})  # fmt: skip
FILE_NAMES = ("fastproxy.toml", "traefik.toml")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct; `sentence` ends with what to do about it."""

    file: str
    key: str
    sentence: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key, self.sentence) if part)


class SettingsError(Exception):
    """The settings cannot be used; carries every problem found."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Loaded:
    settings: Settings
    warnings: tuple[Problem, ...] = ()


def find_file(home: str | None = None) -> Path | None:
    """Return the file Traefik 1.7 would read: `/etc/traefik`, `$HOME/.traefik`, `.`.

    In each directory `fastproxy.toml` comes first; so does `/etc/fastproxy` before the others.
    """
    home = os.environ.get("HOME", "") if home is None else home
    directories = [Path("/etc/fastproxy"), Path("/etc/traefik")]
    if home:
        directories.append(Path(home) / ".traefik")
    directories.append(Path())
    candidates = (directory / name for directory in directories for name in FILE_NAMES)
    return next((path for path in candidates if path.is_file()), None)


def load(path: Path | None) -> Loaded:
    """Read `path`, or the defaults when it is None; raises SettingsError."""
    if path is None:
        return parse("", "(defaults)")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        sentence = f"cannot be read ({error.strerror}); correct the path or its permissions"
        raise SettingsError((Problem(str(path), "", sentence),)) from error
    except UnicodeDecodeError as error:
        sentence = f"is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        raise SettingsError((Problem(str(path), "", sentence),)) from error
    loaded = parse(text, str(path))
    unreadable = tuple(
        Problem(str(path), key, sentence)
        for key, sentence in settings_points.unreadable(loaded.settings)
    )
    if unreadable:
        raise SettingsError(unreadable)
    return loaded


def parse(text: str, file: str) -> Loaded:
    """Read the text of a settings file; raises SettingsError with all problems."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        sentence = f'is not TOML: {error}; texts and durations need quotes, as in "10s"'
        raise SettingsError((Problem(file, "", sentence),)) from error
    reader = _Reader()
    settings = reader.table(Settings, document, "")
    found = list(reader.problems)
    warnings: list[tuple[str, str]] = []
    if not found:
        settings, warnings = settings_check.resolve(settings, _given(document))
        found = list(settings_check.problems(settings))
    if found:
        raise SettingsError(tuple(Problem(file, key, sentence) for key, sentence in found))
    return Loaded(settings, tuple(Problem(file, key, sentence) for key, sentence in warnings))


def key_of(field: dataclasses.Field[Any]) -> str:
    """Return the TOML spelling of an attribute."""
    if field.metadata.get("key"):
        return str(field.metadata["key"])
    first, *rest = field.name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _given(document: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(key.lower() for key in document)


@cache
def _fields(cls: Any) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(cls)
    return {
        field.name.replace("_", ""): (field, hints[field.name]) for field in dataclasses.fields(cls)
    }


@cache
def _everywhere(cls: type, path: str = "") -> dict[str, str]:
    """Return the tables in which a key exists, by its lower-case name."""
    places: dict[str, str] = {}
    for name, (field, hint) in _fields(cls).items():
        places.setdefault(name, path)
        inner = _dataclass_in(hint)
        if inner is not None:
            below = f"{path}.{key_of(field)}".strip(".")
            if typing.get_origin(hint) is Mapping:
                below += ".NAME"
            for deeper, place in _everywhere(inner, below).items():
                places.setdefault(deeper, place)
    return places


def _dataclass_in(hint: Any) -> type | None:
    for candidate in (hint, *typing.get_args(hint)):
        if dataclasses.is_dataclass(candidate) and isinstance(candidate, type):
            return candidate
    return None


class _Reader:
    """Turns parsed TOML into the dataclasses, by their type hints; appends to `problems`."""

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []

    def table(self, cls: Callable[..., Any], value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            return self.wrong(path, value, f"a table; write [{path}]", cls())
        known = _fields(cls)
        arguments: dict[str, Any] = {}
        for key, item in value.items():
            place = f"{path}.{key}".lstrip(".")
            if key.lower() not in known:
                self.problems.append((place, self.unknown(known, key, path)))
                continue
            field, hint = known[key.lower()]
            if field.name in arguments:
                self.problems.append((place, "is given twice; keys are case-insensitive, keep one"))
                continue
            arguments[field.name] = self.checked(field, self.value(hint, item, place), place)
        return cls(**arguments)

    @staticmethod
    def unknown(known: Mapping[str, Any], key: str, path: str) -> str:
        lower = key.lower()
        if not path and lower in FOREIGN:
            return (
                "belongs to a part of Traefik 1.7 which fastproxy does not have (it reads"
                " Kubernetes or manifests only); remove it"
            )
        elsewhere = _everywhere(Settings).get(lower)
        if elsewhere is not None and elsewhere != path:
            where = f"[{elsewhere}]" if elsewhere else "the top of the file, before any [table]"
            return f"is not known here; move it to {where}"
        near = difflib.get_close_matches(lower, known, n=1, cutoff=0.7)
        if near:
            return f"is not known; did you mean {key_of(known[near[0]][0])!r}?"
        names = ", ".join(sorted(key_of(field) for field, _ in known.values()))
        return f"is not known; remove it (possible here: {names})"

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

    def checked(self, field: dataclasses.Field[Any], value: Any, path: str) -> Any:
        """Apply the field's own restriction; text of a choice is matched in any case."""
        choices, minimum = field.metadata.get("choices"), field.metadata.get("minimum", 0)
        if choices and isinstance(value, str):
            same = [choice for choice in choices if choice.lower() == value.lower()]
            if same:
                return same[0]
            names = ", ".join(repr(choice) for choice in choices if choice)
            self.problems.append((path, f"is {value!r}; write one of {names}"))
        if isinstance(value, int | float) and not isinstance(value, bool) and value < minimum:
            self.problems.append((path, f"is {value:g}; write {minimum} or more"))
        return value

    def wrong(self, path: str, value: Any, wanted: str, instead: Any) -> Any:
        self.problems.append((path, f"is {_kind(value)}; it must be {wanted}"))
        return instead


_READ: Mapping[type, Callable[[_Reader, Any, str], Any]] = {
    bool: _Reader.boolean,
    int: _Reader.whole,
    str: _Reader.text,
    float: _Reader.duration,
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
