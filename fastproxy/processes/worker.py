"""One worker process: the engine on uvloop, told by the parent what is live.

The engine is given what changed; which specifications those are, and which live filter belongs to
which slot, is kept here. Nothing in this file runs for a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import pickle
import signal
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from fastproxy.model.configuration import Certificate, Config, Endpoint
from fastproxy.processes.heartbeat import Pulse
from fastproxy.processes.parent import Place
from fastproxy.publish.publisher import Delta, apply, only_endpoints
from fastproxy.system import documents, logs, observed
from fastproxy.system.channel import Channel, Message, close_all, memory_size, read_memory
from fastproxy.system.descriptors import allowed
from fastproxy.tables.change import BackendSpecification, Change

log = logging.getLogger(__name__)

T = TypeVar("T")
POLL = 0.05  # seconds between looks at the open connections while draining
LARGE = 1 << 18  # bytes of deltas that take milliseconds to read


class DataPlane(Protocol):
    """What is needed of `fastproxy.engine.data_plane.DataPlane`."""

    def listen(self, descriptor: int, entry_point: int) -> None: ...
    def prepare(self, generation: int, block: int, change: Change) -> None: ...
    def activate(self, generation: int) -> None: ...
    def discard(self, generation: int) -> None: ...
    def set_endpoints(self, slot: int, endpoints: tuple[Endpoint, ...]) -> None: ...
    def answer_ping(self, healthy: bool, ready: bool) -> None: ...
    def set_ticket_keys(self, keys: Sequence[bytes]) -> None: ...
    def stop_accepting(self) -> None: ...
    def drain(self) -> None: ...
    @property
    def active(self) -> int: ...
    async def close(self) -> None: ...


Build = Callable[[asyncio.AbstractEventLoop, Place], DataPlane]
MakeFilter = Callable[[Config], Any]


@dataclass(slots=True)
class State:
    """The specifications of one generation, by slot."""

    filters: dict[int, Config] = field(default_factory=dict)
    backends: dict[int, BackendSpecification] = field(default_factory=dict)
    certificates: dict[int, Certificate] = field(default_factory=dict)

    def copy(self) -> State:
        return State(dict(self.filters), dict(self.backends), dict(self.certificates))

    def apply(self, delta: Delta) -> None:
        apply(self.filters, delta.filters, delta.removed_filters)
        apply(self.backends, delta.backends, delta.removed_backends)
        apply(self.certificates, delta.certificates, delta.removed_certificates)


@dataclass(slots=True)
class _Prepared:
    generation: int
    state: State
    endpoints: dict[int, tuple[Endpoint, ...]]  # set when it becomes live


def changed(old: Mapping[int, T], new: Mapping[int, T], slots: Iterable[int]) -> dict[int, T]:
    """Return what stands newly in some of the slots; equal specifications stay untouched."""
    return {slot: new[slot] for slot in slots if slot in new and old.get(slot) != new[slot]}


def removed(old: Mapping[int, T], new: Mapping[int, T], slots: Iterable[int]) -> tuple[int, ...]:
    return tuple(slot for slot in slots if slot in old and slot not in new)


def touched(kind: str, old: State, new: State, deltas: Iterable[Delta] | None) -> set[int]:
    """Return the slots of a kind to look at: those the deltas name, or all."""
    if deltas is None:
        return {*getattr(old, kind), *getattr(new, kind)}
    names = (kind, f"removed_{kind}")
    return {slot for delta in deltas for name in names for slot in getattr(delta, name)}


def read_deltas(steps: Sequence[int]) -> list[Delta]:
    return [pickle.loads(read_memory(step)) for step in steps]


class Worker:
    """The worker's side of publishing, and its end."""

    def __init__(
        self, place: Place, channel: Channel, data_plane: DataPlane, make_filter: MakeFilter
    ) -> None:
        self._place = place
        self._channel = channel
        self._data_plane = data_plane
        self._make_filter = make_filter
        self._state = State()
        self._prepared: _Prepared | None = None
        self._listening = False
        self._pulse = Pulse(place.shared, place.number)
        self._closed = False
        self.ending: asyncio.Event = asyncio.Event()
        self._accept_grace = place.settings.life_cycle.request_accept_grace_timeout

    def on_readable(self) -> None:
        """Handle one message of the parent; without a parent we end."""
        try:
            message = self._channel.receive()
        except BlockingIOError:
            return
        except OSError as error:
            log.error("%s; all is asked for", error)
            self._channel.send("lost")
            return
        if message is None:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self.ending.set()
            return
        if message.kind == "prepare" and sum(map(memory_size, message.descriptors[1:])) > LARGE:
            self._read_aside(message)
            return
        try:
            with self._pulse.busy():
                self._handle(message)
        finally:
            close_all(message.descriptors)
            self._channel.hold_room()

    def _read_aside(self, message: Message) -> None:
        """Read a large generation in a thread: the engine does not need the interpreter and goes on
        with its traffic. Nothing else is heard from the parent meanwhile."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._channel.fileno())
        self._pulse.begin()

        def prepare(reading: asyncio.Future[list[Delta]]) -> None:
            if not self._closed:
                values = message.values
                self._prepare(
                    values["generation"], values["full"], message.descriptors[0], reading.result
                )
                loop.add_reader(self._channel.fileno(), self.on_readable)
            self._pulse.end()
            close_all(message.descriptors)
            if not self._closed:
                self._channel.hold_room()

        reading = loop.run_in_executor(None, read_deltas, message.descriptors[1:])
        reading.add_done_callback(prepare)

    def _handle(self, message: Message) -> None:
        values = message.values
        if message.cut:
            log.error("no descriptor was left for a message (%s); all is asked for", message.kind)
            self._channel.send("lost")
        elif message.kind == "prepare":
            block, *steps = message.descriptors
            self._prepare(values["generation"], values["full"], block, partial(read_deltas, steps))
        elif message.kind == "activate":
            self._activate(values["generation"])
        elif message.kind == "discard":
            self._discard(values["generation"])
        elif message.kind == "endpoints":
            self._set_endpoints(pickle.loads(read_memory(message.descriptors[0])))
        elif message.kind == "document":
            documents.put(values["path"], read_memory(message.descriptors[0]))
        elif message.kind == "health":
            self._data_plane.answer_ping(values["healthy"], values["ready"])
        elif message.kind == "tickets":
            self._data_plane.set_ticket_keys([bytes.fromhex(key) for key in values["keys"]])
        elif message.kind == "drain":
            # The parent has waited and has closed its listeners: ours are the last.
            self._accept_grace = 0.0
            self.ending.set()
        elif message.kind == "listen" and not self._listening:
            self._listening = True
            # What is here now lives long; the collector need not walk it again.
            gc.collect()
            gc.freeze()
            for index, descriptor in self._place.listeners:
                self._data_plane.listen(descriptor, index)

    def _prepare(
        self, generation: int, full: bool, block: int, read: Callable[[], list[Delta]]
    ) -> None:
        try:
            change, self._prepared = self._change(generation, full, read())
            self._data_plane.prepare(generation, block, change)
        except Exception as error:  # whatever is wrong with it, the running one must go on
            log.exception("generation %d cannot be prepared", generation)
            self._prepared = None
            reason = f"{type(error).__name__}: {error}"[:4096]
            self._channel.send("refused", generation=generation, reason=reason)
        else:
            self._channel.send("prepared", generation=generation)

    def _change(self, generation: int, full: bool, deltas: list[Delta]) -> tuple[Change, _Prepared]:
        """Return what the engine must do; only slots named by the deltas are looked at."""
        old, new = self._state, State() if full else self._state.copy()
        for delta in deltas:
            new.apply(delta)
        filters, backends, certificates = (
            touched(kind, old, new, None if full else deltas)
            for kind in ("filters", "backends", "certificates")
        )
        new_backends = changed(old.backends, new.backends, backends)
        endpoints = {
            slot: specification.endpoints
            for slot, specification in new_backends.items()
            if slot in old.backends and only_endpoints(old.backends[slot], specification)
        }
        change = Change(
            {
                s: self._make_filter(c)
                for s, c in changed(old.filters, new.filters, filters).items()
            },
            removed(old.filters, new.filters, filters),
            {s: b for s, b in new_backends.items() if s not in endpoints},
            removed(old.backends, new.backends, backends),
            changed(old.certificates, new.certificates, certificates),
            removed(old.certificates, new.certificates, certificates),
        )
        return change, _Prepared(generation, new, endpoints)

    def _activate(self, generation: int) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is None or prepared.generation != generation:
            # What should have prepared it has not reached us whole.
            self._channel.send("lost")
            return
        self._data_plane.activate(generation)
        self._state = prepared.state
        for slot, endpoints in prepared.endpoints.items():
            self._data_plane.set_endpoints(slot, endpoints)
        self._channel.send("activated", generation=generation)

    def _discard(self, generation: int) -> None:
        if self._prepared is not None:
            self._prepared = None
            self._data_plane.discard(generation)

    def _set_endpoints(self, delta: Delta) -> None:
        for slot, specification in delta.backends.items():
            if self._state.backends.get(slot) != specification:
                self._state.backends[slot] = specification
                self._data_plane.set_endpoints(slot, specification.endpoints)

    async def drain(self) -> None:
        """Stop as `http-safety.md` 4 "Shutdown" says."""
        life = self._place.settings.life_cycle
        loop = asyncio.get_running_loop()
        self._data_plane.answer_ping(False, False)
        await asyncio.sleep(self._accept_grace)
        self._data_plane.stop_accepting()
        for _, descriptor in self._place.listeners:
            with contextlib.suppress(OSError):  # the engine may have closed it
                os.close(descriptor)
        self._data_plane.drain()
        deadline = loop.time() + life.grace_time_out
        while self._data_plane.active and loop.time() < deadline:
            await asyncio.sleep(POLL)
        self._closed = True
        await self._data_plane.close()


def run(place: Place) -> None:
    """The main function of a worker process with the real engine and all features."""
    from fastproxy.engine.data_plane import DataPlane as Engine
    from fastproxy.features import FEATURE_OF

    def make_filter(config: Config) -> Any:
        """Return the live filter; features whose operations need only the values have none."""
        make = FEATURE_OF[type(config)].filter
        return config if make is None else make(config)

    def build(loop: asyncio.AbstractEventLoop, place: Place) -> DataPlane:
        engine = Engine(
            loop,
            place.settings,
            worker=place.number,
            shared=place.shared,
            observed=place.observed,
        )
        observed.set_address(place.observed.address if place.observed else "")
        if place.ticket_keys:
            engine.set_ticket_keys(place.ticket_keys)
        return engine

    run_with(place, build, make_filter)


def run_with(place: Place, build: Build, make_filter: MakeFilter) -> None:
    """Run a worker around any data plane."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(place, build, make_filter))


async def _main(place: Place, build: Build, make_filter: MakeFilter) -> None:
    loop = asyncio.get_running_loop()
    channel = Channel(socket.socket(fileno=place.channel))
    channel.set_timeout(0)
    channel.keep_room(allowed(0, len(place.listeners)).room)
    worker = Worker(place, channel, build(loop, place), make_filter)
    loop.add_signal_handler(signal.SIGTERM, worker.ending.set)
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop.add_signal_handler(signal.SIGUSR1, logs.reopen)
    loop.add_reader(channel.fileno(), worker.on_readable)
    channel.send("hello")
    await worker.ending.wait()
    await worker.drain()
    loop.remove_reader(channel.fileno())
