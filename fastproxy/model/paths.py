"""Paths of rules in the form in which requests are compared (`http-safety.md` 3)."""

from __future__ import annotations

import re
from collections.abc import Callable

from fastproxy.model.matchers import template_pieces

# Bytes that may stand raw in a path: RFC 3986 pchar, and brackets and bars, which clients send.
UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
RAW = UNRESERVED + b"!$&'()*+,;=:@/[]|"

_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}|[^" + re.escape(RAW) + rb"]")


def _escape(found: re.Match[bytes]) -> bytes:
    text = found[0]
    if len(text) == 1:
        return b"%%%02X" % text[0]
    decoded = bytes([int(text[1:], 16)])
    return decoded if decoded in UNRESERVED else text.upper()


def escape_path(path: str) -> str:
    """Percent-encode what may not stand raw (a `%` without two digits too), decode unreserved
    characters, upper-case the other escapes. Works on parts of a path too."""
    try:
        data = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, from an escape in JSON or YAML
        data = path.encode("utf-8", "replace")
    return _ESCAPE.sub(_escape, data).decode("ascii")


# What may stand raw in a query, as Go leaves it; everything else is percent-encoded.
QUERY = re.compile(rb"%[0-9A-Fa-f]{2}|[^A-Za-z0-9\-._~!$&'()*+,;=:@/?\[\]{}|^`<>\"\\%]")


def request_target(text: str) -> str:
    """Path and query of a configured URL as they go into a request line: percent-encoded where
    they hold blanks, other letters or what has no place there; the fragment goes."""
    path, mark, query = text.partition("#")[0].partition("?")
    data = query.encode("utf-8", "surrogateescape")
    escaped = QUERY.sub(lambda m: m[0] if len(m[0]) == 3 else b"%%%02X" % m[0][0], data)
    return escape_path(path) + mark + escaped.decode("ascii")


def normalise_path(path: str) -> str:
    """Bring a literal path of a rule into the form in which requests are compared.

    As `escape_path`, then `//`, `/./` and `/../` are resolved. The last segment stays as it is:
    `/.` is a prefix of `/.well-known`, and a last slash has meaning.
    """
    first, *segments = escape_path(path).split("/")
    if first or not segments:
        return "/".join([first, *segments])
    last = segments.pop()
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join([*kept, last])


def template_pattern(
    template: str, default: str, *, literal: Callable[[str], str] | None = None
) -> str | None:
    """Turn a `{name:regex}` template into an RE2 pattern without anchors; None when broken.

    `default` stands for `{name}` alone; `literal` rewrites the text between the braces before it
    is quoted.
    """
    pieces = template_pieces(template)
    if pieces is None:
        return None
    return "".join(
        f"(?:{text or default})" if is_regex else re.escape(literal(text) if literal else text)
        for is_regex, text in pieces
    )


def path_pattern(template: str, *, whole: bool = False, slash_rule: bool = False) -> str | None:
    """Turn a path template into an RE2 pattern anchored at the start, with `whole` at both ends.

    With `slash_rule` one last slash may be there or not, whatever the template says. None for a
    broken template and for one that does not start with `/`.
    """
    if not template.startswith("/"):
        return None
    body = template.removesuffix("/") if slash_rule else template
    pattern = template_pattern(body, "[^/]+", literal=escape_path)
    if pattern is None:
        return None
    return "^" + pattern + ("/?$" if slash_rule else "$" if whole else "")
