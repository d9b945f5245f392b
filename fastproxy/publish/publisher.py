"""The controller's side of publishing: what changed, and the way to the parent.

A generation travels as descriptors of sealed memory: the table block; a `Delta` (filters,
backends and certificates that changed) for the workers; a `Memory` (compiled pieces) that only a
restarted controller reads, so that it continues the slots. The parent keeps all of them as a log,
which we re-base (a full delta and memory) before it grows beyond what a full state would take.
"""

from __future__ import annotations

import logging
import pickle
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from fastproxy.feature import Feature
from fastproxy.model.configuration import Certificate, Config, Desired, Endpoint
from fastproxy.publish.compiler import Compiled, MatcherBuilder, compile_table, restored
from fastproxy.publish.route_compiler import Group
from fastproxy.publish.slots import Slots
from fastproxy.settings.options import Settings
from fastproxy.system.channel import Channel, close_all, read_memory, sealed_memory
from fastproxy.system.processors import usable_processors
from fastproxy.tables.change import BackendSpecification

log = logging.getLogger(__name__)

T = TypeVar("T")
K = TypeVar("K")

FAN = 8  # moves of endpoints that are merged into one step
LONGEST_LOG = 60  # entries; a replay sends two descriptors for each, at most 253 in one message
SMALLEST_REBASE = 1 << 20  # bytes of deltas below which re-basing is not worth it
PATIENCE = 60.0  # seconds the parent may take; it gives up on a wedged worker long before


@dataclass(frozen=True, slots=True)
class Delta:
    """What a worker must add and remove, by slot. Applied in order, they give the live state."""

    filters: Mapping[int, Config] = field(default_factory=dict)
    removed_filters: tuple[int, ...] = ()
    backends: Mapping[int, BackendSpecification] = field(default_factory=dict)
    removed_backends: tuple[int, ...] = ()
    certificates: Mapping[int, Certificate] = field(default_factory=dict, repr=False)
    removed_certificates: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """What a restarted controller needs besides the deltas."""

    groups: Mapping[str, bytes] = field(default_factory=dict)  # each pickled, once for all steps
    removed: tuple[str, ...] = ()


def difference(old: Compiled, new: Compiled) -> Delta:
    """Return the delta that leads from one generation to the next."""
    return Delta(
        _changed(old.filters, new.filters),
        tuple(old.filters.keys() - new.filters.keys()),
        _changed(old.backends, new.backends),
        tuple(old.backends.keys() - new.backends.keys()),
        _changed(old.certificates, new.certificates),
        tuple(old.certificates.keys() - new.certificates.keys()),
    )


def _changed(old: Mapping[int, T], new: Mapping[int, T]) -> dict[int, T]:
    return {
        slot: item
        for slot, item in new.items()
        if (before := old.get(slot)) is not item and before != item
    }


def full_delta(compiled: Compiled) -> Delta:
    return Delta(
        filters=compiled.filters, backends=compiled.backends, certificates=compiled.certificates
    )


class Merged(NamedTuple):
    backends: Mapping[int, BackendSpecification]
    steps: int  # how many steps of the log it stands for, the newest included


class Moves:
    """The steps at the end of the log that moved endpoints only, merged like the digits of a
    counter: `FAN` steps of one level become one of the next. So a day of moves stays a few dozen
    entries, and each move is written again only a few times."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, Mapping[int, BackendSpecification], int]] = []

    def add(self, backends: Mapping[int, BackendSpecification], size: int) -> Merged | None:
        """Append a step of `size` bytes; say what to merge at the end of the log, if anything."""
        self._steps.append((0, backends, size))
        count = 1
        while len(tail := self._steps[-FAN:]) == FAN and len({level for level, *_ in tail}) == 1:
            union: dict[int, BackendSpecification] = {}
            for _, part, _ in tail:
                union.update(part)
            del self._steps[-FAN:]
            self._steps.append((tail[0][0] + 1, union, sum(size for *_, size in tail)))
            count += FAN - 1
        if count == 1:
            return None
        return Merged(self._steps[-1][1], count)

    def resize(self, size: int) -> int:
        """Note the size of the last merged step; return by how much the log has shrunk."""
        level, backends, before = self._steps[-1]
        self._steps[-1] = (level, backends, size)
        return before - size


def _pickled(group: Group) -> bytes:
    return pickle.dumps(group, pickle.HIGHEST_PROTOCOL)


def _differs(live: Mapping[str, Group], name: str, group: Group) -> bool:
    """Say whether there is more to remember of a group than other endpoints."""
    old = live.get(name)
    return old is not group and (old is None or old.pieces is not group.pieces)


def _dump(value: Delta | Memory) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


class Publisher:
    """Publishes `Desired` to all workers. Not for use by several tasks at once; it blocks."""

    def __init__(
        self,
        connection: Channel,
        settings: Settings,
        features: Sequence[Feature],
        build_matcher: MatcherBuilder,
        clear_counter: Callable[[str, int], None] = lambda kind, slot: None,
        counters: Mapping[str, int] | None = None,
        longest_log: int = LONGEST_LOG,
    ) -> None:
        """`counters` are the kinds of slots in shared memory and how many there are of each;
        `longest_log` is how many entries the parent has room for."""
        self._connection = connection
        self._connection.set_timeout(PATIENCE)
        self._settings = settings
        self._features = features
        self._build_matcher = build_matcher
        self._clear_counter = clear_counter
        self._counters = dict(counters or {})
        self._longest_log = min(longest_log, LONGEST_LOG)
        self._unshown: dict[str, bytes] = {}  # documents that were refused
        self._log_entries = 0
        self._log_size = 0
        self._full_size = 0
        self._continued = False  # False: the next generation replaces all, whatever is live
        self._remembered: dict[str, bytes] = {}  # the live groups, as `Memory` holds them
        self._moves = Moves()
        self._slots_of: dict[str, list[int]] | None = None  # of the live backends, by name
        self._moved: dict[int, BackendSpecification] = {}  # since the live generation was compiled
        self._live = self._restore()

    @property
    def generation(self) -> int:
        """The live generation; 0 before the first."""
        return self._live.generation

    @property
    def failures(self) -> tuple[tuple[str, str], ...]:
        """Routes of the live generation that could not be built: name and reason."""
        return self._live.failures

    @property
    def remarks(self) -> tuple[tuple[str, str, str], ...]:
        """What cannot work in the live generation: route, annotation and why."""
        return self._live.remarks

    def publish(self, desired: Desired) -> bool:
        """Make `desired` live in every worker; False when one refused it (the old one stays).

        Does nothing for what is live already, and only replaces endpoints when only they differ.
        Raises ConnectionError when the parent is gone.
        """
        live = self._settled()
        new = compile_table(desired, self._settings, self._features, live, self._build_matcher)
        full = not self._continued
        delta = full_delta(new) if full else difference(live, new)
        if self._continued and new.block[64:] == live.block[64:] and not _needs_swap(live, delta):
            if delta.backends and not self._send_endpoints(delta):
                return False
            self._live = replace(new, generation=live.generation, block=live.block)
            self._moved = {}
            return True
        for kind, slot in new.slots.reused:
            if kind in self._counters:
                self._clear_counter(kind, slot)
        memory = Memory(
            {
                name: _pickled(group)
                for name, group in new.groups.items()
                if full or _differs(live.groups, name, group)
            },
            tuple(live.groups.keys() - new.groups.keys()),
        )
        parts = [new.block, _dump(delta), _dump(memory)]
        self._log_entries += 1
        self._log_size += len(parts[1]) + len(parts[2])
        if not self._exchange("publish", parts, generation=new.generation, full=full):
            return False
        self._live, self._continued = new, True
        if full:
            self._remembered = {}
        apply(self._remembered, memory.groups, memory.removed)
        self._limit_log()
        return True

    def show(self, path: str, content: bytes) -> None:
        """Show a document on the API entry point of every worker, also of those to come."""
        if self._exchange("document", [content], path=path):
            self._unshown.pop(path, None)
        else:
            self._unshown[path] = content

    def set_endpoints(self, backend_name: str, endpoints: tuple[Endpoint, ...]) -> None:
        """Replace the endpoints of one backend, wherever it is used, without a new generation."""
        self.move({backend_name: endpoints})

    def move(self, moved: Mapping[str, tuple[Endpoint, ...]]) -> bool:
        """Replace the endpoints of some backends, by name, in one step.

        What it costs does not depend on how many others there are. False: refused, and the next
        `publish` sends everything.
        """
        if self._slots_of is None:
            self._slots_of = {}
            for slot, specification in self._live.backends.items():
                self._slots_of.setdefault(specification.name, []).append(slot)
        backends = {}
        for name, endpoints in moved.items():
            for slot in self._slots_of.get(name, ()):
                specification = self._moved.get(slot) or self._live.backends[slot]
                if specification.endpoints != endpoints:
                    backends[slot] = replace(specification, endpoints=endpoints)
        return not backends or self._send_endpoints(Delta(backends=backends))

    def _send_endpoints(self, delta: Delta) -> bool:
        parts = [_dump(delta)]
        self._moved.update(delta.backends)
        self._log_entries += 1
        self._log_size += len(parts[0])
        merged = self._moves.add(delta.backends, len(parts[0]))
        if merged is None:
            accepted = self._exchange("endpoints", parts)
        else:
            parts.append(_dump(Delta(backends=merged.backends)))
            self._log_entries -= merged.steps - 1
            self._log_size -= self._moves.resize(len(parts[1]))
            accepted = self._exchange("endpoints", parts, merge=merged.steps)
        if not accepted:
            self._continued = False  # what was counted above is not true: all of it anew
            return False
        self._limit_log()
        return True

    def tidy(self) -> None:
        """Re-base a log of half its length while there is nothing else to do: it takes time."""
        for path, content in [*self._unshown.items()]:
            self.show(path, content)
        self._limit_log(2)

    def _limit_log(self, share: int = 1) -> None:
        """Replace a long log by the whole state: with a step that moves nothing."""
        if not self._continued or (
            self._log_entries * share <= self._longest_log
            and self._log_size * share <= max(SMALLEST_REBASE, 2 * self._full_size)
        ):
            return
        live = self._settled()
        parts = [_dump(Delta()), _dump(full_delta(live)), _dump(Memory(self._remembered))]
        if not self._exchange("endpoints", parts, rebase=True):
            return
        self._moves = Moves()
        self._log_entries, self._log_size = 1, 0
        self._full_size = len(parts[1]) + len(parts[2])

    def _settled(self) -> Compiled:
        """Return the live generation with what has moved since. Touches every backend."""
        if self._moved:
            self._live = self._live.with_moves(self._moved)
            self._moved = {}
        return self._live

    def _exchange(self, kind: str, parts: list[bytes], **values: int | str) -> bool:
        """Send one step and wait for the answer."""
        descriptors = [sealed_memory(f"fastproxy-{kind}", part) for part in parts]
        try:
            self._connection.send(kind, descriptors, **values)
            answer = self._connection.receive()
        except OSError:
            # A late answer must not be taken for that of the next step. The parent sees the end of
            # the channel and starts another controller, which continues from what is live.
            self._connection.close()
            raise
        finally:
            close_all(descriptors)
        if answer is None:
            raise ConnectionError("fastproxy's parent process is gone")
        if answer.kind == "refused":
            log.error("a change is refused: %s", answer.values["reason"])
            return False
        if kind == "publish":
            self._moves = Moves()
            self._slots_of = None
        if values.get("full"):
            self._log_entries, self._log_size = 1, 0
            self._full_size = len(parts[-1]) + len(parts[-2])
        return True

    def _restore(self) -> Compiled:
        """Return the live generation, which is there already when the controller restarts."""
        message = self._connection.receive()
        if message is None:
            raise ConnectionError("fastproxy's parent process is gone")
        nothing = Compiled(0, b"", {}, {}, {}, slots=Slots(self._counters))
        if message.cut:
            log.error("no descriptor was left for the state before the restart: it is made anew")
            return replace(nothing, generation=message.values["generation"])
        if not message.values["generation"]:
            return nothing
        backends: dict[int, BackendSpecification] = {}
        certificates: dict[int, Certificate] = {}
        groups: dict[str, Group] = {}
        remembered: dict[str, bytes] = {}
        try:
            block, *parts = (read_memory(d) for d in message.descriptors)
            for part in parts:
                step = pickle.loads(part)
                if isinstance(step, Memory):
                    apply(remembered, step.groups, step.removed)
                else:
                    apply(backends, step.backends, step.removed_backends)
                    apply(certificates, step.certificates, step.removed_certificates)
            groups = {name: pickle.loads(data) for name, data in remembered.items()}
        except Exception:
            # Another version of fastproxy wrote it. Everything is published anew, and slots that
            # mean something else now are rebuilt by the workers.
            log.exception("the state before the restart cannot be continued")
            return replace(nothing, generation=message.values["generation"])
        finally:
            close_all(message.descriptors)
        self._continued, self._remembered = True, remembered
        self._log_entries, self._log_size = len(parts), sum(map(len, parts))
        return restored(
            message.values["generation"], block, groups, backends, certificates, self._counters
        )


def apply(state: dict[K, T], added: Mapping[K, T], removed: Sequence[K]) -> None:
    """Bring one part of a state up to date."""
    for key in removed:
        state.pop(key, None)
    state.update(added)


def _needs_swap(live: Compiled, delta: Delta) -> bool:
    """Return whether a delta holds more than endpoints."""
    if delta.filters or delta.removed_filters or delta.removed_backends:
        return True
    if delta.certificates or delta.removed_certificates:
        return True
    return any(
        (old := live.backends.get(slot)) is None or not only_endpoints(old, new)
        for slot, new in delta.backends.items()
    )


def only_endpoints(old: BackendSpecification, new: BackendSpecification) -> bool:
    """Return whether two specifications differ in their endpoints at most."""
    return replace(old, endpoints=new.endpoints) == new


def open_publisher(descriptor: int, settings: Settings, shared: int) -> Publisher:
    """Return the publisher of the controller process, with all features and the real matcher."""
    import socket

    from fastproxy._core import build_matcher
    from fastproxy.counters import region
    from fastproxy.features import FEATURES

    connection = Channel(socket.socket(fileno=descriptor))
    # Two descriptors of the parent for each entry, besides its listeners and what else it has.
    room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 64
    room -= (settings.workers or usable_processors()) * (len(settings.entry_points) + 1)
    return Publisher(
        connection,
        settings,
        FEATURES,
        build_matcher,
        lambda kind, slot: region.clear_slot(shared, kind, slot),
        {kind: region.slot_count(kind) for kind in region.KINDS},
        longest_log=max(4, room // 3),
    )
