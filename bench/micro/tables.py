"""Route tables for the micro benchmarks: ten routes per host, as a cluster has them."""

from __future__ import annotations

from fastproxy.model.matchers import Host, Matcher, PathPrefix

Entry = tuple[int, int, tuple[Matcher, ...], int, str]


def entries(count: int) -> list[Entry]:
    """Host and path routes in the order of their names; priorities as 1.7 computes them."""
    rows: list[Entry] = []
    for number in range(count):
        host, path = f"h{number // 10}.example.com", f"/service-{number % 10}/api"
        priority = len(f"Host:{host}PathPrefix:{path}")
        matchers = (Host((host,)), PathPrefix((path,)))
        rows.append((number, 0, matchers, priority, f"{number:07}"))
    return rows


def requests(count: int, limit: int = 10_000) -> list[tuple[str, str]]:
    """At most `limit` requests spread evenly, in an order that defeats the caches."""
    step = 7919  # a prime: visits every route once before any twice
    numbers = [(turn * step) % count for turn in range(min(count, limit))]
    return [(f"h{n // 10}.example.com", f"/service-{n % 10}/api/v1/items") for n in numbers]
