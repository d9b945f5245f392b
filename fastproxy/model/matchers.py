"""The rule terms of Traefik 1.7 and Kubernetes path types, as values.

A route holds a tuple of matchers that must all be true; within one matcher the alternatives are
OR-ed unless its docstring says otherwise. Literal paths are in normalised form (see
`engine.head`): percent-encoded unreserved characters decoded, other escapes upper-case.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Host:
    """Lower-cased equality with the request host (port removed)."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostWildcard:
    """`*.` + suffix, standing for exactly one label; `suffix` is stored without `*.`."""

    suffixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostRegexp:
    """`{name:regex}` templates, case-insensitive, anchored at both ends."""

    templates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Path:
    """Traefik `Path`: the template matches the whole path; one trailing slash may differ, which
    answers 301 to the configured form unless `keep_trailing_slash`."""

    templates: tuple[str, ...]
    keep_trailing_slash: bool = False


@dataclass(frozen=True, slots=True)
class PathPrefix:
    """Traefik `PathPrefix`: a plain string prefix, or a template anchored at the start."""

    templates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PathExact:
    """Kubernetes `Exact`: byte equality."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PathElements:
    """Kubernetes `Prefix`: element-wise on `/`."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Method:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Headers:
    """Every pair must hold: the header is present with one value equal to the given one."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class HeadersRegexp:
    """Every pair must hold: one value of the header contains a match (RE2, unanchored)."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Query:
    """Every pair must hold: first value of the parameter matches the template at both ends."""

    pairs: tuple[tuple[str, str], ...]


Matcher = (
    Host
    | HostWildcard
    | HostRegexp
    | Path
    | PathPrefix
    | PathExact
    | PathElements
    | Method
    | Headers
    | HeadersRegexp
    | Query
)


def template_pieces(template: str) -> tuple[tuple[bool, str], ...] | None:
    """Cut a `{name:regex}` template into pieces: (False, literal text) and (True, regex), where an
    empty regex means the default of the place. None for a broken template: unbalanced braces, an
    empty name or an empty regex. Braces nest (`{id:[0-9]{2}}`)."""
    pieces: list[tuple[bool, str]] = []
    level = start = 0
    for position, character in enumerate(template):
        if character == "{":
            level += 1
            if level == 1:
                pieces.append((False, template[start:position]))
                start = position + 1
        elif character == "}":
            level -= 1
            if level < 0:
                return None
            if level == 0:
                name, colon, regex = template[start:position].partition(":")
                if not name or (colon and not regex):
                    return None
                pieces.append((True, regex))
                start = position + 1
    if level:
        return None
    pieces.append((False, template[start:]))
    return tuple(piece for piece in pieces if piece[0] or piece[1])


def text(matcher: Matcher) -> str:
    """Return the rule text of a matcher; its length counts as priority (`kubernetes.md` 1).

    Path types of Kubernetes are written as the 1.7 rule they stand in for.
    """
    match matcher:
        case HostWildcard(values):
            return "Host:" + ",".join(f"*.{suffix}" for suffix in values)
        case PathExact(values):
            return "Path:" + ",".join(values)
        case PathElements(values):
            return "PathPrefix:" + ",".join(values)
        case Headers(pairs) | HeadersRegexp(pairs):
            values = tuple(value for pair in pairs for value in pair)
        case Query(pairs):
            values = tuple(f"{name}={value}" for name, value in pairs)
        case Host(values) | Method(values):
            pass
        case HostRegexp(values) | Path(values) | PathPrefix(values):
            pass
    return f"{type(matcher).__name__}:{','.join(values)}"
