"""Reading values out of untrusted JSON: the right type, or `Malformed` with the path to it.

A field that is `null` counts as absent, as the API server treats it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Malformed(ValueError):
    """An object whose shape is wrong: `field` is the path to it, the text a sentence."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(f"{field}: {sentence}")
        self.field = field
        self.sentence = sentence


def as_mapping(value: Any, at: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Malformed(at, f"must be a mapping, not {type_name(value)}")
    return value


def as_list(value: Any, at: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Malformed(at, f"must be a list, not {type_name(value)}")
    return value


def as_text(value: Any, at: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Malformed(at, f"must be a string, not {type_name(value)}; quote the value")
    return value


def as_flag(value: Any, at: str, default: bool) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Malformed(at, f"must be true or false, not {type_name(value)}")
    return value


def as_port(value: Any, at: str) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise Malformed(at, f"must be a whole number, not {type_name(value)}")
    if not 0 <= value <= 65535:
        raise Malformed(at, f"must lie between 0 and 65535, not {value}")
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
        raise Malformed(at, "must not be null")
    return as_mapping(value, at)
