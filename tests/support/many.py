"""Room for thousands of client sockets in this process."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def many_clients(count: int) -> Iterator[list[socket.socket]]:
    """A list for up to `count` sockets, all closed at the end; skips the test where too few
    descriptors may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 1000:
        pytest.skip(f"only {hard} descriptors may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    opened: list[socket.socket] = []
    yield opened
    for client in opened:
        client.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
