"""The records which an engine in this process reports, for tests."""

from typing import Any

from fastproxy.engine.python.exchange import Exchange

taken: list[dict[str, Any]]

def watch(exchange: Exchange) -> None:
    """From now on every exchange of this one's engine is reported: `taken` grows by the members of
    `Record`, the names of route and endpoint, and the number of the entry point; `attempts` are
    tuples of URL, flags, status and nanoseconds, the oldest first."""
