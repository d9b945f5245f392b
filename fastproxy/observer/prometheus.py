"""The metrics of Traefik 1.7 as Prometheus reads them: text format 0.0.4 (`operations.md` 2.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastproxy.counters.requests import Key

    Found = Mapping[Key, Sequence[Any]]

OWNERS = {
    "entrypoint": "the entry point",
    "backend": "the backend",
}


def escaped(text: str) -> str:
    """A value of a label."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def render(
    found: Found,
    overflow: int,
    buckets: Sequence[float],
    facts: Iterable[tuple[str, str, str, float]],
) -> str:
    """`facts` are lone series: name, type, help, value."""
    lines: list[str] = []
    for owner, what in OWNERS.items():
        rows = sorted((key[1:], row) for key, row in found.items() if key[0] == owner)
        closed = [(labels(owner, key), row) for key, row in rows if key[1]]
        lines += _counters(owner, what, closed)
        lines += _histograms(owner, what, closed, buckets)
        lines += _open(owner, what, [(key, row) for key, row in rows if not key[1]])
    lines += _retries(found)
    lone = [
        *facts,
        (
            "fastproxy_metrics_overflow_total",
            "counter",
            "Requests for which there was no room for a series.",
            overflow,
        ),
    ]
    for name, kind, text, value in lone:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {number(value)}"]
    return "\n".join(lines) + "\n"


def labels(owner: str, key: tuple[str, int, str, str]) -> str:
    name, code, method, protocol = key
    return f'code="{code}",method="{method}",protocol="{protocol}",{owner}="{escaped(name)}"'


def _counters(owner: str, what: str, rows: Sequence[tuple[str, Sequence[Any]]]) -> Iterator[str]:
    name = f"traefik_{owner}_requests_total"
    yield f"# HELP {name} How many requests {what} has answered, by code, method and protocol."
    yield f"# TYPE {name} counter"
    for text, row in rows:
        yield f"{name}{{{text}}} {sum(row[5])}"


def _histograms(
    owner: str, what: str, rows: Sequence[tuple[str, Sequence[Any]]], buckets: Sequence[float]
) -> Iterator[str]:
    name = f"traefik_{owner}_request_duration_seconds"
    yield f"# HELP {name} How long requests of {what} took, by code, method and protocol."
    yield f"# TYPE {name} histogram"
    for text, row in rows:
        below = 0
        for bound, count in zip(buckets, row[5], strict=False):
            below += count
            yield f'{name}_bucket{{{text},le="{number(bound)}"}} {below}'
        total = sum(row[5])
        yield f'{name}_bucket{{{text},le="+Inf"}} {total}'
        yield f"{name}_sum{{{text}}} {row[0] / 1e9:.9g}"
        yield f"{name}_count{{{text}}} {total}"


def _open(
    owner: str, what: str, rows: Sequence[tuple[tuple[str, int, str, str], Sequence[Any]]]
) -> Iterator[str]:
    name = f"traefik_{owner}_open_connections"
    yield f"# HELP {name} Requests in progress at {what}, by method and protocol."
    yield f"# TYPE {name} gauge"
    for (owner_name, _, method, protocol), row in rows:
        text = f'method="{method}",protocol="{protocol}",{owner}="{escaped(owner_name)}"'
        yield f"{name}{{{text}}} {max(0, row[2])}"


def _retries(found: Found) -> Iterator[str]:
    name = "traefik_backend_retries_total"
    sums: dict[str, int] = {}
    for (owner, backend, *_), row in found.items():
        if owner == "backend" and row[1]:
            sums[backend] = sums.get(backend, 0) + row[1]
    yield f"# HELP {name} How many requests were sent again, by backend."
    yield f"# TYPE {name} counter"
    for backend, count in sorted(sums.items()):
        yield f'{name}{{backend="{escaped(backend)}"}} {count}'
