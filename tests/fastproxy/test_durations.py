from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.model.durations import HOUR, MINUTE, SECOND, format_duration, parse, parse_seconds

READ = [
    ("0", 0),
    ("0s", 0),
    ("10", 10 * SECOND),
    ("-10", -10 * SECOND),
    ("10s", 10 * SECOND),
    ("+5s", 5 * SECOND),
    ("-5s", -5 * SECOND),
    ("1m30s", 90 * SECOND),
    ("250ms", SECOND // 4),
    ("1.5h", HOUR + 30 * MINUTE),
    ("1.5s", 3 * SECOND // 2),
    (".5s", SECOND // 2),
    ("1.s", SECOND),
    ("20us", 20_000),
    ("20\u00b5s", 20_000),
    ("20\u03bcs", 20_000),
    ("52763797000ns", 52_763_797_000),
    ("1h1m1s", HOUR + MINUTE + SECOND),
    ("0.100000000000000000000h", 6 * MINUTE),
]

REFUSED = [
    "",
    "-",
    "+",
    "s",
    ".s",
    "10.5",
    "1 s",
    "3x",
    "10S",
    "1m30",
    "1e3s",
    "9999999999h",
    "\u0661s",
    "\u0661",
]

WRITTEN = [
    (0, "0s"),
    (1, "1ns"),
    (1_100, "1.1\u00b5s"),
    (20_000, "20\u00b5s"),
    (1_500_000, "1.5ms"),
    (350_000_000, "350ms"),
    (1_500_000_000, "1.5s"),
    (10 * SECOND, "10s"),
    (90 * SECOND, "1m30s"),
    (MINUTE, "1m0s"),
    (HOUR, "1h0m0s"),
    (100 * HOUR + 1, "100h0m0.000000001s"),
    (-SECOND, "-1s"),
]


@pytest.mark.parametrize(("text", "expected"), READ)
def test_parse(text: str, expected: int) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", REFUSED)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse(text)


@pytest.mark.parametrize(("nanoseconds", "expected"), WRITTEN)
def test_format(nanoseconds: int, expected: str) -> None:
    assert format_duration(nanoseconds) == expected


@given(st.integers(min_value=-(1 << 63) + 1, max_value=(1 << 63) - 1))
def test_what_is_written_reads_back(nanoseconds: int) -> None:
    assert parse(format_duration(nanoseconds)) == nanoseconds


def test_seconds() -> None:
    assert parse_seconds(3) == 3.0
    assert parse_seconds("250ms") == 0.25
