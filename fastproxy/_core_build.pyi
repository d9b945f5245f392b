"""Writing the compiled matcher section."""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from fastproxy.rules import Matcher

class MatchEntry(NamedTuple):
    """One route on one entry point. Any tuple of these five will do."""

    route: int  # what a match answers, below 0xFFFFFFFF
    entry_point: int
    matchers: tuple[Matcher, ...]
    priority: int
    name: str

def build_matcher(
    entries: Iterable[tuple[int, int, tuple[Matcher, ...], int, str]],
    *,
    order: Literal["length", "specificity"] = "length",
) -> bytes:
    """Compile routes into one relocatable section, to be placed at a multiple of 8 bytes.

    The total order (`kubernetes.md` 1): priority, descending; exact host before wildcard (or
    HostRegexp) before none; whole path before prefix; longer path (the longest alternative); name.
    `specificity` moves the priority behind the path. Fastest when names come in ascending order.
    An entry without any alternative that can match is left out. Raises ValueError for texts that
    are not Unicode and for sections above 4 GiB.
    """

def normalise_path(path: str) -> str:
    """Bring a literal path of a rule into the form in which requests are compared.

    As `http-safety.md` 3: percent-encode what may not stand raw (a `%` without two digits too),
    decode unreserved characters, upper-case the other escapes, resolve `//`, `/./` and `/../`. The
    last segment stays as it is: `/.` is a prefix of `/.well-known`, and a last slash has meaning.
    """

def escape_path(path: str) -> str:
    """The first half of `normalise_path`: escapes only, for parts of a path."""

def template_pattern(
    template: str, default: str, *, literal: Callable[[str], str] | None = None
) -> str | None:
    """Turn a `{name:regex}` template into an RE2 pattern without anchors; None when broken.

    `default` stands for `{name}` alone; `literal` rewrites the text between the braces before it
    is quoted.
    """

def path_pattern(template: str, *, whole: bool = False, slash_rule: bool = False) -> str | None:
    """Turn a path template into an RE2 pattern anchored at the start, with `whole` at both ends.

    With `slash_rule` one last slash may be there or not, whatever the template says. None for a
    broken template and for one that does not start with `/`.
    """

def has_pattern(alternatives: Iterable[tuple[object, ...]]) -> bool: ...
