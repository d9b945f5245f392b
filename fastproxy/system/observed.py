"""Asking the observer for what it shows: `/metrics` and the like.

One line with the path goes there, the answer is what comes until the end. Its socket is an abstract
one with a random name, which only this proxy's processes know.
"""

from __future__ import annotations

import asyncio
import socket

METRICS = "/metrics"
PATIENCE = 5.0  # seconds for an answer
_address = ""


def set_address(address: str) -> None:
    """Where the observer of this proxy answers; "" = there is none."""
    global _address
    _address = address


def _connected() -> socket.socket:
    """uvloop takes no abstract names. Connecting never waits: it is done, or refused."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        made.connect(_address)
    except OSError:
        made.close()
        raise
    return made


async def ask(path: str) -> bytes | None:
    """The content of a path; None when the observer does not give it (it may be starting again)."""
    if not _address:
        return None
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_unix_connection(sock=_connected())
            try:
                writer.write(path.encode() + b"\n")
                content = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    return content or None
