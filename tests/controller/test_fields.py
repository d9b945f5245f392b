"""Values out of JSON: null is absent, another type is refused with the path to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from controller.kubernetes.fields import (
    Malformed,
    as_flag,
    as_list,
    as_mapping,
    as_port,
    as_text,
    as_texts,
    present,
)

# reader, value, what it reads
READ: list[tuple[Callable[[Any, str], Any], Any, Any]] = [
    (as_mapping, None, {}),
    (as_mapping, {"a": 1}, {"a": 1}),
    (as_list, None, []),
    (as_list, [1], [1]),
    (as_text, None, ""),
    (as_text, "x", "x"),
    (as_port, None, 0),
    (as_port, 65535, 65535),
    (as_texts, None, {}),
    (as_texts, {"a": "b", "c": None}, {"a": "b", "c": ""}),
    (present, {}, {}),
    (lambda value, at: as_flag(value, at, True), None, True),
    (lambda value, at: as_flag(value, at, True), False, False),
]


@pytest.mark.parametrize(("reader", "value", "expected"), READ)
def test_read(reader: Callable[[Any, str], Any], value: Any, expected: Any) -> None:
    assert reader(value, "spec.x") == expected


# reader, value, part of the sentence
REFUSED: list[tuple[Callable[[Any, str], Any], Any, str]] = [
    (as_mapping, [], "must be a mapping, not a list"),
    (as_list, {}, "must be a list, not a mapping"),
    (as_list, "x", "not a string"),
    (as_text, 5, "must be a string, not a number; quote the value"),
    (as_text, True, "not a boolean"),
    (as_port, "80", "must be a whole number, not a string"),
    (as_port, True, "not a boolean"),
    (as_port, 1.5, "not a fraction"),
    (as_port, 65536, "between 0 and 65535"),
    (as_port, -1, "between 0 and 65535"),
    (as_texts, {"a": 1}, "spec.x[a]"),
    (as_texts, {1: "a"}, "must be a string"),
    (present, None, "must not be null"),
    (lambda value, at: as_flag(value, at, True), "true", "must be true or false"),
]


@pytest.mark.parametrize(("reader", "value", "part"), REFUSED)
def test_refused(reader: Callable[[Any, str], Any], value: Any, part: str) -> None:
    with pytest.raises(Malformed) as caught:
        reader(value, "spec.x")
    assert caught.value.field.startswith("spec.x")
    assert part in str(caught.value)
