"""One writer among several replicas: a Lease of coordination.k8s.io/v1.

The figures are those of Kubernetes' own components: a holder renews every 2 s and gives up after
10 s without success; others take over once they have seen no renewal for 15 s. Only durations are
measured, with a monotonic clock, so wrong wall clocks do no harm; the timestamps written are for
people.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from controller.kubernetes.answers import Garbage, checked_object
from controller.kubernetes.api import Api, ApiError, object_path
from controller.kubernetes.resources import LEASES

log = logging.getLogger(__name__)

DURATION = 15.0  # seconds without a renewal after which others take over
RENEW_DEADLINE = 10.0  # seconds after which a holder that cannot renew stops acting as one
RETRY_PERIOD = 2.0  # seconds between attempts


class Lease:
    """Call `turn` every `RETRY_PERIOD`; ask `held` before every write."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._now = now
        self._held_until = float("-inf")
        self._seen: tuple[Any, Any] | None = None  # holder and renewTime last observed
        self._seen_at = float("-inf")
        self._unavailable = False

    def __str__(self) -> str:
        return f"Lease {self._namespace}/{self._name}"

    def held(self) -> bool:
        """Say whether we may write now."""
        return self._unavailable or self._clock() < self._held_until

    def due(self) -> bool:
        """Say whether the holder should renew now."""
        return self._clock() >= self._held_until - RENEW_DEADLINE + RETRY_PERIOD

    def turn(self) -> None:
        """Acquire or renew if possible; never raises `ApiError`."""
        before = self.held()
        started = self._clock()
        try:
            if self._try():
                self._held_until = started + RENEW_DEADLINE
            else:
                self._held_until = float("-inf")
            self._unavailable = False
            self._api.outages.over(self)
        except ApiError as error:
            self._failed(error)
        if self.held() != before:
            writes = "writes" if self.held() else "no longer writes"
            log.info("this replica %s the status of Ingresses, and Events (%s)", writes, self)

    def release(self) -> None:
        """Give the lease up at the end, so that another replica need not wait 15 s."""
        if self._unavailable or not self.held():
            return
        self._held_until = float("-inf")
        try:
            lease = self._read()
            if _spec(lease).get("holderIdentity") == self._identity:
                self._write(lease, holder="")
        except ApiError as error:
            log.info("%s cannot be given up: %s", self, error)

    def _try(self) -> bool:
        try:
            lease = self._read()
        except ApiError as error:
            if not error.missing:
                raise
            return self._create()
        spec = _spec(lease)
        holder = spec.get("holderIdentity") or ""
        seen = (holder, spec.get("renewTime"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._clock()
        expired = self._clock() - self._seen_at >= DURATION
        if holder not in ("", self._identity) and not expired:
            return False
        try:
            written = _spec(self._write(lease, holder=self._identity))
        except ApiError as error:
            if error.conflict:
                return False
            raise
        self._seen = (self._identity, written.get("renewTime"))
        self._seen_at = self._clock()
        return True

    def _create(self) -> bool:
        lease = {
            "apiVersion": LEASES.group_version,
            "kind": LEASES.kind,
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": self._spec_of({}, self._identity),
        }
        try:
            self._own(self._api.create(LEASES.path(self._namespace), lease), self._identity)
        except ApiError as error:
            if error.conflict:
                return False
            raise
        return True

    def _write(self, lease: dict[str, Any], holder: str) -> dict[str, Any]:
        spec = self._spec_of(_spec(lease), holder)
        return self._own(self._api.replace(self._path(), {**lease, "spec": spec}), holder)

    def _read(self) -> dict[str, Any]:
        return self._api.read(LEASES, self._namespace, self._name)

    def _own(self, lease: dict[str, Any], holder: str) -> dict[str, Any]:
        """What was written, if the answer says so: two holders would be worse than none."""
        checked_object(lease, LEASES, self._namespace, self._name)
        if (_spec(lease).get("holderIdentity") or "") != holder:
            raise Garbage(
                f"the lease {self._name} was written, and the answer names another holder"
            )
        return lease

    def _spec_of(self, old: dict[str, Any], holder: str) -> dict[str, Any]:
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        changed = (old.get("holderIdentity") or "") != holder
        transitions = old.get("leaseTransitions")
        if not isinstance(transitions, int):
            transitions = 0
        return {
            **old,
            "holderIdentity": holder,
            "leaseDurationSeconds": int(DURATION),
            "acquireTime": stamp if changed else old.get("acquireTime", stamp),
            "renewTime": stamp,
            "leaseTransitions": transitions + (1 if changed and holder and old else 0),
        }

    def _failed(self, error: ApiError) -> None:
        """Without the right to use Leases every replica writes, as Traefik 1.7 did."""
        self._unavailable = error.forbidden
        effect = (
            "every replica writes the status of Ingresses, and Events" if error.forbidden else ""
        )
        self._api.outages.met(self, error, effect)

    def _path(self) -> str:
        return object_path(LEASES, self._namespace, self._name)


def _spec(lease: dict[str, Any]) -> dict[str, Any]:
    spec = lease.get("spec")
    return spec if isinstance(spec, dict) else {}
