"""The matcher's slow twin: sort the routes, try each one. Obvious rather than fast.

It shares no code with the compiled matcher: its own order, its own normalisation, Python's `re`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus

from fastproxy.model import matchers as rules
from fastproxy.model.matchers import Matcher

Entry = tuple[int, int, tuple[Matcher, ...], tuple[int, int], str]
Pairs = tuple[tuple[str, str], ...]
RAW = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/[]"
UNRESERVED = RAW[:66]
HEX = "0123456789abcdefABCDEF"


@dataclass(frozen=True)
class Request:
    entry_point: int = 0
    host: str = ""
    path: str = "/"
    query: str | None = None
    method: str = "GET"
    headers: Pairs = ()
    alias: str = ""  # another name of the host, for exact hosts


def escaped(path: str) -> str:
    result = ""
    position = 0
    while position < len(path):
        character = path[position]
        digits = path[position + 1 : position + 3]
        if character == "%" and len(digits) == 2 and all(digit in HEX for digit in digits):
            decoded = chr(int(digits, 16))
            result += decoded if decoded in UNRESERVED else "%" + digits.upper()
            position += 3
            continue
        if character in RAW:
            result += character
        else:
            result += "".join(f"%{byte:02X}" for byte in character.encode())
        position += 1
    return result


def normalised(path: str) -> str:
    """Resolve from the left, one segment at a time; the last segment is kept as it is."""
    path = escaped(path)
    if not path.startswith("/"):
        return path
    *segments, last = path[1:].split("/")
    result = ""
    for segment in segments:
        if segment == "..":
            result = result.rpartition("/")[0]
        elif segment not in ("", "."):
            result += "/" + segment
    return result + "/" + last


def template(text: str, default: str, path: bool = False) -> str | None:
    """A pattern, None when the template is broken."""
    result = ""
    while text:
        literal, brace, rest = text.partition("{")
        if "}" in literal:
            return None
        result += re.escape(escaped(literal) if path else literal)
        if not brace:
            return result
        level, end = 1, 0
        while end < len(rest):
            level += {"{": 1, "}": -1}.get(rest[end], 0)
            if level == 0:
                break
            end += 1
        if level:
            return None
        name, colon, regex = rest[:end].partition(":")
        if not name or (colon and not regex):
            return None
        result += f"(?:{regex or default})"
        text = rest[end + 1 :]
    return result


def found(pattern: str | None, text: str, flags: int = 0) -> bool:
    try:
        return pattern is not None and re.search(pattern, text, flags) is not None
    except re.error:
        return False


def path_forms(matcher: Matcher, path: str) -> set[bool]:
    """The forms in which a path matcher holds: False = plainly, True = as a redirect."""
    forms: set[bool] = set()
    match matcher:
        case rules.PathExact(paths):
            forms = {False for p in paths if p[:1] == "/" and normalised(p) == path}
        case rules.PathElements(paths):
            for p in paths:
                base = normalised(p).removesuffix("/")
                if p[:1] == "/" and (path == base or path.startswith(base + "/")):
                    forms.add(False)
        case rules.PathPrefix(templates):
            for t in templates:
                if t[:1] != "/":
                    continue
                if "{" in t:
                    pattern = template(t, "[^/]+", path=True)
                    if pattern is not None and found("^" + pattern, path):
                        forms.add(False)
                elif path.startswith(normalised(t)):
                    forms.add(False)
        case rules.Path(templates, keep):
            for t in templates:
                forms |= whole_path_forms(t, path, keep)
    return forms


def whole_path_forms(text: str, path: str, keep: bool) -> set[bool]:
    if text[:1] != "/":
        return set()
    if "{" in text or "}" in text:
        body = text if keep else text.removesuffix("/")
        pattern = template(body, "[^/]+", path=True)
        if pattern is None or not found(f"^{pattern}{'' if keep else '/?'}\\Z", path):
            return set()
        return {False} if keep else {path.endswith("/") != text.endswith("/")}
    literal = normalised(text)
    if path == literal:
        return {False}
    other = literal.removesuffix("/") if literal.endswith("/") else literal + "/"
    return {True} if path == other and not keep else set()


def query_value(query: str | None, name: str) -> str | None:
    for pair in (query or "").split("&"):
        key, _, value = pair.partition("=")
        bad = re.compile("%(?![0-9A-Fa-f]{2})")
        if not pair or bad.search(pair):
            continue
        if unquote_plus(key, "latin-1") == name:
            return unquote_plus(value, "latin-1")
    return None


def query_holds(request: Request, name: str, value: str) -> bool:
    actual = query_value(request.query, name)
    if actual is None or not value:
        return actual is not None
    if "{" in value or "}" in value:
        pattern = template(value, ".*")
        return pattern is not None and found(f"^{pattern}\\Z", actual)
    return actual == value


def holds(matcher: Matcher, request: Request) -> bool:
    """Everything but paths."""
    headers = [(name.lower(), value) for name, value in request.headers]
    match matcher:
        case rules.Host(names):
            known = {name.lower() for name in names} - {""}
            return bool(request.host) and not known.isdisjoint((request.host, request.alias))
        case rules.HostWildcard(suffixes):
            label, _, rest = request.host.partition(".")
            return bool(label and rest) and rest in [suffix.lower() for suffix in suffixes]
        case rules.HostRegexp(templates):
            patterns = [template(t, "[^.]+") for t in templates]
            return any(
                p is not None and found(f"^{p}\\Z", request.host, re.IGNORECASE) for p in patterns
            )
        case rules.Method(names):
            return request.method in [name.upper() for name in names]
        case rules.Headers(pairs):
            return all(
                any(have == name.lower() and value in ("", actual) for have, actual in headers)
                for name, value in pairs
            )
        case rules.HeadersRegexp(pairs):
            return all(
                any(have == name.lower() and found(value, actual) for have, actual in headers)
                for name, value in pairs
            )
        case rules.Query(pairs):
            return all(query_holds(request, name, value) for name, value in pairs)
    raise AssertionError(matcher)


PATHS = (rules.Path, rules.PathPrefix, rules.PathExact, rules.PathElements)


def may_redirect(matcher: Matcher) -> bool:
    return isinstance(matcher, rules.Path) and not matcher.keep_trailing_slash


def form_of(matchers: Sequence[Matcher], request: Request) -> bool | None:
    """None: no match; True: every `Path` of the route asks for the other slash form."""
    if not all(isinstance(m, PATHS) or holds(m, request) for m in matchers):
        return None
    paths = [m for m in matchers if isinstance(m, PATHS)]
    for redirect in (False, True):
        wanted = [redirect if may_redirect(m) else False for m in paths]
        if redirect and not any(wanted):
            continue
        if all(w in path_forms(m, request.path) for m, w in zip(paths, wanted, strict=True)):
            return redirect
    return None


def live_paths(matcher: Matcher) -> list[str]:
    """The alternatives that can match at all, as they count for the order."""
    if isinstance(matcher, rules.PathExact | rules.PathElements):
        return [normalised(p) for p in matcher.paths if p[:1] == "/"]
    assert isinstance(matcher, rules.Path | rules.PathPrefix)
    result = []
    for t in matcher.templates:
        if t[:1] != "/":
            continue
        if "{" in t or ("}" in t and isinstance(matcher, rules.Path)):
            if template(t, "[^/]+", path=True) is not None:
                result.append(t)
        else:
            result.append(normalised(t))
    return result


def order_key(entry: Entry) -> tuple[object, ...]:
    _, _, matchers, (priority, tie_break), name = entry
    kinds = {type(m) for m in matchers}
    host = 0 if rules.Host in kinds else 2
    if host and kinds & {rules.HostWildcard, rules.HostRegexp}:
        host = 1
    paths = [(m, live_paths(m)) for m in matchers if isinstance(m, PATHS)]
    whole = any(isinstance(m, rules.Path | rules.PathExact) and live for m, live in paths)
    length = max((len(p.encode()) for _, live in paths for p in live), default=0)
    return (-priority, host, not whole, -length, -tie_break, name.encode())


def scan(entries: Sequence[Entry], request: Request) -> tuple[int, int] | None:
    """What `match(build_matcher(entries), ...)` must answer."""
    for entry in sorted(entries, key=order_key):
        if entry[1] != request.entry_point:
            continue
        redirect = form_of(entry[2], request)
        if redirect is not None:
            return entry[0], (2 if request.path.endswith("/") else 1) if redirect else 0
    return None
