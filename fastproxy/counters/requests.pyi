"""What the workers have counted of requests, each in an arena of its own."""

from collections.abc import Iterable
from typing import Any

METHODS: tuple[str, ...]
PROTOCOLS: tuple[str, ...]

Key = tuple[str, str, int, str, str]
"""Kind of the owner ("entrypoint", "backend"), its name, code (0: only `open` counts), method,
protocol."""

def create_requests() -> int:
    """A new arena; returns its descriptor (a memfd). Raises OSError."""

def forget_open(descriptor: int) -> None:
    """Before a worker takes over an arena: what its predecessor had open is not any more."""

def sum_up(descriptors: Iterable[int]) -> tuple[dict[Key, list[Any]], int]:
    """Of each series: nanoseconds, retries, open, bytes received and sent, counts by bucket
    (the last one: longer than all); and for how many requests there was no room. Raises OSError."""
