"""Where snapshots come from: a directory of manifests, or the API server.

A source calls `wake` from its own threads when there may be something new; the loop then takes the
newest state, however many events led to it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from controller.api import Api
from controller.feeds import SECRETS_PATIENCE, Feeds
from controller.fields import Malformed
from controller.manifests import Loaded, Manifests
from controller.objects import KubernetesObject, parse_kind
from controller.snapshot import Snapshot
from controller.watch import Change
from fastproxy import findings
from fastproxy.findings import Finding
from fastproxy.model import ObjectReference
from fastproxy.settings import Kubernetes

log = logging.getLogger(__name__)


class Taken(NamedTuple):
    snapshot: Snapshot
    findings: tuple[Finding, ...]


class Source(Protocol):
    def start(self, wake: Callable[[], None]) -> None: ...
    def stop(self) -> None: ...
    def synced(self) -> bool:
        """Whether a first complete picture exists; once true, it stays true."""
        ...

    def take(self) -> Taken:
        """Give the newest state."""
        ...

    def staleness(self) -> float:
        """Seconds by which the picture may be out of date."""
        ...


class ManifestsSource:
    """A directory, never stale."""

    def __init__(self, path: Path) -> None:
        self._manifests = Manifests(path)
        self._stop = threading.Event()
        self._newest: Loaded | None = None

    def start(self, wake: Callable[[], None]) -> None:
        def follow() -> None:
            for loaded in self._manifests.changes(self._stop):
                self._newest = loaded
                wake()

        threading.Thread(target=follow, name="manifests", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def synced(self) -> bool:
        return self._newest is not None

    def take(self) -> Taken:
        return Taken(*self._newest) if self._newest is not None else Taken(Snapshot(), ())

    def staleness(self) -> float:
        return 0.0


class Cache:
    """Collects changes from the feeds' threads; gives the loop one snapshot.

    Objects are parsed where they arrive, so raw JSON never waits in memory. Only the newest state
    of each object is kept until it is taken.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[ObjectReference, KubernetesObject | None] = {}
        self._malformed: dict[ObjectReference, Finding] = {}
        self._snapshot = Snapshot()

    def deliver(self, changes: Sequence[Change]) -> None:
        parsed = [(ObjectReference(*change.key), change.object) for change in changes]
        objects: dict[ObjectReference, KubernetesObject | None] = {}
        broken: dict[ObjectReference, Finding | None] = {}
        for reference, data in parsed:
            objects[reference] = broken[reference] = None
            if data is None:
                continue
            try:
                objects[reference] = parse_kind(reference.kind, data)
            except Malformed as problem:
                broken[reference] = findings.MALFORMED(
                    reference, problem.field, at=problem.field, sentence=problem.sentence
                )
        with self._lock:
            self._pending.update(objects)
            for reference, finding in broken.items():
                if finding is not None:
                    self._malformed[reference] = finding
                else:
                    self._malformed.pop(reference, None)

    def take(self) -> Taken:
        with self._lock:
            pending, self._pending = self._pending, {}
            malformed = tuple(self._malformed.values())
        present = [item for item in pending.values() if item is not None]
        absent = [reference for reference, item in pending.items() if item is None]
        self._snapshot = self._snapshot.with_changes(present, absent)
        return Taken(self._snapshot, malformed)


class ApiSource:
    """The API server, through its feeds."""

    def __init__(self, api: Api, options: Kubernetes, patience: float = SECRETS_PATIENCE) -> None:
        self._cache = Cache()
        self._wake: Callable[[], None] = lambda: None
        self.feeds = Feeds(api, self._deliver, options.namespaces, options.label_selector, patience)

    def start(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.feeds.start()

    def stop(self) -> None:
        self.feeds.stop()

    def synced(self) -> bool:
        return self.feeds.synced()

    def take(self) -> Taken:
        return self._cache.take()

    def staleness(self) -> float:
        return self.feeds.staleness()

    def _deliver(self, changes: Sequence[Change]) -> None:
        self._cache.deliver(changes)
        self._wake()
