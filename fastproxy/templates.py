"""Regular expressions and replacement texts which come from annotations.

Patterns run on RE2 (the engine of Go's `regexp`), over bytes. A replacement has Go's syntax
(`$name`, `${name}`, `$$`, unknown group = empty) and may hold a few placeholders, which Traefik 1.7
evaluated as a Go template over request text; here both are parsed into values when the
configuration is built, so no request byte is ever interpreted (FIX 25 of `provider.md`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import re2  # type: ignore[import-untyped]

from fastproxy.engine.operations.writer import Piece, Pieces

MAX_PATTERN = 1024  # bytes
MAX_MEMORY = 4 << 20  # bytes RE2 may use for one pattern; more refuses it

NAME = re.compile(r"\$(?:\{(\w+)\}|(\w+)|(\$))")
PLACEHOLDER = re.compile(r"\{\{(.*?)(\}\}|\Z)", re.DOTALL)
LITERAL = re.compile(r'\s*"([^"\\$]*)"\s*')
FIELD = re.compile(r"\s*\.Request\.(Host|Method|URL\.Path)\s*")
HEADER = re.compile(r'\s*\.Request\.Header\.Get\s+"([A-Za-z0-9!#%&\'*+.^_`|~-]+)"\s*')


FIELDS = {
    "Host": Piece.HOST,
    "Method": Piece.METHOD,
    "URL.Path": Piece.PATH,
    "Header": Piece.HEADER,
}


@dataclass(frozen=True, slots=True)
class Group:
    """`$name`: a number or a name."""

    name: str


@dataclass(frozen=True, slots=True)
class Field:
    """`{{ .Request.Host }}` and the like; `header` is set for `.Request.Header.Get "K"`."""

    name: str
    header: str = ""


@dataclass(frozen=True, slots=True)
class Replacement:
    parts: tuple[bytes | Group | Field, ...]

    @property
    def empty(self) -> bool:
        return not self.parts


def groups(text: str) -> list[bytes | Group | Field]:
    """Text with Go's `$` references. A `$` that starts none is raw text."""
    parts: list[bytes | Group | Field] = []
    end = 0
    for match in NAME.finditer(text):
        parts.append(text[end : match.start()].encode())
        parts.append(b"$" if match[3] else Group(match[1] or match[2]))
        end = match.end()
    return [*parts, text[end:].encode()]


def placeholder(text: str) -> bytes | Field:
    """One `{{ ... }}`, without the braces; ValueError when it is not in the safe subset."""
    if match := LITERAL.fullmatch(text):
        return match[1].encode()
    if match := FIELD.fullmatch(text):
        return Field(match[1])
    if match := HEADER.fullmatch(text):
        return Field("Header", match[1])
    raise ValueError(
        "what stands in `{{ }}` is not one of the placeholders .Request.Host, .Request.Method, "
        '.Request.URL.Path, .Request.Header.Get "NAME" or "text"; templates are not evaluated'
    )


def replacement(text: str, *, placeholders: bool = False) -> Replacement:
    """Parse a replacement; ValueError for a placeholder outside the safe subset."""
    if not placeholders:
        return Replacement(joined(groups(text)))
    parts: list[bytes | Group | Field] = []
    end = 0
    for match in PLACEHOLDER.finditer(text):
        if not match[2]:
            raise ValueError("`{{` is never closed; write `}}` behind the placeholder")
        parts += groups(text[end : match.start()])
        parts.append(placeholder(match[1]))
        end = match.end()
    return Replacement(joined(parts + groups(text[end:])))


def joined(parts: Sequence[bytes | Group | Field]) -> tuple[bytes | Group | Field, ...]:
    """Neighbouring literals as one, empty ones left out."""
    out: list[bytes | Group | Field] = []
    for part in parts:
        if isinstance(part, bytes) and out and isinstance(out[-1], bytes):
            out[-1] += part
        elif part != b"":
            out.append(part)
    return tuple(out)


class Pattern:
    """A compiled pattern; ValueError with a sentence when RE2 or our limits refuse it."""

    __slots__ = ("_indices", "_regexp", "text")

    def __init__(self, text: str) -> None:
        if len(text.encode()) > MAX_PATTERN:
            raise ValueError(f"the regular expression is longer than {MAX_PATTERN} bytes")
        if re.search(r"(?<!\\)(?:\\\\)*\\C", text):
            raise ValueError(r"`\C` (one byte) is not allowed in a regular expression; write `.`")
        options = re2.Options()
        options.log_errors = False
        options.max_mem = MAX_MEMORY
        try:
            self._regexp: Any = re2.compile(text, options)
        except (re2.error, UnicodeEncodeError) as problem:
            why = problem.args[0] if problem.args else "unknown error"
            why = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
            why = why.partition(": ")[0]  # behind it stands a piece of the expression
            raise ValueError(f"the regular expression is not in RE2 syntax ({why})") from None
        self.text = text
        count = self._regexp.groups + 1
        # Go reads `$1` as a number only without leading zeros.
        self._indices = {str(index): index for index in range(count)} | dict(
            self._regexp.groupindex
        )

    def pieces(self, by: Replacement) -> Pieces:
        """The replacement with its groups found; those that this pattern has not are left out."""
        found = []
        for part in by.parts:
            if isinstance(part, bytes):
                found.append((Piece.TEXT, 0, part))
            elif isinstance(part, Field):
                found.append((FIELDS[part.name], 0, part.header.encode()))
            elif part.name in self._indices:
                found.append((Piece.GROUP, self._indices[part.name], b""))
        return tuple(found)
