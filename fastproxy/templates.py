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
from typing import Any, Protocol

import re2  # type: ignore[import-untyped]

MAX_PATTERN = 1024  # bytes
MAX_MEMORY = 4 << 20  # bytes RE2 may use for one pattern; more refuses it

NAME = re.compile(r"\$(?:\{(\w+)\}|(\w+)|(\$))")
PLACEHOLDER = re.compile(r"\{\{(.*?)(\}\}|\Z)", re.DOTALL)
LITERAL = re.compile(r'\s*"([^"\\$]*)"\s*')
FIELD = re.compile(r"\s*\.Request\.(Host|Method|URL\.Path)\s*")
HEADER = re.compile(r'\s*\.Request\.Header\.Get\s+"([A-Za-z0-9!#%&\'*+.^_`|~-]+)"\s*')


class RequestValues(Protocol):
    """What a placeholder may name; `fastproxy.engine.exchange.Exchange` fits."""

    @property
    def host(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    def header(self, name: str) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Group:
    """`$name`: a number or a name."""

    name: str


@dataclass(frozen=True, slots=True)
class Field:
    """`{{ .Request.Host }}` and the like; `header` is set for `.Request.Header.Get "K"`."""

    name: str
    header: str = ""

    def value(self, request: RequestValues) -> bytes:
        if self.name == "Header":
            found = request.header(self.header) or ""
        elif self.name == "URL.Path":
            found = request.path
        else:
            found = request.host if self.name == "Host" else request.method
        return found.encode("latin-1")


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
        f"`{{{{{text[:60]}}}}}` is not one of the placeholders .Request.Host, .Request.Method, "
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
            raise ValueError(
                f"{text[:60]!r} is not a regular expression in RE2 syntax ({why})"
            ) from None
        self.text = text
        count = self._regexp.groups + 1
        # Go reads `$1` as a number only without leading zeros.
        self._indices = {str(index): index for index in range(count)} | dict(
            self._regexp.groupindex
        )

    def found_in(self, data: bytes) -> bool:
        return self._regexp.search(data) is not None

    def replace_all(
        self, data: bytes, by: Replacement, request: RequestValues | None = None
    ) -> bytes | None:
        """Go's `ReplaceAllString`; None when nothing matches."""
        match = self._regexp.search(data)
        if match is None:
            return None
        fixed = [
            part.value(request) if isinstance(part, Field) and request is not None else part
            for part in by.parts
        ]
        pieces: list[bytes] = []
        end = position = 0
        while match is not None:
            start, stop = match.span()
            pieces.append(data[end:start])
            # An empty match right behind another match is none (Go's regexp.replaceAll).
            if stop > end or start == 0:
                pieces += [self._expand(part, match) for part in fixed]
            end = stop
            position = max(stop, position + width(data, position))
            if position > len(data):
                break
            match = self._regexp.search(data, position)
        return b"".join([*pieces, data[end:]])

    def _expand(self, part: bytes | Group | Field, match: Any) -> bytes:
        if isinstance(part, bytes):
            return part
        index = self._indices.get(part.name) if isinstance(part, Group) else None
        return b"" if index is None else match.group(index) or b""


def width(data: bytes, position: int) -> int:
    """Bytes of the UTF-8 character at `position`; 1 for anything else."""
    if position >= len(data) or data[position] < 0xC0:
        return 1
    size = 2 if data[position] < 0xE0 else 3 if data[position] < 0xF0 else 4
    try:
        data[position : position + size].decode()
    except UnicodeDecodeError:
        return 1
    return size
