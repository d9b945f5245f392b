"""Writing the compiled matcher section."""

from collections.abc import Iterable
from typing import NamedTuple

from fastproxy.model.matchers import Matcher

class MatchEntry(NamedTuple):
    """One route on one entry point. Any tuple of these five will do."""

    route: int  # what a match answers, below 0xFFFFFFFF
    entry_point: int
    matchers: tuple[Matcher, ...]
    precedence: int | tuple[int, int]  # priority, or priority and tie break
    name: str

def build_matcher(
    entries: Iterable[tuple[int, int, tuple[Matcher, ...], int | tuple[int, int], str]],
) -> bytes:
    """Compile routes into one relocatable section, to be placed at a multiple of 8 bytes.

    The total order (`kubernetes.md` 1): priority, descending; exact host before wildcard (or
    HostRegexp) before none; whole path before prefix; longer path (the longest alternative); tie
    break, descending; name. A priority alone has the tie break 0. Fastest when names come in
    ascending order.
    An entry without any alternative that can match is left out. Raises ValueError for texts that
    are not Unicode and for sections above 4 GiB.
    """
