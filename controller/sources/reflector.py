"""List, then watch, then list again: keeps a sink equal to what the API server holds.

One `Reflector` is one (kind, namespace) in one thread. It never gives up and never takes back: when
the server is away, forbids, or talks nonsense, the sink keeps what it has.

Invariants
* A list is delivered as one batch holding only the difference to what was delivered before, so
  that nobody sees a half-replaced state after a 410.
* What counts is the level, not the event: a `Ledger` knows uid and version of each object and drops
  duplicates, late events of an older version, and deletions of an earlier object of the same name.
* The stream's position advances with every event and bookmark, so that a broken stream resumes.
* The response is closed on every path (`Api.watch` is a context manager).

What we do not like: versions are called opaque, yet reordered events can be recognised only by
comparing them. We compare decimal versions (Kubernetes 1.35 made that part of its API) and
accept the order of arrival for anything else.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from controller.kubernetes.answers import ApiError, Garbage, is_object
from controller.kubernetes.api import EVERYTHING, STREAM_BROKEN, Api, Selection
from controller.kubernetes.backoff import Availability, Backoff, Pacing
from controller.kubernetes.resources import Resource

log = logging.getLogger(__name__)

WATCH_SECONDS = 240  # server-side end of a watch, plus jitter
WATCH_JITTER = 60
SILENCE = 90.0  # seconds; API servers send a bookmark every minute, resuming is cheap
GRACE = 15.0  # seconds a server may be late in ending a watch
HEALTHY = 2.0  # seconds; after a stream of this age the pauses between streams start over
FRESH = 10.0  # seconds; a list that expires sooner is not made again at once
DOUBTS = 3  # lists with items that are no objects before the rest of one is believed
FAILURES = 6  # watches that cannot be opened before the position is doubted
LONGEST_LINE = 1 << 26  # bytes; etcd refuses objects of more than 1.5 MiB
TOMBSTONES = 4096


class Key(NamedTuple):
    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Change:
    """An object as it is now, or `None` when it is gone."""

    key: Key
    object: dict[str, Any] | None


Deliver = Callable[[Sequence[Change]], None]


class BrokenStream(Garbage):
    """The stream holds something that is not an event; what it meant is lost, so list again."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class Ledger:
    """What has been delivered: uid and version by key."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._known: dict[Key, tuple[str, str]] = {}
        self._buried: OrderedDict[str, str] = OrderedDict()  # uid -> version of its deletion

    def __len__(self) -> int:
        return len(self._known)

    def listing(self, kind: str, items: Iterable[Any]) -> list[Change]:
        """Give the difference between what was delivered and a complete list."""
        self._kind = kind
        gone = dict(self._known)
        changes: list[Change] = []
        for item in items:
            identity = self._identify(item)
            if identity is None:
                continue
            key, uid, version = identity
            gone.pop(key, None)
            if self._known.get(key) != (uid, version):
                self._known[key] = (uid, version)
                changes.append(Change(key, item))
        for key in gone:
            del self._known[key]
            changes.append(Change(key, None))
        return changes

    def event(self, type: str, item: Any) -> Change | None:
        """Give what an event changes; `None` for a duplicate, a late or a meaningless one."""
        identity = self._identify(item)
        if identity is None:
            return None
        key, uid, version = identity
        known = self._known.get(key)
        if type == "DELETED":
            self._bury(uid, version)
            if known is None or known[0] != uid or older(version, known[1]):
                return None
            del self._known[key]
            return Change(key, None)
        if known == (uid, version) or (known is not None and older(version, known[1])):
            return None
        buried = self._buried.get(uid)
        if buried is not None and (version == buried or older(version, buried)):
            return None
        self._known[key] = (uid, version)
        return Change(key, item)

    def doubt(self) -> None:
        """After a failed delivery, let the next list deliver every object again."""
        for key in self._known:
            self._known[key] = ("", "")

    def _bury(self, uid: str, version: str) -> None:
        self._buried[uid] = version
        if len(self._buried) > TOMBSTONES:
            self._buried.popitem(last=False)

    def _identify(self, item: Any) -> tuple[Key, str, str] | None:
        if not is_object(item, self._kind):
            log.error("%s without a name from the API server, ignored", self._kind)
            return None
        metadata = item["metadata"]
        namespace = metadata.get("namespace")
        key = Key(self._kind, namespace if isinstance(namespace, str) else "", metadata["name"])
        return key, str(metadata.get("uid", "")), str(metadata.get("resourceVersion", ""))


def older(left: str, right: str) -> bool:
    """Compare two decimal versions; anything not decimal is never older."""
    if not (left.isascii() and left.isdigit() and right.isascii() and right.isdigit()):
        return False
    return (len(left), left) < (len(right), right)


def lines(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Split a byte stream at newlines; per chunk, the lines it completes.

    The cursor remembers how far an unfinished line was searched, so an object that arrives in
    many chunks is searched once.
    """
    rest = bytearray()
    cursor = 0
    for chunk in chunks:
        rest += chunk
        last = rest.rfind(b"\n", cursor)
        if last < 0:
            cursor = len(rest)
            if cursor > LONGEST_LINE:
                raise BrokenStream(f"an event of more than {LONGEST_LINE} bytes")
            continue
        complete = bytes(rest[:last]).split(b"\n")
        del rest[: last + 1]
        cursor = len(rest)
        found = [line for line in complete if line.strip()]
        if found:
            yield found


class Reflector:
    """One kind in one namespace ("" = all), followed for ever by `run`."""

    def __init__(
        self,
        api: Api,
        choose: Callable[[], Resource | None],
        namespace: str,
        deliver: Deliver,
        availability: Availability,
        stop: threading.Event,
        *,
        selection: Selection = EVERYTHING,
        forbidden_choice: Resource | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._choose = choose
        self.namespace = namespace
        self._deliver = deliver
        self._availability = availability
        self._stop = stop
        self._selection = selection
        self._forbidden_choice = forbidden_choice
        self._clock = clock
        self._backoff = Backoff(clock)
        self._pacing = Pacing()
        self._doubts = 0  # lists in a row with items that are no objects
        self._failures = 0  # in a row, of opening a watch
        self._ledger = Ledger("")
        self._resource: Resource | None = None
        self._version = ""
        self._listed_at = float("-inf")
        self._opened_at: float | None = None
        self.problem = ""  # what it has met since it was last in touch
        self.synced = False  # a complete list has been delivered
        self.refused = False  # the last answer was 403
        self.absent = False  # the server does not know the kind
        self.broken_since: float | None = clock()

    def __repr__(self) -> str:
        kind = self._resource.kind if self._resource else "?"
        return f"{kind} in {self.namespace or 'all namespaces'}"

    def __str__(self) -> str:
        return f"watch of {self!r}"

    def staleness(self) -> float:
        """Seconds since this reflector lost touch with the server; 0 while it is connected."""
        since = self.broken_since
        return 0.0 if since is None else max(0.0, self._clock() - since)

    def run(self) -> None:
        """Follow until `stop` is set."""
        while not self._stop.is_set():
            pause = 0.0
            port = False
            try:
                pause = self.turn()
            except ApiError as error:
                port = error.status == 0
                pause = self._failed(error)
            except Exception:
                # A bug of ours must not end the thread: the proxy would go stale in silence.
                log.exception("watch of %r failed, listing again", self)
                self._lost()
                self._version = ""
                self._ledger.doubt()
                pause = self._backoff.next()
            if pause:
                self._availability.wait(pause, watch_port=port)

    def turn(self) -> float:
        """List if the position is lost, then follow one watch to its end; give the pause."""
        if (self._resource is None or not self._version) and not self._list():
            return self._backoff.next()
        assert self._resource is not None
        timeout = WATCH_SECONDS + random.randrange(WATCH_JITTER)
        started = self._clock()
        with self._api.watch(
            self._resource,
            self.namespace,
            self._version,
            timeout=timeout,
            silence=SILENCE,
            selection=self._selection,
        ) as chunks:
            self._connected()
            for batch in lines(chunks):
                self._events(batch)
                if self._stop.is_set() or self._clock() - started > timeout + GRACE:
                    break
        return self._pacing.after(self._age(), HEALTHY)

    def _age(self) -> float:
        """Seconds since the watch was opened."""
        opened, self._opened_at = self._opened_at, None
        return 0.0 if opened is None else self._clock() - opened

    def _list(self) -> bool:
        self._resource = self._choose()
        self.absent = self._resource is None
        if self._resource is None:
            return False
        try:
            listing = self._api.list(self._resource, self.namespace, selection=self._selection)
        except ApiError as error:
            if not error.forbidden or self._forbidden_choice is None:
                raise
            log.info("%s: %s; %s are read instead", self, error, self._forbidden_choice.plural)
            self._resource = self._forbidden_choice
            listing = self._api.list(self._resource, self.namespace, selection=self._selection)
        self._check_items(listing.items, self._resource.kind)
        changes = self._ledger.listing(self._resource.kind, listing.items)
        if changes:
            self._deliver(changes)
        self._version = listing.version
        self._listed_at = self._clock()
        self.synced = True
        return True

    def _check_items(self, items: Sequence[Any], kind: str) -> None:
        """Raise `Garbage` for a list that holds something else than objects of the kind, since any
        object may be what it stands for. If that goes on, it is left out; but never everything."""
        usable = sum(is_object(item, kind) for item in items)
        if usable == len(items):
            self._doubts = 0
            return
        self._doubts += 1
        if not usable or self._doubts <= DOUBTS:
            raise Garbage(f"{len(items) - usable} of {len(items)} items of a list are no {kind}")

    def _events(self, batch: list[bytes]) -> None:
        """Apply the events of one chunk as one batch; the position moves only afterwards."""
        changes: list[Change] = []
        version = self._version
        error: ApiError | None = None
        for line in batch:
            try:
                type, item = parse(line)
            except BrokenStream as broken:
                error = broken
                break
            if type == "ERROR":
                error = status_error(item)
                break
            metadata = item.get("metadata") if isinstance(item, dict) else None
            moved = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
            version = moved if moved and isinstance(moved, str) else version
            if type == "BOOKMARK":
                continue
            if isinstance(metadata, dict) and isinstance(metadata.get("name"), str):
                kind = self._resource.kind if self._resource is not None else ""
                if item.get("kind") != kind:
                    error = BrokenStream(f"an event about {str(item.get('kind'))[:40]!r}")
                    break
            change = self._ledger.event(type, item)
            if change is not None:
                changes.append(change)
        if changes:
            self._deliver(changes)
        self._version = version
        if error is not None:
            raise error

    def _connected(self) -> None:
        self._opened_at = self._clock()
        self._failures = 0
        self.broken_since = None
        self.refused = False
        self.problem = ""
        self._api.outages.over(self)

    def _lost(self) -> None:
        if self.broken_since is None:
            self.broken_since = self._clock()

    def _failed(self, error: ApiError) -> float:
        """Note the failure, logging it once until it changes; give the seconds to wait."""
        self._lost()
        self._failures += self._opened_at is None
        age = self._age()
        if age >= HEALTHY:
            self._backoff.restart()
        self.refused = error.forbidden
        if self._position_lost(error):
            self._version = ""
        if error.gone:
            log.info("watch of %r expired, listing again", self)
            return self._pacing.after(self._clock() - self._listed_at, FRESH)
        self.problem = f"{self}: {error}" if error.status else str(error)
        secret = self._resource is not None and self._resource.kind == "Secret"
        self._api.outages.met(self, error, "what needs a Secret is not served" if secret else "")
        if error.reason == STREAM_BROKEN:  # a cut connection is no reason to stay away
            return max(random.uniform(0.0, 0.2), self._pacing.after(age, HEALTHY))
        # A server that asks for more patience than we have gets what Traefik would give it.
        return max(self._backoff.next(), min(error.retry_after or 0.0, 30.0))

    def _position_lost(self, error: ApiError) -> bool:
        """Whether to list again. A position may also be one that the server never gave, or one of
        before its store was restored; then no watch can be opened, for whatever reason it says."""
        if error.gone or error.missing or isinstance(error, Garbage):
            return True
        refused = error.status >= 400 and error.status not in (401, 403, 429)
        return error.status in (400, 422) or (refused and self._failures >= FAILURES)


def parse(line: bytes) -> tuple[str, Any]:
    """Take one watch event apart."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError as exception:
        raise BrokenStream(f"an event is not JSON: {exception}") from exception
    if not isinstance(event, dict):
        raise BrokenStream("an event is not a JSON object")
    type, item = event.get("type"), event.get("object")
    if type not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"):
        raise BrokenStream(f"an event of type {str(type)[:40]!r}")
    return type, item


def status_error(item: Any) -> ApiError:
    """Turn the `Status` of an ERROR event into an exception."""
    status = item if isinstance(item, dict) else {}
    code = status.get("code")
    return ApiError(
        code if isinstance(code, int) else 500,
        str(status.get("reason", "")),
        str(status.get("message", "")),
    )
