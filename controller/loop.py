"""Take snapshots, translate them, publish what differs.

One thing happens at a time: a snapshot arrives, it is translated, new findings are logged, and what
changed is published: endpoints alone where nothing else differs, everything otherwise.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from controller.manifests import Manifests
from controller.snapshot import Snapshot
from controller.translate import Translation, Translator
from fastproxy.findings import Finding, Severity
from fastproxy.model import Desired, Endpoint
from fastproxy.settings import Settings

log = logging.getLogger("fastproxy.controller")
LEVELS = {Severity.ERROR: logging.ERROR, Severity.WARNING: logging.WARNING}


class Publisher(Protocol):
    """What `fastproxy.publish` offers."""

    def publish(self, desired: Desired) -> bool: ...
    def set_endpoints(self, backend_name: str, endpoints: tuple[Endpoint, ...]) -> object: ...


class Controller:
    """Translates and publishes; used by every source of snapshots."""

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        self._translator = Translator(settings)
        self._publisher = publisher
        self._published: Desired | None = None
        self._logged: set[Finding] = set()
        self.translation = Translation()
        self.source_findings: tuple[Finding, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.source_findings + self.translation.findings

    def apply(self, snapshot: Snapshot, source_findings: Sequence[Finding] = ()) -> bool:
        """Make the data plane follow the snapshot; False when a worker refused it (the old
        configuration stays in force and the next snapshot publishes everything again)."""
        translation = self._translator.update(snapshot)
        self.source_findings = tuple(source_findings)
        fresh = translation is not self.translation
        self.translation = translation
        self._log_new(self.findings)
        desired = translation.desired
        if desired is self._published:
            return True
        if fresh and translation.moved is not None and self._published is not None:
            for name, endpoints in translation.moved.items():
                self._publisher.set_endpoints(name, endpoints)
        elif not self._publisher.publish(desired):
            self._published = None
            return False
        self._published = desired
        return True

    def _log_new(self, found: Iterable[Finding]) -> None:
        """Each finding once, until it changes or goes away."""
        current = set(found)
        for finding in sorted(
            current - self._logged, key=lambda f: (f.object, f.field, f.code, f.sentence)
        ):
            log.log(
                LEVELS[finding.severity],
                "%s %s %s: %s",
                finding.code,
                finding.object,
                finding.field,
                finding.sentence,
            )
        self._logged = current


def run(
    settings: Settings,
    manifests: str | Path,
    publisher: Publisher,
    stop: threading.Event | None = None,
) -> None:
    """Serve the objects of a directory, following its changes, until `stop` is set."""
    controller = Controller(settings, publisher)
    for loaded in Manifests(Path(manifests)).changes(stop or threading.Event()):
        controller.apply(loaded.snapshot, loaded.findings)
