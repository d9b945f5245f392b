"""Durations as Go writes and reads them (`time.ParseDuration`, `Duration.String`).

A duration is a whole number of nanoseconds here; settings keep seconds as `float`.
"""

from __future__ import annotations

import re

NANOSECOND = 1
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

_UNITS = {
    "ns": NANOSECOND,
    "us": MICROSECOND,
    "\u00b5s": MICROSECOND,  # micro sign
    "\u03bcs": MICROSECOND,  # Greek mu, which Go accepts as well
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
}
_LARGEST = (1 << 63) - 1  # Go counts in an int64
_TERM = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")


def parse(text: str) -> int:
    """Return the nanoseconds of a Go duration such as `1m30s`; bare digits mean seconds.

    Raises ValueError with a sentence. Bare digits are Traefik 1.7's addition; as in Go, `1.5h`,
    `.5s` and a sign are allowed, and a fraction without unit is not.
    """
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest.isascii() and rest.isdigit():
        return _bounded(sign * int(rest) * SECOND, text)
    total = 0
    position = 0
    while position < len(rest):
        term = _TERM.match(rest, position)
        if term is None or not (term[1] or term[2]):
            break
        whole, fraction, unit = int(term[1] or 0), term[2] or "", _UNITS[term[3]]
        total += whole * unit
        if fraction:
            total += int(fraction) * unit // 10 ** len(fraction)
        position = term.end()
    if not rest or position != len(rest):
        raise ValueError(f'{text!r} is not a duration; write for example "10s", "1m30s" or "250ms"')
    return _bounded(sign * total, text)


def parse_seconds(value: str | int) -> float:
    """Return the seconds of a duration setting (`provider.md` 1): text, or a number of seconds."""
    if isinstance(value, int):
        return float(value)
    return parse(value) / SECOND


def format_duration(nanoseconds: int) -> str:
    """Return the text Go prints, e.g. `1m30s`, `350ms`, `1h0m0s`."""
    if nanoseconds < 0:
        return "-" + format_duration(-nanoseconds)
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < SECOND:
        for unit, name in ((MILLISECOND, "ms"), (MICROSECOND, "\u00b5s"), (NANOSECOND, "ns")):
            if nanoseconds >= unit:
                return _decimal(nanoseconds, unit) + name
    minutes, rest = divmod(nanoseconds, MINUTE)
    text = _decimal(rest, SECOND) + "s"
    if not minutes:
        return text
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0")


def _bounded(nanoseconds: int, text: str) -> int:
    if not -_LARGEST <= nanoseconds <= _LARGEST:
        raise ValueError(f"{text!r} is too long: the longest duration is about 292 years")
    return nanoseconds
