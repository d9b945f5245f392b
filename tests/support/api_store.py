"""The memory of the stand-in API server: objects, one revision counter, a window of history.

Revisions are those of etcd: one counter for the whole store, one step per change. `compact()`
forgets history, so that watches and continue tokens from before answer 410.
"""

from __future__ import annotations

import copy
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

Object = dict[str, Any]


class Refused(Exception):
    """An answer other than success, as a Kubernetes `Status`."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message

    def document(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "reason": self.reason,
            "message": self.message,
            "code": self.code,
        }


@dataclass(frozen=True)
class Kind:
    kind: str
    group_version: str
    plural: str
    namespaced: bool = True

    @property
    def storage(self) -> str:
        """All versions of one kind are the same objects."""
        return self.kind


KINDS = (
    Kind("Ingress", "networking.k8s.io/v1", "ingresses"),
    Kind("IngressClass", "networking.k8s.io/v1", "ingressclasses", namespaced=False),
    Kind("EndpointSlice", "discovery.k8s.io/v1", "endpointslices"),
    Kind("Endpoints", "v1", "endpoints"),
    Kind("Service", "v1", "services"),
    Kind("Secret", "v1", "secrets"),
    Kind("Namespace", "v1", "namespaces", namespaced=False),
    Kind("Event", "v1", "events"),
    Kind("Lease", "coordination.k8s.io/v1", "leases"),
)
OLD_INGRESSES = (
    Kind("Ingress", "networking.k8s.io/v1beta1", "ingresses"),
    Kind("Ingress", "extensions/v1beta1", "ingresses"),
)


@dataclass(frozen=True)
class Change:
    revision: int
    kind: Kind
    type: str  # ADDED, MODIFIED, DELETED
    object: Object
    before: Object | None

    def line(self, type: str | None = None) -> bytes:
        return orjson.dumps({"type": type or self.type, "object": self.object}) + b"\n"


Filter = Callable[[Object], bool]


class Store:
    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.revision = 100  # no reader may rely on small numbers
        self.compacted = 0  # history up to here is forgotten
        self.history: list[Change] = []
        self.objects: dict[str, dict[tuple[str, str], Object]] = {}

    def create(self, kind: Kind, new: Object) -> Object:
        new = copy.deepcopy(new)
        metadata = new.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        key = key_of(kind, new)
        with self.changed:
            if key in self._table(kind):
                raise Refused(409, "AlreadyExists", f'{kind.plural} "{key[1]}" already exists')
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            metadata.setdefault("creationTimestamp", now)
            metadata["uid"] = str(uuid.uuid4())
            metadata["generation"] = 1
            return self._store(kind, key, "ADDED", new)

    def update(self, kind: Kind, new: Object, *, part: str = "") -> Object:
        """Replace an object, or with `part="status"` only its status; a stale version is a 409."""
        new = copy.deepcopy(new)
        key = key_of(kind, new)
        with self.changed:
            old = self.read(kind, *key)
            version = new.get("metadata", {}).get("resourceVersion")
            if version and version != old["metadata"]["resourceVersion"]:
                raise Refused(
                    409, "Conflict", "the object has been modified; use its latest version"
                )
            if part == "status":
                new = {**old, "status": new.get("status", {})}
            elif "status" in old:
                new["status"] = old["status"]
            metadata = {**new.get("metadata", {})}
            for name in ("uid", "creationTimestamp", "generation"):
                metadata[name] = old["metadata"][name]
            metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
            new["metadata"] = metadata
            if new == old:
                return old
            if new.get("spec") != old.get("spec"):
                metadata["generation"] += 1
            return self._store(kind, key, "MODIFIED", new)

    def patch(self, kind: Kind, namespace: str, name: str, patch: Object, part: str = "") -> Object:
        with self.changed:
            old = self.read(kind, namespace, name)
            return self.update(kind, merge(old, patch), part=part)

    def delete(self, kind: Kind, namespace: str, name: str) -> Object:
        with self.changed:
            old = self.read(kind, namespace, name)
            del self._table(kind)[namespace, name]
            gone = {**old, "metadata": {**old["metadata"]}}
            self._record(kind, "DELETED", gone, old)
            return gone

    def read(self, kind: Kind, namespace: str, name: str) -> Object:
        try:
            return self._table(kind)[namespace, name]
        except KeyError:
            raise Refused(404, "NotFound", f'{kind.plural} "{name}" not found') from None

    def list(self, kind: Kind, namespace: str) -> tuple[int, list[Object]]:
        """Give the revision and the objects at it, in key order as etcd does."""
        with self.changed:
            table = self._table(kind)
            keys = sorted(key for key in table if not namespace or key[0] == namespace)
            return self.revision, [table[key] for key in keys]

    def since(self, revision: int) -> list[Change]:
        """Give the changes after a revision; call with `changed` held."""
        if revision < self.compacted:
            raise Refused(410, "Expired", f"too old resource version: {revision}")
        low, high = 0, len(self.history)
        while low < high:
            middle = (low + high) // 2
            if self.history[middle].revision <= revision:
                low = middle + 1
            else:
                high = middle
        return self.history[low:]

    def compact(self) -> None:
        """Forget all history, as etcd does every five minutes behind an API server."""
        with self.changed:
            # One more revision, so that nobody who saw the last change is still in the window.
            self.revision += 1
            self.compacted = self.revision
            self.history.clear()
            self.changed.notify_all()

    def _store(self, kind: Kind, key: tuple[str, str], type: str, new: Object) -> Object:
        before = self._table(kind).get(key)
        self._record(kind, type, new, before)
        self._table(kind)[key] = new
        return new

    def _record(self, kind: Kind, type: str, new: Object, before: Object | None) -> None:
        self.revision += 1
        new["metadata"]["resourceVersion"] = str(self.revision)
        self.history.append(Change(self.revision, kind, type, new, before))
        self.changed.notify_all()

    def _table(self, kind: Kind) -> dict[tuple[str, str], Object]:
        return self.objects.setdefault(kind.storage, {})


def key_of(kind: Kind, new: Object) -> tuple[str, str]:
    metadata = new.get("metadata") or {}
    if not metadata.get("name"):
        raise Refused(422, "Invalid", "metadata.name: Required value")
    return (metadata.get("namespace", "") if kind.namespaced else "", metadata["name"])


def merge(old: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def selected(labels: str, fields: str) -> Filter:
    """Make a filter from the equality forms of label and field selectors."""
    terms = list(_terms(labels))
    paths = list(_terms(fields))

    def matches(item: Object) -> bool:
        own = item["metadata"].get("labels") or {}
        return all(_holds(term, own.get(term[0])) for term in terms) and all(
            _holds(term, _field(item, term[0])) for term in paths
        )

    return matches


def _terms(text: str) -> Iterable[tuple[str, str, str]]:
    for term in filter(None, (part.strip() for part in text.split(","))):
        for operator in ("!=", "==", "="):
            if operator in term:
                name, value = term.split(operator, 1)
                yield name.strip(), operator, value.strip()
                break
        else:
            yield (term[1:], "absent", "") if term.startswith("!") else (term, "present", "")


def _holds(term: tuple[str, str, str], value: str | None) -> bool:
    _, operator, wanted = term
    if operator == "present":
        return value is not None
    if operator == "absent":
        return value is None
    return (value != wanted) if operator == "!=" else (value == wanted)


def _field(item: Object, path: str) -> str | None:
    value: Any = item
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def wait_until(condition: Callable[[], bool], seconds: float = 5.0, what: str = "") -> None:
    """Poll until true; the one place where tests of threads wait."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.005)
