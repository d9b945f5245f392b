"""Content of Secrets that nothing refers to is not kept.

A cluster holds many Secrets which are none of our business. The translation says which ones it
looked for; of the others we keep the name only. When it looks for one whose content is not there,
the content is read by name, before anything is published or complained about.

What comes later through the watch decides: a fetched version holds until the watch delivers one
that is not older.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

from controller.kubernetes.api import Api, ApiError
from controller.kubernetes.objects import Secret
from controller.kubernetes.resources import SECRETS
from controller.snapshot.snapshot import Name

log = logging.getLogger(__name__)

AT_ONCE = 8
PATIENCE = 3.0  # seconds a translation waits for content; what is late is asked for again
RETRY = 1.0  # seconds until it is asked for again, then twice as many ...
LONGEST_PAUSE = 30.0  # ... up to these

Fetch = Callable[[Name], "dict[str, Any] | None"]


def withheld(secret: Secret) -> Secret:
    """Return the Secret without its content."""
    return replace(secret, data={}, former=None, withheld=True)


def fetch_from(api: Api) -> Fetch:
    """Return a function that reads a Secret, None when there is none; it raises ApiError."""

    def fetch(name: Name) -> dict[str, Any] | None:
        try:
            return api.read(SECRETS, *name)
        except ApiError as error:
            if error.missing:
                return None
            raise

    return fetch


class Reader:
    """Reads several Secrets at once, for a limited time; calls back when it is worth a retry."""

    def __init__(self, fetch: Fetch, again: Callable[[], None]) -> None:
        self._fetch = fetch
        self._again = again
        self._pool: ThreadPoolExecutor | None = None
        self._running: dict[Name, Future[dict[str, Any] | None]] = {}
        self._timer: threading.Timer | None = None
        self._complaint = ""
        self._pause = RETRY

    def read(self, names: Iterable[Name]) -> dict[Name, dict[str, Any] | None]:
        """Return what could be read in time (None: there is no such Secret)."""
        wanted = set(names)
        if not wanted:
            return {}
        if self._pool is None:
            self._pool = ThreadPoolExecutor(AT_ONCE, "secrets")
        asked = {}
        for name in wanted:
            # One that was too slow last time may have come since.
            running = self._running.pop(name) if name in self._running else None
            asked[name] = running or self._pool.submit(self._fetch, name)
        wait(asked.values(), PATIENCE)
        found = {}
        for name, future in asked.items():
            if not future.done():
                self._running[name] = future
            elif (error := future.exception()) is None:
                found[name] = future.result()
            else:
                self._complain(f"cannot read Secret {'/'.join(name)}: {error}")
        if len(found) == len(wanted):
            self._complaint, self._pause = "", RETRY
        else:
            self._timer = threading.Timer(self._pause, self._again)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._timer.daemon = True
            self._timer.start()
        return found

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _complain(self, problem: str) -> None:
        if problem != self._complaint:
            log.warning("%s; what needs it is not served until it can be read", problem)
            self._complaint = problem
