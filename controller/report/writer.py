"""What goes back to the API server: status and Events, from one replica at a time.

Its own thread, so that a slow API server never delays the data plane. It works from the newest
observation only, and writes nothing unless it holds the Lease.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from controller.kubernetes.api import SERVICE_ACCOUNT, Api, ApiError
from controller.kubernetes.lease import RETRY_PERIOD, Lease
from controller.kubernetes.objects import Address, Ingress
from controller.kubernetes.resources import INGRESSES, Resource
from controller.report.events import EventWriter
from controller.report.status import STATUS, Unpublishable, outdated, wanted, write
from controller.snapshot.snapshot import Name, Snapshot
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding
from fastproxy.settings.options import IngressEndpoint, Kubernetes

log = logging.getLogger(__name__)

REPEAT = 60.0  # seconds after which a status that still differs is written again


@dataclass(frozen=True)
class Observation:
    snapshot: Snapshot
    served: tuple[ObjectReference, ...]
    findings: tuple[Finding, ...]

    def uid_of(self, reference: ObjectReference) -> str:
        found = self.snapshot.ingresses.get(reference[1:])
        return found.uid if reference.kind == "Ingress" and isinstance(found, Ingress) else ""


class Writer:
    """Call `observe` after every translation; `start` runs `turn` every 2 s in a thread."""

    def __init__(
        self,
        api: Api,
        lease: Lease,
        events: EventWriter,
        options: IngressEndpoint | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._api = api
        self._lease = lease
        self._events = events
        self._options = options
        self._observation: Observation | None = None
        self._observed: Observation | None = None
        self._written: dict[Name, tuple[tuple[Address, ...], float]] = {}
        self._complaint = ""
        self._resource: Resource | None = None
        self._stop = threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def observe(
        self, snapshot: Snapshot, served: Iterable[ObjectReference], findings: Iterable[Finding]
    ) -> None:
        self._observation = Observation(snapshot, tuple(served), tuple(findings))
        self._news.set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread and give the Lease up."""
        self._stop.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.turn()
            except Exception:
                log.exception("writing status and events failed")
            # News is looked at once per period, so that a storm of changes is one write.
            self._stop.wait(RETRY_PERIOD)
        self._lease.release()

    def turn(self) -> None:
        """Renew the Lease; if held, write what differs."""
        self._lease.turn()
        observation = self._observation
        if observation is None or not self._lease.held():
            return
        self._write_status(observation)
        if observation is not self._observed:
            self._observed = observation
            self._events.observe(observation.findings, observation.uid_of)
        self._events.turn()

    def _write_status(self, observation: Observation) -> None:
        if self._options is None:
            return
        try:
            addresses = wanted(self._options, observation.snapshot)
        except Unpublishable as problem:
            self._complain(str(problem))
            return
        self._complaint = ""
        if not addresses:
            return
        due = outdated(observation.snapshot, observation.served, addresses)
        # The snapshot follows a write only through the watch; until then it is not repeated.
        self._written = {name: w for name, w in self._written.items() if name in due}
        for name, value in due.items():
            if self._stop.is_set() or not self._lease.held():
                return
            last, at = self._written.get(name, ((), 0.0))
            if last == value and self._clock() - at < REPEAT:
                continue
            resource = self._served()
            if resource is None or not write(self._api, resource, name, value):
                return
            self._api.outages.over(STATUS)
            self._written[name] = (value, self._clock())
            self._renew()

    def _renew(self) -> None:
        """A long list of Ingresses must not cost the Lease."""
        if self._lease.due():
            self._lease.turn()

    def _served(self) -> Resource | None:
        if self._resource is None:
            try:
                self._resource = self._api.first_served(INGRESSES)
            except ApiError as error:
                self._api.outages.met(STATUS, error)
        return self._resource

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            log.error("status of Ingresses cannot be written: %s", text)
            self._complaint = text


def writer_for(api: Api, options: Kubernetes, account: Path = SERVICE_ACCOUNT) -> Writer:
    """Build the writer of this process; replicas of one installation share a Lease."""
    identity = os.environ.get("POD_NAME") or socket.gethostname()
    lease = Lease(api, own_namespace(account), lease_name(options.ingress_class), identity)
    return Writer(api, lease, EventWriter(api, identity), options.ingress_endpoint)


def own_namespace(account: Path) -> str:
    """Give the namespace this process runs in."""
    name = os.environ.get("POD_NAMESPACE", "")
    if not name:
        try:
            name = (account / "namespace").read_text().strip()
        except OSError:
            name = ""
    return name or "default"


def lease_name(ingress_class: str) -> str:
    """Installations for different classes must not wait for each other."""
    suffix = re.sub(r"[^a-z0-9-]+", "-", ingress_class.lower()).strip("-")
    return f"fastproxy-{suffix}"[:63].rstrip("-") if suffix else "fastproxy"
