"""The first process: owns the listening sockets and the shared memory, and keeps the others alive.

It knows no feature and no Kubernetes, runs no thread and answers no request, so that nothing a
request or an object contains can make it fail. As process 1 of a container it also reaps orphans.

A worker that dies is replaced with the same sockets, so the connections queued in them are served.
A controller that dies is restarted; the workers go on meanwhile. When this process dies, the
kernel sends SIGTERM to all others (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fastproxy.counters import reloads
from fastproxy.counters.reloads import Reloads
from fastproxy.processes.child import OBSERVER_NUMBER, Child
from fastproxy.processes.generations import Generations, Stage
from fastproxy.processes.heartbeat import LOOK, Heartbeats
from fastproxy.processes.rings import Observed, Rings, make_rings
from fastproxy.settings.options import Settings
from fastproxy.settings.tls_options import rotated
from fastproxy.system import children, logs
from fastproxy.system.channel import Channel, Message, channel_pair, close_all
from fastproxy.system.listeners import open_listeners, refuse_handshakes, without_taken
from fastproxy.system.processors import usable_processors
from fastproxy.system.titles import show_title

log = logging.getLogger(__name__)

LISTENED = (signal.SIGHUP, signal.SIGUSR1)
STOPPING = (signal.SIGTERM, signal.SIGINT)
HANGUP = (
    "SIGHUP: nothing is read again. Routes, Secrets and manifests are followed by themselves; the"
    " settings and the files they name are read at the start only, so restart for those. SIGUSR1"
    " opens log files anew"
)
TICKET_ROTATION = 6 * 3600.0  # seconds; a ticket lives two hours and its key four rotations
SETTLE = 0.1  # seconds in which handshakes under way complete, before the listeners are closed
START = 30.0  # seconds until a new worker must serve; generations wait for it
MOST_DESCRIPTORS = 4  # in a message of the controller
LAST_LINES = 5.0  # seconds the observer has to write what is left when all others have ended
LAST_WORD = 2.0  # seconds a process may take to end beyond the times of [lifeCycle]


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker process is given; the descriptors are open in it."""

    number: int
    settings: Settings
    channel: int
    shared: int
    listeners: tuple[tuple[int, int], ...]  # (index in sorted(entry_points), descriptor)
    ticket_keys: tuple[bytes, ...] = ()  # of TLS sessions, see tls_options.rotated
    observed: Observed | None = None  # where it tells the observer what it has seen


@dataclass(frozen=True, slots=True)
class Programs:
    """What the children run. `controller` gets the descriptor of its channel and of the shared
    memory, and the settings."""

    worker: Callable[[Place], None]
    controller: Callable[[int, Settings, int], None] | None
    observer: Callable[[Settings, Rings, int], None] | None
    forget_worker: Callable[[int, int], None]  # (shared memory, number of a dead worker)


class Parent:
    """Runs everything; `run` returns the exit code."""

    def __init__(
        self,
        settings: Settings,
        programs: Programs,
        shared: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Bind all listeners; raises listeners.ListenError, OSError for memory."""
        self._programs = programs
        self._shared = shared
        self._clock = clock
        count = settings.workers or usable_processors()
        self.unheard: list[str] = []  # why the implicit entry point is not there
        settings = without_taken(settings, self.unheard)
        self.settings, rows = open_listeners(settings, count)
        self.workers = [Child(number, listeners) for number, listeners in enumerate(rows)]
        self.controller = Child(-1)
        if programs.controller is None:
            self.controller.due = None
        self._rings = make_rings(self.settings, len(rows)) if programs.observer else None
        self.observer = Child(OBSERVER_NUMBER)
        if self._rings is None:
            self.observer.due = None
        self._selector = selectors.DefaultSelector()
        with_tls = any(point.tls is not None for point in self.settings.entry_points.values())
        self._ticket_keys = rotated() if with_tls else ()
        self._rotate_at = clock() + TICKET_ROTATION if with_tls else None
        self._generations = Generations(lambda: self.workers, self.controller.send)
        self._reloads = Reloads()
        self._heartbeats = Heartbeats(shared)
        self._looked_at = clock()
        self._stopping: float | None = None  # since when
        self._killed = False
        self._observed_until: float | None = None  # when the observer is killed
        self._deaf_at: float | None = None  # when the listeners take no more handshakes
        self._drain_at: float | None = None

    def run(self) -> int:
        wake, woken = socket.socketpair(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        for number in (*STOPPING, *LISTENED, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(wake, selectors.EVENT_READ)
        try:
            while not self._finished():
                self._start_due()
                for key, _ in self._selector.select(self._wait()):
                    if key.fileobj is wake:
                        self._on_signals(wake.recv(4096))
                    elif isinstance(key.data, Child):
                        self._on_readable(key.data)
                self._on_time()
        finally:
            self._kill_all()
        log.info("all processes have ended")
        return 0

    # Time.

    def _wait(self) -> float | None:
        """Return the seconds until something is due."""
        moments = [child.due for child in self._children()]
        moments += [self._generations.deadline, self._deaf_at, self._drain_at, self._kill_at()]
        moments += [self._observed_until]
        moments += [
            self._look_at(),
            self._rotate_at,
            *(worker.must_serve_at for worker in self.workers),
        ]
        known = [moment for moment in moments if moment is not None]
        return max(0.0, min(known) - self._clock()) if known else None

    def _on_time(self) -> None:
        now = self._clock()
        self._generations.expire(now)
        for worker in self.workers:
            if worker.must_serve_at is not None and now >= worker.must_serve_at:
                worker.must_serve_at = None
                if worker.stage in (Stage.STARTING, Stage.LOADING):
                    worker.kill(f"it did not begin to serve within {START:g} s")
        look_at = self._look_at()
        if look_at is not None and now >= look_at:
            elapsed, self._looked_at = now - self._looked_at, now
            for number, how in self._heartbeats.hanging(self._serving(), elapsed):
                (self.workers[number] if number >= 0 else self.controller).kill(how)
        if self._rotate_at is not None and now >= self._rotate_at:
            self._rotate_at = now + TICKET_ROTATION
            self._rotate_ticket_keys()
        if self._deaf_at is not None and now >= self._deaf_at:
            self._deaf_at = None
            self._stop_handshakes()
            self._drain_at = now + SETTLE
        if self._drain_at is not None and now >= self._drain_at:
            self._drain_at = None
            self._drain()
        deadline = self._kill_at()
        if deadline is not None and now >= deadline:
            self._kill(self._serving())
        if self._stopping is not None and self._observed_until is None and self._alone():
            self._observed_until = now + LAST_LINES + LAST_WORD
            self.observer.signal(signal.SIGTERM)
        if self._observed_until is not None and now >= self._observed_until:
            self._kill_all()

    def _kill_at(self) -> float | None:
        if self._stopping is None or self._killed:
            return None
        return self._stopping + self._to_leave()

    def _to_leave(self) -> float:
        """Seconds a child has for its end."""
        life = self.settings.life_cycle
        return life.request_accept_grace_timeout + life.grace_time_out + SETTLE + LAST_WORD

    def _look_at(self) -> float | None:
        """When to look at the children's heartbeats; their end has deadlines of its own."""
        return self._looked_at + LOOK if self._stopping is None else None

    def _rotate_ticket_keys(self) -> None:
        self._ticket_keys = rotated(self._ticket_keys)
        for worker in self.workers:
            worker.send("tickets", keys=[key.hex() for key in self._ticket_keys])

    # Children.

    def _serving(self) -> list[Child]:
        return [*self.workers, self.controller]

    def _children(self) -> list[Child]:
        return [*self._serving(), self.observer]

    def _alone(self) -> bool:
        """Whether only the observer is left."""
        return not any(child.pid for child in self._serving())

    def _start_due(self) -> None:
        now = self._clock()
        for child in self._children():
            if child.due is not None and child.due <= now:
                child.due = None
                self._start(child, now)

    def _start(self, child: Child, now: float) -> None:
        try:
            ours, theirs = channel_pair()
        except OSError as error:
            self._postpone(child, now, error)
            return
        ours.set_timeout(0)
        keep = [theirs.fileno(), self._shared, *(s.fileno() for _, s in child.listeners)]
        if child is not self.observer:
            self._heartbeats.forget(child.number)
        if child is self.controller:
            ours.keep_room(MOST_DESCRIPTORS)
        elif self._rings is not None:
            keep += self._rings.descriptors
        runs = {id(self.controller): self._run_controller, id(self.observer): self._run_observer}
        run = runs.get(id(child), self._run_worker)
        try:
            child.pid = children.spawn(
                lambda: run(child, theirs), keep, child.name, self._to_leave()
            )
        except OSError as error:
            ours.close()
            self._postpone(child, now, error)
            return
        finally:
            theirs.close()
        child.channel = ours
        child.must_serve_at = now + START if child in self.workers else None
        child.stage = Stage.STARTING
        child.back_off.started(now)
        self._selector.register(ours, selectors.EVENT_READ, child)
        log.info("%s runs as process %d", child.name, child.pid)
        if child is self.controller:
            live = self._generations.live
            child.send("state", live.descriptors(memories=True), generation=live.generation)

    def _postpone(self, child: Child, now: float, error: OSError) -> None:
        """The machine is out of processes or descriptors; that may pass."""
        child.due = now + child.back_off.largest
        log.error("%s cannot be started (%s); trying again", child.name, error)

    def _run_worker(self, child: Child, channel: Channel) -> None:
        show_title(f"fastproxy: {child.name}", f"fastproxy-w{child.number}")
        listeners = tuple((index, listener.fileno()) for index, listener in child.listeners)
        rings = self._rings
        place = Place(
            *(child.number, self.settings, channel.fileno(), self._shared, listeners),
            ticket_keys=self._ticket_keys,
            observed=rings.of(child.number) if rings else None,
        )
        self._programs.worker(place)

    def _run_controller(self, child: Child, channel: Channel) -> None:
        assert self._programs.controller is not None
        show_title("fastproxy: controller", "fastproxy-ctl")
        self._programs.controller(channel.fileno(), self.settings, self._shared)

    def _run_observer(self, child: Child, channel: Channel) -> None:
        assert self._programs.observer is not None and self._rings is not None
        show_title("fastproxy: observer", "fastproxy-obs")
        self._programs.observer(self.settings, self._rings, self._shared)

    def _on_readable(self, child: Child) -> None:
        if child.channel is None:
            return
        try:
            message = child.channel.receive()
        except BlockingIOError:
            return
        except OSError as error:
            child.kill(str(error))
            message = None
        if message is None:
            self._close_channel(child)  # its death follows, or it is useless without
        else:
            self._on_message(child, message)
            if child.channel is not None:
                child.channel.hold_room()

    def _on_message(self, child: Child, message: Message) -> None:
        if child is self.controller:
            self._generations.from_controller(message, self._clock())
        elif child is not self.observer:
            close_all(message.descriptors)
            self._generations.from_worker(child, message, self._clock())
        self._count_reloads()

    def _count_reloads(self) -> None:
        before, found = self._reloads, self._generations
        if (found.version, found.refused) == (before.changes, before.failures):
            return
        now = int(time.time())
        success = now if found.version != before.changes else before.last_success
        failure = now if found.refused != before.failures else before.last_failure
        self._reloads = Reloads(found.version, success, found.refused, failure)
        reloads.write(self._shared, self._reloads)

    def _close_channel(self, child: Child) -> None:
        if child.channel is not None:
            self._selector.unregister(child.channel)
            child.channel.close()
            child.channel = None
            child.signal(signal.SIGTERM)

    def _on_signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number in STOPPING:
                self._on_stop(number)
            elif number == signal.SIGHUP:
                log.info(HANGUP)
            elif number == signal.SIGUSR1:
                logs.reopen()
                for child in self._children():
                    child.signal(number)
        self._reap()  # signals coalesce, so look whatever came

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children():
                if child.pid == pid:
                    self._on_death(child, os.waitstatus_to_exitcode(status))

    def _on_death(self, child: Child, code: int) -> None:
        now = self._clock()
        child.pid = 0
        self._close_channel(child)
        if self._stopping is None:
            delay = child.back_off.delay(now)
            how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
            log.error("%s has died (%s); the next starts in %g s", child.name, how, delay)
            child.due = now + delay
        if child is self.controller:
            self._generations.abandon()
        elif child is not self.observer:
            if self._rings is not None:
                self._rings.forget(child.number)
            self._programs.forget_worker(self._shared, child.number)
            self._generations.gone(child, now)

    # The end.

    def _on_stop(self, number: int) -> None:
        if self._stopping is not None:  # asked twice: at once
            self._kill_all()
            return
        log.info("%s: stopping", signal.Signals(number).name)
        self._stopping = self._clock()
        self._deaf_at = self._stopping + self.settings.life_cycle.request_accept_grace_timeout
        for child in self._children():
            child.due = None
        self._generations.tell_health(False)

    def _stop_handshakes(self) -> None:
        # The controller has lived until here so that endpoints stayed current.
        self.controller.signal(signal.SIGTERM)
        for worker in self.workers:
            for _, listener in worker.listeners:
                refuse_handshakes(listener)

    def _drain(self) -> None:
        for worker in self.workers:
            # Ours first: when a worker closes its own, nothing can queue behind its last look.
            for _, listener in worker.listeners:
                listener.close()
            if worker.stage is not Stage.SERVING or not worker.send("drain"):
                worker.signal(signal.SIGTERM)

    def _finished(self) -> bool:
        return self._stopping is not None and not any(child.pid for child in self._children())

    def _kill_all(self) -> None:
        self._kill(self._children())

    def _kill(self, whom: Iterable[Child]) -> None:
        self._killed = True
        for child in whom:
            child.signal(signal.SIGKILL)
