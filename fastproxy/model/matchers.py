"""The rule terms of Traefik 1.7 and Kubernetes path types, as values.

A route holds a tuple of matchers that must all be true; within one matcher the alternatives are
OR-ed unless its docstring says otherwise. Literal paths are in normalised form (see
`engine.head`): percent-encoded unreserved characters decoded, other escapes upper-case.
"""

from __future__ import annotations

from collections.abc import Callable
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


@dataclass(frozen=True, slots=True)
class Strip:
    """Remove the longest of these prefixes that the path starts with."""

    prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StripRegex:
    """Remove what one of these templates matches at the start of the path."""

    templates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AddPrefix:
    prefix: str


@dataclass(frozen=True, slots=True)
class ReplacePathRegex:
    regex: str
    replacement: str


@dataclass(frozen=True, slots=True)
class ReplacePath:
    path: str


# In the order in which they work (`features.md` 1.1, step 11).
MODIFIERS = (StripRegex, Strip, AddPrefix, ReplacePathRegex, ReplacePath)
Modifier = StripRegex | Strip | AddPrefix | ReplacePathRegex | ReplacePath


class RuleError(ValueError):
    """A rule expression that cannot be understood; the text is a sentence for the user."""


Arguments = tuple[str, ...]
Meaning = tuple[Matcher | None, Modifier | None]


def _pairs(name: str, pieces: Arguments) -> tuple[tuple[str, str], ...]:
    if len(pieces) % 2:
        raise RuleError(f"{name} needs pairs, and {', '.join(pieces)!r} leaves one half alone")
    return tuple(zip(pieces[::2], pieces[1::2], strict=True))


def _regexes(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    for _, regex in pairs:
        check_regex(regex)
    return pairs


def check_regex(regex: str) -> None:
    """Raise RuleError unless RE2 accepts a regular expression."""
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(regex, options)
    except re2.error as problem:
        raise RuleError(f"{regex!r} is no regular expression ({problem})") from problem


def _query(arguments: Arguments) -> Query:
    pairs = _pairs("Query", tuple(piece for text in arguments for piece in text.split("=")))
    for _, value in pairs:
        pieces = template_pieces(value)
        if pieces is None:
            raise RuleError(f"the braces of {value!r} are not `{{name:regex}}`")
        for is_regex, regex in pieces:
            if is_regex:
                check_regex(regex)
    return Query(pairs)


def _replace_regex(arguments: Arguments) -> ReplacePathRegex | None:
    words = arguments[-1].split(" ")
    return ReplacePathRegex(*words) if len(words) == 2 else None


# What each function of the grammar means; of single-valued modifiers the last argument counts.
FUNCTIONS: dict[str, Callable[[Arguments, bool], Meaning]] = {
    "Host": lambda a, keep: (Host(tuple(name.lower() for name in a)), None),
    "HostRegexp": lambda a, keep: (HostRegexp(a), None),
    "Path": lambda a, keep: (Path(a, keep), None),
    "PathPrefix": lambda a, keep: (PathPrefix(a), None),
    "PathStrip": lambda a, keep: (Path(a, keep), Strip(a)),
    "PathPrefixStrip": lambda a, keep: (PathPrefix(a), Strip(a)),
    "PathStripRegex": lambda a, keep: (Path(a, keep), StripRegex(a)),
    "PathPrefixStripRegex": lambda a, keep: (PathPrefix(a), StripRegex(a)),
    "Method": lambda a, keep: (Method(tuple(name.upper() for name in a)), None),
    "Headers": lambda a, keep: (Headers(_pairs("Headers", a)), None),
    "HeadersRegexp": lambda a, keep: (HeadersRegexp(_regexes(_pairs("HeadersRegexp", a))), None),
    "Query": lambda a, keep: (_query(a), None),
    "AddPrefix": lambda a, keep: (None, AddPrefix(a[-1])),
    "ReplacePath": lambda a, keep: (None, ReplacePath(a[-1])),
    "ReplacePathRegex": lambda a, keep: (None, _replace_regex(a)),
}


def parse(
    expression: str,
    *,
    keep_trailing_slash: bool = False,
    warn: Callable[[str], None] = lambda sentence: None,
) -> tuple[tuple[Matcher, ...], tuple[Modifier, ...]]:
    """Read a rule expression of Traefik 1.7 (`features.md` 3.4).

    Returns its matchers, all of which must hold, and its modifiers in the order in which they
    work, at most one of each type: the last one wins. Raises RuleError. `warn` hears about a
    ReplacePathRegex that is not two words, which 1.7 ignores.
    """
    matchers: list[Matcher] = []
    modifiers: dict[type[Modifier], Modifier] = {}
    rules = [rule for rule in expression.split(";") if rule]
    if not rules:
        raise RuleError("the rule is empty; write for example `Host:example.com`")
    for rule in rules:
        name, arguments = _call(rule)
        matcher, modifier = FUNCTIONS[name](arguments, keep_trailing_slash)
        if matcher is not None:
            matchers.append(matcher)
        if modifier is not None:
            modifiers[type(modifier)] = modifier
        if matcher is None and modifier is None:
            warn(f"{rule.strip()!r} is not `{name}: regex replacement`; the path stays as it is")
    return tuple(matchers), tuple(modifiers[kind] for kind in MODIFIERS if kind in modifiers)


def _call(rule: str) -> tuple[str, Arguments]:
    """Cut `Name: a, b` into name and arguments, as 1.7 does: empty pieces vanish, also those
    between two colons, and a comma is never part of a value."""
    first, *others = [piece for piece in rule.split(":") if piece] or [""]
    name = first.strip()
    if name not in FUNCTIONS:
        raise RuleError(
            f"{name!r} in {rule.strip()!r} is no rule; write one of {', '.join(FUNCTIONS)}"
        )
    arguments = tuple(piece.strip() for piece in ":".join(others).split(",") if piece)
    if not arguments:
        raise RuleError(f"{rule.strip()!r} has no value; write `{name}: value`")
    return name, arguments


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
