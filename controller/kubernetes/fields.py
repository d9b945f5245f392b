"""Reading values out of untrusted JSON: the right type, or `Malformed` with the path to it.

A field that is `null` counts as absent, as the API server treats it. Everything that is wrong with
an object is told at once: within `collected` a wrong value is noted and reading goes on with what
it was probably meant to be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Fault(NamedTuple):
    field: str  # the path to it
    sentence: str  # what is wrong, to be read behind "It"


class Malformed(ValueError):
    """An object whose shape is wrong.

    `object` is the object as it was probably meant, for what else may be said of it; None when
    that cannot be guessed.
    """

    def __init__(self, field: str, sentence: str, *more: Fault, object: Any = None) -> None:
        super().__init__(f"{field}: {sentence}")
        self.faults = (Fault(field, sentence), *more)
        self.object = object

    @property
    def field(self) -> str:
        return self.faults[0].field

    @property
    def sentence(self) -> str:
        return self.faults[0].sentence


_faults: ContextVar[dict[Fault, None] | None] = ContextVar("faults", default=None)


@contextmanager
def collected() -> Iterator[dict[Fault, None]]:
    """Collect faults instead of raising the first of them."""
    faults: dict[Fault, None] = {}
    token = _faults.set(faults)
    try:
        yield faults
    except Malformed as problem:
        first, *more = {**faults, **dict.fromkeys(problem.faults)}
        raise Malformed(*first, *more) from None
    finally:
        _faults.reset(token)


def wrong(at: str, sentence: str, instead: T) -> T:
    """Note a fault and go on with another value, or raise it."""
    faults = _faults.get()
    if faults is None:
        raise Malformed(at, sentence)
    faults[Fault(at, sentence)] = None
    return instead


def as_mapping(value: Any, at: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        return wrong(at, f"must be a mapping, not {type_name(value)}", {})
    return value


def as_list(value: Any, at: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        return wrong(at, f"must be a list, not {type_name(value)}", [])
    return value


def as_text(value: Any, at: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        sentence = f"must be a string, not {type_name(value)}; quote the value"
        return wrong(at, sentence, _as_quoted(value))
    return value


def _as_quoted(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else ""


def _as_number(value: object) -> int:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def as_flag(value: Any, at: str, default: bool) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        return wrong(at, f"must be true or false, not {type_name(value)}", default)
    return value


def as_port(value: Any, at: str) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        remedy = "; remove the quotes" if isinstance(value, str) and _as_number(value) else ""
        sentence = f"must be a whole number, not {type_name(value)}{remedy}"
        return wrong(at, sentence, _as_number(value))
    if not 0 <= value <= 65535:
        return wrong(at, f"must lie between 0 and 65535, not {value}", 0)
    return value


def type_name(value: Any) -> str:
    names = {
        dict: "a mapping",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        float: "a fraction",
    }
    return names.get(type(value), "a number" if isinstance(value, int) else "this type")


def as_texts(value: Any, at: str) -> dict[str, str]:
    return {
        as_text(key, at): as_text(item, f"{at}[{key}]")
        for key, item in as_mapping(value, at).items()
    }


def present(value: Any, at: str) -> Mapping[str, Any]:
    if value is None:
        return wrong(at, "must not be null", {})
    return as_mapping(value, at)
