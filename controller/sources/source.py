"""Where snapshots come from: a directory of manifests, or the API server.

A source calls `wake` from its own threads when there may be something new; the loop then takes the
newest state, however many events led to it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from controller.kubernetes.api import Api
from controller.kubernetes.fields import Malformed
from controller.kubernetes.objects import KubernetesObject, Secret, parse_kind
from controller.snapshot.snapshot import Name, Snapshot
from controller.sources.manifests import Loaded, Manifests
from controller.sources.provenance import NOWHERE, Place
from controller.sources.reflector import Change, older
from controller.sources.reflectors import SECRETS_PATIENCE, Reflectors
from controller.sources.secrets import Reader, fetch_from, withheld
from fastproxy.model import findings
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding
from fastproxy.settings.options import Kubernetes

log = logging.getLogger(__name__)


KEPT = "The object stays in force as it was before, if it was."


class Taken(NamedTuple):
    snapshot: Snapshot
    findings: tuple[Finding, ...]
    places: Mapping[ObjectReference, Place] = NOWHERE  # where objects stand in files
    meant: tuple[KubernetesObject, ...] = ()  # malformed objects, as they were probably meant


class Source(Protocol):
    def start(self, wake: Callable[[], None]) -> None: ...
    def stop(self) -> None: ...
    def synced(self) -> bool:
        """Whether a first complete picture exists; once true, it stays true."""
        ...

    def take(self) -> Taken:
        """Give the newest state."""
        ...

    def complete(self, secrets: frozenset[Name]) -> Snapshot | None:
        """Keep the content of these Secrets and of no others; the snapshot if that changes it."""
        ...

    def staleness(self) -> float:
        """Seconds by which the picture may be out of date."""
        ...

    def problem(self) -> str:
        """Why it is out of date, or not there; empty while nothing is wrong."""
        ...


class ManifestsSource:
    """A directory. It is stale while it cannot be read, or a look at it does not end."""

    def __init__(self, path: Path) -> None:
        self._manifests = Manifests(path)
        self._stop = threading.Event()
        self._newest: Loaded | None = None

    def start(self, wake: Callable[[], None]) -> None:
        def follow() -> None:
            for loaded in self._manifests.changes(self._stop):
                if self._manifests.readable:
                    self._newest = loaded
                    wake()
                else:  # nothing was there yet that could be served
                    for finding in loaded.findings:
                        log.error("%s", finding.as_line())

        threading.Thread(target=follow, name="manifests", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def synced(self) -> bool:
        return self._newest is not None

    def take(self) -> Taken:
        return Taken(*self._newest[:4]) if self._newest is not None else Taken(Snapshot(), ())

    def complete(self, secrets: frozenset[Name]) -> Snapshot | None:
        return None  # the files are there to be read by anybody who reads our memory

    def staleness(self) -> float:
        return self._manifests.staleness()

    def problem(self) -> str:
        return ""


class Cache:
    """Collects changes from the reflectors' threads; gives the loop one snapshot.

    Objects are parsed where they arrive, so raw JSON never waits in memory. Only the newest state
    of each object is kept until it is taken. Of Secrets that nothing refers to, only names are kept
    once `complete` has said which those are.
    """

    def __init__(self, secrets: Reader | None = None) -> None:
        self._secrets = secrets
        self._wanted: frozenset[Name] | None = None  # Secrets; None: not known yet
        self._unread: set[Name] = set()  # wanted, and their newest content is not there
        self._fetched: dict[Name, str] = {}  # versions the watch has not come to yet
        self._lock = threading.Lock()
        self._pending: dict[ObjectReference, KubernetesObject | None] = {}
        self._malformed: dict[ObjectReference, Malformed] = {}
        self._snapshot = Snapshot()

    def deliver(self, changes: Sequence[Change]) -> None:
        parsed = [(ObjectReference(*change.key), change.object) for change in changes]
        objects: dict[ObjectReference, KubernetesObject | None] = {}
        broken: dict[ObjectReference, Malformed | None] = {}
        for reference, data in parsed:
            broken[reference] = None
            try:
                objects[reference] = None if data is None else parse_kind(reference.kind, data)
            except Malformed as problem:
                # No API server stores such an object; what it was before stays.
                broken[reference] = problem
        versions = {change.key[1:]: version_of(change.object) for change in changes}
        with self._lock:
            for reference, item in objects.items():
                if reference.kind == "Secret":
                    name = reference[1:]
                    if item is not None and older(versions[name], self._fetched.get(name, "")):
                        continue
                    self._fetched.pop(name, None)
                self._pending[reference] = self._bare(item)
            for reference, fault in broken.items():
                if fault is not None:
                    self._malformed[reference] = fault
                else:
                    self._malformed.pop(reference, None)

    def take(self) -> Taken:
        with self._lock:
            pending, self._pending = self._pending, {}
            malformed = dict(self._malformed)
        present = []
        for reference, item in pending.items():
            if isinstance(item, Secret) and item.withheld and reference[1:] in (self._wanted or ()):
                # It came before we knew that it is wanted. What we have is older.
                self._unread.add(reference[1:])
                if reference[1:] in self._snapshot.secrets:
                    continue
            if item is not None:
                bare = self._bare(item)
                assert bare is not None
                present.append(bare)
        absent = [reference for reference, item in pending.items() if item is None]
        self._snapshot = self._snapshot.with_changes(present, absent)
        problems = tuple(
            findings.MALFORMED(reference, fault.field, KEPT, sentence=fault.sentence)
            for reference, problem in malformed.items()
            for fault in problem.faults
        )
        meant = tuple(problem.object for problem in malformed.values() if problem.object)
        return Taken(self._snapshot, problems, meant=meant)

    def _bare(self, item: KubernetesObject | None) -> KubernetesObject | None:
        """Take the content of a Secret away if it is known that nobody wants it."""
        wanted = self._wanted
        if wanted is None or not isinstance(item, Secret) or item.withheld:
            return item
        return item if (item.namespace, item.name) in wanted else withheld(item)

    def complete(self, secrets: frozenset[Name]) -> Snapshot | None:
        """See `Source`. Only for the thread that takes; what cannot be read stays missing."""
        with self._lock:
            before, self._wanted = self._wanted, secrets
        if self._secrets is None or (before is secrets and not self._unread):
            return None
        known = self._snapshot.secrets
        outdated = known.keys() - secrets if before is None else before - secrets
        changes = [
            withheld(known[name]) for name in outdated if name in known and not known[name].withheld
        ]
        self._unread &= secrets
        for name in secrets if before is None else secrets - before:
            if name in known and known[name].withheld:
                self._unread.add(name)
        for name, document in self._secrets.read(self._unread).items():
            self._unread.discard(name)
            if document is None:
                continue  # the watch will say so too
            try:
                item = parse_kind("Secret", document)
            except Malformed:
                continue  # the finding is there since the watch delivered it
            assert isinstance(item, Secret)
            with self._lock:
                self._fetched[name] = version_of(document)
            changes.append(item)
        snapshot = self._snapshot.with_changes(changes)
        if snapshot is self._snapshot:
            return None
        self._snapshot = snapshot
        return snapshot

    def stop(self) -> None:
        if self._secrets is not None:
            self._secrets.stop()


def version_of(document: Any) -> str:
    """Return the resource version of an object as the API server gave it; "" for no object."""
    metadata = document.get("metadata") if isinstance(document, dict) else None
    return str(metadata.get("resourceVersion", "")) if isinstance(metadata, dict) else ""


class ApiSource:
    """The API server, through its reflectors."""

    def __init__(self, api: Api, options: Kubernetes, patience: float = SECRETS_PATIENCE) -> None:
        self._wake: Callable[[], None] = lambda: None
        self._cache = Cache(Reader(fetch_from(api), lambda: self._wake()))
        self.reflectors = Reflectors(
            api, self._deliver, options.namespaces, options.label_selector, patience
        )

    def start(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.reflectors.start()

    def stop(self) -> None:
        self.reflectors.stop()
        self._cache.stop()

    def synced(self) -> bool:
        return self.reflectors.synced()

    def take(self) -> Taken:
        return self._cache.take()

    def complete(self, secrets: frozenset[Name]) -> Snapshot | None:
        return self._cache.complete(secrets)

    def staleness(self) -> float:
        return self.reflectors.staleness()

    def problem(self) -> str:
        return self.reflectors.problem()

    def _deliver(self, changes: Sequence[Change]) -> None:
        self._cache.deliver(changes)
        self._wake()
