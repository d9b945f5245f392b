"""Take snapshots, translate them, publish what differs.

One thread does one thing at a time, whatever the sources' threads do meanwhile:

    source wakes us --> [throttleDuration] --> translate --> findings to the log, Events, status
                                                   |
                                     a translation that waits to be published (only the latest)
                                                   |
                                       [providersThrottleDuration] --> publish

Both throttles do the first at once and pause after it. Nothing is translated before the first
complete picture, so no worker ever sees a half-synced table; afterwards the last published one
stays for ever, whatever happens to the source. Endpoints alone are published where nothing else
differs, everything otherwise.
"""

from __future__ import annotations

import gc
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import is_
from pathlib import Path
from typing import Protocol

import orjson

from controller.kubernetes.api import ConfigurationError, connect
from controller.kubernetes.backoff import Backoff
from controller.kubernetes.objects import KubernetesObject
from controller.report.build import built_findings, settings_findings
from controller.report.describe import describe
from controller.report.writer import Writer, writer_for
from controller.snapshot.snapshot import Name, Snapshot
from controller.sources.provenance import NOWHERE, Place, located
from controller.sources.reflectors import SECRETS_PATIENCE
from controller.sources.source import ApiSource, ManifestsSource, Source
from controller.throttle import Throttle
from controller.translate.contributors import contributors
from controller.translate.translator import Translation, Translator
from fastproxy.model.configuration import Desired, Endpoint, ObjectReference
from fastproxy.model.findings import Finding, Severity, as_json, order, resolved
from fastproxy.settings.options import Kubernetes, Settings
from fastproxy.system import documents

log = logging.getLogger("fastproxy.controller")
LEVELS = {Severity.ERROR: logging.ERROR, Severity.WARNING: logging.WARNING}
SYNC_POLL = 0.05  # seconds between looks at a source that is not complete yet
AWAY = 5.0  # seconds without contact that are worth telling
ROUNDS = 5  # of translation, while Secrets that were not known to be needed are read
STOP_POLL = 0.5  # seconds after which a stop is noticed at the latest


Complete = Callable[[frozenset[Name]], Snapshot | None]


class Publisher(Protocol):
    """What `fastproxy.publish.publisher` offers."""

    @property
    def generation(self) -> int: ...  # what is live already; 0 is nothing

    def publish(self, desired: Desired) -> bool: ...
    def move(self, moved: Mapping[str, tuple[Endpoint, ...]]) -> bool: ...
    def show(self, path: str, content: bytes) -> None: ...
    def tidy(self) -> None: ...  # when there is nothing else to do


class Controller:
    """Translates and publishes; used by every source of snapshots."""

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        self._settings = settings
        self._translator = Translator(contributors(settings))
        self._publisher = publisher
        self._published: Desired | None = None
        self._moved: dict[str, tuple[Endpoint, ...]] | None = {}  # None: more than endpoints
        self._of_settings = settings_findings(settings)
        self._logged = set(self._of_settings)  # `run` has told them, at every level
        self._found: tuple[object, ...] = ()  # what `_log_new` has looked at
        self._places = NOWHERE
        self._shown = False
        self._began = time.perf_counter()
        self._options = settings.kubernetes or Kubernetes()
        self.translation = Translation()
        self.source_findings: tuple[Finding, ...] = ()
        self.build_findings: tuple[Finding, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        found = self.source_findings + self.translation.findings + self.build_findings
        return found + self._of_settings

    @property
    def waiting(self) -> bool:
        """Whether what was translated last is not published yet."""
        return self.translation.desired is not self._published

    def apply(self, snapshot: Snapshot, source_findings: Sequence[Finding] = ()) -> bool:
        """Make the data plane follow the snapshot; False when a worker refused it."""
        self.translate(snapshot, source_findings)
        return self.publish()

    def translate(
        self,
        snapshot: Snapshot,
        source_findings: Sequence[Finding] = (),
        complete: Complete = lambda secrets: None,
        places: Mapping[ObjectReference, Place] = NOWHERE,
        meant: Sequence[KubernetesObject] = (),
    ) -> Snapshot:
        """Make the snapshot what is to be published, and log what is newly wrong with it.

        `complete` gives another snapshot when the content of the Secrets that turned out to be
        needed was not in this one (or others were). The last one is returned.
        """
        if not self.waiting:
            self._began = time.perf_counter()
        self._update(snapshot)
        # What is missing may hide what else is needed: more than a few rounds mean that it changes.
        for _ in range(ROUNDS):
            fuller = complete(self.translation.secrets)
            if fuller is None:
                break
            snapshot = fuller
            self._update(snapshot)
        self.source_findings = (*source_findings, *self._translator.examine(meant))
        self._places = places
        self._log_new()
        return snapshot

    def _update(self, snapshot: Snapshot) -> None:
        try:
            translation = self._translator.update(snapshot)
        except Exception:
            # A bug of ours; half-updated memory is worthless, the published state is not.
            self._translator = Translator(contributors(self._settings))
            self._moved = None
            raise
        if translation is not self.translation:
            self._note_moves(translation.moved)
        self.translation = translation

    def publish(self) -> bool:
        """Publish the last translation; False when a worker refused it (the old configuration
        stays in force and the next attempt publishes everything again)."""
        desired = self.translation.desired
        if not self.waiting:
            return True
        if self._moved is None and desired == self._published:
            self._published = desired
        elif self._moved is not None and self._published is not None:
            if not self._publisher.move(self._moved):
                self._moved = None
                return False
        else:
            if self._options.debug_log_generated_template:
                log.debug("generated configuration: %s", describe(desired))
            if not self._publisher.publish(desired):
                self._moved = None
                return False
            self.build_findings = built_findings(
                desired,
                getattr(self._publisher, "failures", ()),
                getattr(self._publisher, "remarks", ()),
            )
            self._log_new()
        self._tell_live(desired, len(self._moved or ()) if self._published is not None else 0)
        self._published = desired
        self._moved = {}
        return True

    def _tell_live(self, desired: Desired, moved: int) -> None:
        """One line for each change that is published, the first complete picture included."""
        seconds = time.perf_counter() - self._began
        facts = {
            "routes": len(desired.routes),
            "backends": len(desired.backends),
            "generation": self._publisher.generation,
            "duration_ms": round(seconds * 1000, 1),
        }
        log.info(
            "%s, %s live in %.0f ms%s",
            _counted(len(desired.routes), "route"),
            _counted(len(desired.backends), "backend"),
            seconds * 1000,
            f" (endpoints of {_counted(moved, 'backend')} moved)" if moved else "",
            extra={"fields": facts},
        )

    def tidy(self) -> None:
        self._publisher.tidy()

    def show_source(self, away_since: datetime | None) -> None:
        """Show on the API whether the source of snapshots is there."""
        since = away_since.isoformat(timespec="seconds") if away_since else None
        content = orjson.dumps({"connected": since is None, "awaySince": since})
        self._publisher.show(documents.SOURCE, content)

    def _note_moves(self, moved: Mapping[str, tuple[Endpoint, ...]] | None) -> None:
        """Gather what several translations moved until one of them is published."""
        if moved is None:
            self._moved = None
        elif self._moved is not None:
            self._moved.update(moved)

    def _log_new(self) -> None:
        """Each finding once, until it changes or goes away."""
        found = (
            self.source_findings, self.translation.findings, self.build_findings, self._places,
        )  # fmt: skip
        if self._shown and all(map(is_, found, self._found)):
            return  # a change of endpoints does not pay for what is wrong elsewhere
        self._found = found
        current = set(located(self.findings, self._places))
        for finding in sorted(current - self._logged, key=order):
            facts = {"fields": _facts(finding)}
            log.log(LEVELS[finding.severity], "%s", finding.as_line(), extra=facts)
        for finding in resolved(self._logged, current):
            facts = {"fields": {**_facts(finding), "resolved": True}}
            log.info("resolved: %s", finding.as_line(), extra=facts)
        if current != self._logged or not self._shown:
            self._shown = True
            self._publisher.show(documents.FINDINGS, as_json(current).encode())
        self._logged = current


def _facts(finding: Finding) -> dict[str, object]:
    """A finding for the log in JSON, without what is empty."""
    facts: dict[str, object] = {
        "code": finding.code,
        "object": str(finding.object) if finding.object.kind else "",
        "field": finding.field,
        "effect": finding.effect,
        "file": finding.file,
        "line": finding.line,
    }
    return {name: fact for name, fact in facts.items() if fact}


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


class Loop:
    """Drives a controller from a source at the pace of the options."""

    def __init__(
        self,
        settings: Settings,
        controller: Controller,
        source: Source,
        writer: Writer | None = None,
        clock: Callable[[], float] = time.monotonic,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`beat` is called in each turn, several times a second: it shows that we do not hang."""
        self._beat = beat
        options = settings.kubernetes or Kubernetes()
        self._controller = controller
        self._source = source
        self._writer = writer
        self._translating = Throttle(options.throttle_duration, clock)
        self._publishing = Throttle(settings.providers_throttle_duration, clock)
        self._refused = Backoff(clock)
        self._failed = Backoff(clock)
        self._clock = clock
        self._waiting_since: float | None = None
        self._told_waiting = False
        self._away: bool | None = None
        self._settled = False
        self._woken = threading.Event()
        self._news = True  # the first state is news even if nobody wakes us for it

    def wake(self) -> None:
        """Say that the source may hold something new; callable from any thread."""
        self._woken.set()

    def run(self, stop: threading.Event) -> None:
        self._source.start(self.wake)
        if self._writer is not None:
            self._writer.start()
        try:
            while not stop.is_set():
                self._beat()
                pause = self.turn()
                self._woken.wait(STOP_POLL if pause is None else min(pause, STOP_POLL))
        finally:
            self._source.stop()
            if self._writer is not None:
                self._writer.stop()

    def turn(self) -> float | None:
        """Do what is due; give the seconds until something is, None if only news can change it."""
        if self._woken.is_set():
            self._woken.clear()
            self._news = True
        if not self._source.synced():
            self._note_waiting()
            return SYNC_POLL
        self._note_staleness()
        if self._news and self._translating.left() <= 0:
            self._news = False
            self._translate()
        if self._controller.waiting and self._publishing.left() <= 0:
            self._publish()
        waits = []
        if self._news:
            waits.append(self._translating.left())
        if self._controller.waiting:
            waits.append(self._publishing.left())
        if waits:
            return max(0.0, min(waits))
        self._controller.tidy()
        return None

    def _note_waiting(self) -> None:
        """Say once that there is no first picture, and why: until then every request is a 404."""
        now = self._clock()
        if self._waiting_since is None:
            self._waiting_since = now
        if not self._told_waiting and now - self._waiting_since >= AWAY:
            self._told_waiting = True
            log.warning(
                "nothing is served yet: %s", self._source.problem() or "no list is complete"
            )

    def _note_staleness(self) -> None:
        """Log and show when the source goes away for long, and when it is back."""
        seconds = self._source.staleness()
        away = seconds >= AWAY
        if away == self._away:
            return
        if away:
            problem = self._source.problem()
            reason = f" ({problem})" if problem else ""
            log.warning(
                "no contact for %.0f s%s; the last configuration stays in force", seconds, reason
            )
        elif self._away:
            log.warning("contact again; the configuration follows")
        self._away = away
        since = datetime.now(UTC) - timedelta(seconds=seconds) if away else None
        self._controller.show_source(since)

    def _translate(self) -> None:
        taken = self._source.take()
        try:
            snapshot = self._controller.translate(
                taken.snapshot,
                taken.findings,
                self._source.complete,
                taken.places,
                taken.meant,
            )
        except Exception:
            log.exception("translation failed; the last configuration stays in force")
            self._news = True
            self._translating.done(self._failed.next())
            return
        self._translating.done()
        if self._writer is not None:
            self._writer.observe(
                snapshot, self._controller.translation.served, self._controller.findings
            )

    def _publish(self) -> None:
        try:
            accepted = self._controller.publish()
        except ConnectionError:
            raise  # the parent is gone, and with it the reason to live
        except Exception:
            log.exception("publishing failed; the last configuration stays in force")
            accepted = False
        self._publishing.done(0.0 if accepted else self._refused.next())
        if accepted and not self._settled:
            self._settled = True
            # What a whole cluster is made of stays: later collections need not walk over it.
            gc.collect()
            gc.freeze()


def stop_on_sigterm() -> threading.Event:
    """Let SIGTERM end the loop instead of the process, so that the Lease is given up."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop


def run(
    settings: Settings,
    manifests: str | Path | None,
    publisher: Publisher,
    stop: threading.Event | None = None,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Serve a directory of manifests, or (None) the API server of `[kubernetes]`, until `stop`.

    Without a usable configuration of the API server nothing is ever published, and every request is
    answered 404, as by Traefik 1.7.
    """
    stop = stop or stop_on_sigterm()
    # A snapshot is many small values which live long; walking all of them often finds nothing.
    gc.set_threshold(50_000, 20, 50)
    options = settings.kubernetes or Kubernetes()
    if options.filename:
        log.error(
            "kubernetes.filename is not supported (Go templates); the built-in mapping is used"
        )
    if manifests is None and settings.kubernetes is None:
        log.warning("neither a [kubernetes] table nor manifests: nothing to serve")
        stop.wait()
        return
    try:
        controller = Controller(settings, publisher)  # reads the label selector
        if manifests is not None:
            Loop(settings, controller, ManifestsSource(Path(manifests)), beat=beat).run(stop)
            return
        api = connect(options.endpoint, options.token, options.cert_auth_file_path)
    except (ConfigurationError, ValueError) as problem:
        log.error("the Kubernetes provider cannot start: %s", problem)
        stop.wait()
        return
    writer = writer_for(api, options)
    # While workers serve what an earlier controller published, nothing is gained by publishing
    # before the Secrets are known, and routes that need them would be lost.
    patience = math.inf if publisher.generation else SECRETS_PATIENCE
    Loop(settings, controller, ApiSource(api, options, patience), writer, beat=beat).run(stop)
