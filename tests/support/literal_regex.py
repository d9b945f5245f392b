"""Operations with regular expressions, written out in Python (`engine/operations/path_regex`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from fastproxy.features.path_rules import PathRules, escaped
from fastproxy.features.redirect import Redirect, parsed
from fastproxy.model.paths import RAW, normalise_path
from fastproxy.model.urls import location_bytes, with_path
from fastproxy.templates import Field, Group, Pattern, Replacement, replacement

STATUS = {
    ("GET", False): 302,
    ("GET", True): 301,
    ("other", False): 307,
    ("other", True): 308,
}


@dataclass(frozen=True)
class Request:
    """`path` as it is by now, `original_path` as it was before path operations."""

    method: str
    scheme: str
    host: str
    path: str
    query: str | None
    headers: Mapping[str, str]  # lower-case names
    original_path: str

    def value(self, field: Field) -> bytes:
        if field.name == "Header":
            return self.headers.get(field.header.lower(), "").encode("latin-1")
        values = {"URL.Path": self.path, "Host": self.host, "Method": self.method}
        return values[field.name].encode("latin-1")


def replace_all(
    pattern: Pattern, data: bytes, by: Replacement, request: Request | None = None
) -> bytes | None:
    """Go's `ReplaceAllString` by google-re2's Python classes; None when nothing matches."""
    regexp: Any = pattern._regexp
    match = regexp.search(data)
    if match is None:
        return None
    pieces: list[bytes] = []
    end = position = 0
    while match is not None:
        start, stop = match.span()
        pieces.append(data[end:start])
        # An empty match right behind another match is none (Go's regexp.replaceAll).
        if stop > end or start == 0:
            pieces += [expanded(part, match, pattern, request) for part in by.parts]
        end = stop
        position = max(stop, position + width(data, position))
        if position > len(data):
            break
        match = regexp.search(data, position)
    return b"".join([*pieces, data[end:]])


def expanded(
    part: bytes | Group | Field, match: Any, pattern: Pattern, request: Request | None
) -> bytes:
    if isinstance(part, bytes):
        return part
    if isinstance(part, Field):
        assert request is not None
        return request.value(part)
    index = pattern._indices.get(part.name)
    return b"" if index is None else match.group(index) or b""


def width(data: bytes, position: int) -> int:
    """Bytes of the UTF-8 character at `position`; 1 for anything else."""
    for size in (1, 2, 3, 4):
        try:
            data[position : position + size].decode()
        except UnicodeDecodeError:
            continue
        return size
    return 1


def decoded(path: str) -> bytes:
    kept = re.sub(r"%(?=2F|5C|25)", "%25", path)
    return unquote_to_bytes(kept.encode("latin-1"))


def rewritten(config: PathRules, path: str) -> str | int | None:
    """The new path, 400 for one that is not normal, None when nothing is rewritten."""
    assert config.regex is not None
    text = escaped(replacement(config.regex[1]))
    new = replace_all(Pattern(config.regex[0]), decoded(path), text)
    if new is None:  # empty segments do not count
        new = replace_all(Pattern(config.regex[0]), decoded(merged(path)), text)
    if new is None or text.empty:
        return None
    found = quote_from_bytes(new, safe=RAW + b"%")
    found = found if found.startswith("/") else "/" + found
    routed = merged(found)
    # the last segment keeps its dots in a rule, not in a request
    if normalise_path(routed + "/") != merged(routed + "/") or re.search("%00|%$|%.$", routed):
        return found if routed.endswith("/") and normalise_path(routed) == routed else 400
    return found


def merged(path: str) -> str:
    return re.sub("//+", "/", path)


def redirected(config: Redirect, request: Request) -> tuple[int, str] | int | None:
    """Status and Location, 502 for what is no URL, None when the request goes on."""
    secure = request.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
    query = "" if request.query is None else f"?{request.query}"
    url = f"{'https' if secure else 'http'}://{request.host}{request.path}{query}"
    old = url.encode("latin-1")
    new = replace_all(Pattern(config.regex), old, parsed(config.replacement), request)
    if new is None:
        return None
    changed = request.path != request.original_path
    location = with_path(new, request.original_path.encode("latin-1") if changed else None)
    if location is None:
        return 502
    if new == old:
        return None
    method = "GET" if request.method == "GET" else "other"
    return STATUS[method, config.permanent], location_bytes(location).decode("ascii")
