"""What a process may do with the descriptors it may have open (RLIMIT_NOFILE).

A worker has connections on both sides, and besides them a few descriptors of its own, room for a
message of the parent (channel.py), and a few connections on which only `/ping` and `/ready` are
answered. So connections are counted, not refused by the kernel in the middle of something else.
"""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass

ROOM = 64  # for a message: the live generation takes up to 62 (publish.py)
PROBES = 16  # connections beyond the limit, for /ping and /ready
OWN = 48  # event loop, shared memory, names being looked up, bodies in files
ENDPOINTS = (
    8192  # as many connections to endpoints as a worker keeps room for, or one for each client
)
FEWEST = 4  # connections on both sides, however few descriptors there are


@dataclass(frozen=True, slots=True)
class Sockets:
    """What the limit of a worker allows."""

    limit: int  # descriptors
    room: int  # of them, for messages
    most: int  # connections on both sides
    clients: int  # connections of clients


def raise_limit() -> tuple[int, int]:
    """Raise the limit of open descriptors as far as it may be; what it was and what it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a lower limit is no reason not to start
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def allowed(wanted: int, listeners: int, limit: int | None = None) -> Sockets:
    """What a worker may have, of the `wanted` connections of clients, with so many listening
    sockets. `limit` is that of this process unless given."""
    if limit is None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    room = min(ROOM, limit // 3)
    most = max(FEWEST, limit - OWN - PROBES - room - listeners)
    endpoints = min(most // 2, ENDPOINTS)
    return Sockets(limit, room, most, min(wanted, most - endpoints))
