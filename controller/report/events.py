"""Findings as Kubernetes Events (type Warning) on the object they are about.

There is one Event per object and code, under a name made from both, whatever replica writes: what
is found again, or found by the next replica, raises its count instead of making another Event.
Writing is level based: only the latest text of an Event waits to be sent, at a limited rate.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controller.kubernetes.api import Api, ApiError, object_path
from controller.kubernetes.resources import EVENTS, INGRESSES, SECRETS, SERVICES
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding

log = logging.getLogger(__name__)

WRITING = "writing Events"

BURST = 25  # Events that may be written at once, as in client-go
RATE = 1.0  # Events per second after that
PAUSE = 10.0  # seconds between two writes of one Event
REFRESH = 1800.0  # seconds; API servers forget Events after an hour
FORBIDDEN_PAUSE = 300.0  # seconds without trying after a 403
SENTENCES = 5  # per Event; the rest is counted
MESSAGE_LIMIT = 1024  # characters, validated by the API server
API_VERSIONS = {
    resource.kind: resource.group_version for resource in (INGRESSES[0], SERVICES, SECRETS)
}


@dataclass(frozen=True, slots=True)
class Key:
    object: ObjectReference
    uid: str
    code: str


@dataclass(slots=True)
class _Written:
    message: str
    at: float


class EventWriter:
    def __init__(
        self,
        api: Api,
        instance: str,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._instance = instance
        self._clock = clock
        self._now = now
        self._current: dict[Key, str] = {}
        self._pending: OrderedDict[Key, str] = OrderedDict()
        self._written: dict[Key, _Written] = {}
        self._tokens = float(BURST)
        self._filled_at = clock()
        self._silent_until = float("-inf")

    def observe(
        self, findings: Iterable[Finding], uid_of: Callable[[ObjectReference], str]
    ) -> None:
        """Take over the complete set of findings of the newest translation."""
        grouped: dict[Key, list[str]] = {}
        for finding in findings:
            if finding.object.name:
                key = Key(finding.object, uid_of(finding.object), finding.code)
                grouped.setdefault(key, []).append(_text(finding))
        self._current = {key: message(texts) for key, texts in grouped.items()}
        self._pending = OrderedDict(
            (key, text) for key, text in self._pending.items() if key in self._current
        )
        for key, text in self._current.items():
            written = self._written.get(key)
            if written is None or written.message != text:
                self._pending[key] = text
        # What is gone and comes back later is news again.
        self._written = {key: w for key, w in self._written.items() if key in self._current}

    def turn(self) -> int:
        """Write what the rate allows; give how many were written. Never raises `ApiError`."""
        now = self._clock()
        self._tokens = min(float(BURST), self._tokens + (now - self._filled_at) * RATE)
        self._filled_at = now
        if now < self._silent_until:
            return 0
        for key, written in self._written.items():
            if now - written.at >= REFRESH:
                self._pending.setdefault(key, self._current[key])
        count = 0
        for key in list(self._pending):
            if self._tokens < 1.0:
                break
            last = self._written.get(key)
            if last is not None and now - last.at < PAUSE:
                continue
            if not self._send(key, self._pending[key]):
                break
            self._written[key] = _Written(self._pending.pop(key), now)
            self._tokens -= 1.0
            count += 1
        return count

    def _send(self, key: Key, text: str) -> bool:
        try:
            self._write(key, text)
        except ApiError as error:
            if error.status in (400, 404, 422):
                # The object or its namespace is gone, or the Event is refused: not worth a retry.
                log.debug("event on %s not written: %s", key.object, error)
                return True
            self._api.outages.met(WRITING, error)
            pause = FORBIDDEN_PAUSE if error.forbidden else error.retry_after or 0.0
            self._silent_until = self._clock() + pause
            return False
        self._api.outages.over(WRITING)
        return True

    def _write(self, key: Key, text: str) -> None:
        namespace = key.object.namespace or "default"
        name = event_name(key)
        try:
            self._api.create(EVENTS.path(namespace), self._event(key, namespace, name, text))
        except ApiError as error:
            if not error.conflict:
                raise
            path = object_path(EVENTS, namespace, name)
            count = self._api.read(EVENTS, namespace, name).get("count")
            change = {
                "count": (count if isinstance(count, int) else 1) + 1,
                "message": text,
                "lastTimestamp": self._stamp(),
            }
            self._api.patch(path, change)

    def _event(self, key: Key, namespace: str, name: str, text: str) -> dict[str, Any]:
        involved = {
            "kind": key.object.kind,
            "apiVersion": API_VERSIONS.get(key.object.kind, ""),
            "namespace": key.object.namespace,
            "name": key.object.name,
            "uid": key.uid,
        }
        return {
            "apiVersion": EVENTS.group_version,
            "kind": EVENTS.kind,
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {k: v for k, v in involved.items() if v},
            "type": "Warning",
            "reason": key.code,
            "message": text,
            "count": 1,
            "firstTimestamp": self._stamp(),
            "lastTimestamp": self._stamp(),
            "source": {"component": "fastproxy"},
            "reportingComponent": "fastproxy.io/ingress-controller",
            "reportingInstance": self._instance,
        }

    def _stamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")


def event_name(key: Key) -> str:
    """The object's name and a digest; the same from every replica, new for a new object."""
    digest = hashlib.sha256(f"{key.object}|{key.uid}|{key.code}".encode()).hexdigest()[:16]
    return f"{key.object.name[:200]}.{digest}"


def message(texts: list[str]) -> str:
    """Join sentences; what does not fit is counted."""
    distinct = sorted(set(texts))
    shown = "; ".join(distinct[:SENTENCES])
    if len(distinct) > SENTENCES:
        shown += f"; and {len(distinct) - SENTENCES} more"
    return shown if len(shown) <= MESSAGE_LIMIT else shown[: MESSAGE_LIMIT - 1] + "…"


def _text(finding: Finding) -> str:
    text = " ".join(filter(None, (finding.sentence, finding.effect)))
    return f"{finding.field}: {text}" if finding.field else text
