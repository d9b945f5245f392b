"""The matcher as Python sees it, and the balancers; the engine uses the C side (`_core.pxd`).

A *section* is any object with a readable buffer that holds what `build_matcher` returned. The
functions here check it on every call and raise ValueError when it is damaged.
"""

from collections.abc import Iterable, Sequence

from typing_extensions import Buffer

from fastproxy.balancing.round_robin import DynamicRoundRobin as DynamicRoundRobin
from fastproxy.balancing.round_robin import WeightedRoundRobin as WeightedRoundRobin
from fastproxy.balancing.round_robin import drr_step as drr_step
from fastproxy.model.paths import normalise_path as normalise_path
from fastproxy.tables.matcher.build import MatchEntry as MatchEntry
from fastproxy.tables.matcher.build import build_matcher as build_matcher

__all__ = [
    "DynamicRoundRobin",
    "MatchEntry",
    "WeightedRoundRobin",
    "build_matcher",
    "check",
    "drr_step",
    "match",
    "match_many",
    "normalise_path",
    "section_regexes",
]

def check(section: Buffer) -> bool:
    """Whether a section is whole: magic, version, and every offset inside."""

def section_regexes(section: Buffer) -> list[str]:
    """Return the RE2 patterns of a section; their position is their number in the C interface.

    Anchors and flags are part of the text. A pattern RE2 refuses is to be taken as never matching
    (Traefik 1.7: a broken template never matches).
    """

def match(
    section: Buffer,
    entry_point: int,
    host: str,
    path: str,
    query: str | None = None,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    alias: str = "",
) -> tuple[int, int] | None:
    """Return (route, flags) of a request, None without a route.

    `path` is normalised already, `host` has no port; `alias` is another name of it, known to
    exact hosts only (`hostResolver.cnameFlattening`). Flags: 0, or 1 / 2 for "answer 301 to the
    path with / without a last slash" (`features.md` 3.4). For tests and command-line tools.
    """

def match_many(section: Buffer, requests: Sequence[tuple[str, str]], rounds: int = 1) -> int:
    """Match (host, path) pairs `rounds` times over on entry point 0, without any Python in
    between; return how many found a route. For benchmarks."""
