"""Addresses of names (ExternalName services), resolved off the data path.

`watch` calls back with the addresses of a name, now and whenever they change.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

REFRESH = 30.0  # seconds


class Watch:
    """One name being kept up to date; `cancel` ends it."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cancel(self) -> None:
        self._task.cancel()


class Resolver:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, name: str, changed: Callable[[Sequence[str]], None]) -> Watch:
        """Keep `changed` told of the addresses of `name` until the watch is cancelled."""
        task = self._loop.create_task(self._follow(name, changed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Watch(task)

    async def _follow(self, name: str, changed: Callable[[Sequence[str]], None]) -> None:
        last: list[str] = []
        while True:
            try:
                rows = await self._loop.getaddrinfo(name, 0, type=socket.SOCK_STREAM)
                found = list(dict.fromkeys(str(row[4][0]) for row in rows))
            except OSError as error:
                log.error("cannot resolve %s: %s", name, error)
                found = last
            if found != last:
                last = found
                changed(found)
            await asyncio.sleep(REFRESH if last else 1.0)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
