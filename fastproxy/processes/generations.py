"""The parent's side of publishing: ask all workers, switch all, remember what is live.

Idea: a generation is *prepared* by every worker beside the running one; when all have acknowledged,
all are told to *activate* it, and only then does it replace the remembered state. The controller
gets its answer when all have said that they use it. One refusal discards it everywhere.

The parent passes descriptors on and never looks into them.

What is live is a log: the table block, and the steps (delta, memory) that lead to the state. A new
worker gets the whole log in one message, a restarted controller too.

A message that did not reach a worker whole (its table of descriptors was full) is not sent again:
the worker says that it has lost one and gets the whole state, as a new worker does, while it goes
on with its traffic. One that the controller sent and we could not read is refused.

Invariants: at most one generation is in preparation; a worker that starts meanwhile waits until
it is decided; a worker that says nothing for too long is killed, not waited for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from fastproxy.system.channel import Message, close_all

log = logging.getLogger(__name__)

PATIENCE = 20.0  # seconds a worker may take to prepare
AGAIN = 0.2  # seconds until the whole state is sent again to a worker that could not take it


NO_ROOM = "the first process has no descriptors left (ulimit -n); it is tried again"


class Stage(Enum):
    STARTING = "has not said hello yet"
    WAITING = "needs the live generation, which it cannot be given yet"
    LOADING = "prepares the live generation"
    SERVING = "listens"
    GONE = "ended"


class Worker(Protocol):
    """What is needed of a worker process."""

    stage: Stage

    def send(self, kind: str, descriptors: Sequence[int] = (), /, **values: Any) -> bool: ...
    def kill(self, reason: str) -> None: ...


@dataclass(slots=True)
class Live:
    """The live generation; owns its descriptors. Generation 0: nothing was published yet."""

    generation: int = 0
    block: int = -1
    steps: list[tuple[int, ...]] = field(default_factory=list)  # (delta,) or (delta, memory)

    def descriptors(self, memories: bool) -> list[int]:
        """Return the block, then the steps: deltas only for workers, all for the controller."""
        if not self.generation:
            return []
        return [self.block, *(d for step in self.steps for d in (step if memories else step[:1]))]


class Phase(Enum):
    """Of the generation the controller waits for."""

    QUEUED = "waits for workers that start"
    PREPARING = "waits until all have prepared it"
    SWITCHING = "is live, and waits until all have said that they use it"


@dataclass(slots=True)
class _Preparation:
    message: Message
    waiting: list[Worker]
    deadline: float = 0.0
    phase: Phase = Phase.QUEUED


class Generations:
    """Decides what is live. `answer` sends a reply to the controller."""

    def __init__(
        self, workers: Callable[[], Sequence[Worker]], answer: Callable[..., object]
    ) -> None:
        self._workers = workers
        self._answer = answer
        self._live = Live()
        self._documents: dict[str, Sequence[int]] = {}  # by path: what the API shows
        self._preparation: _Preparation | None = None
        self._version = 0  # counts the steps that became live
        self.refused = 0  # those that did not
        self._loaded: dict[Worker, int] = {}  # what a loading worker was given
        self._behind: dict[Worker, float] = {}  # it has lost a message; until when it may need
        self._again_at: float | None = None  # when to load those which wait
        self._now = 0.0
        self._healthy = True
        self.ready = False  # a first complete generation is live in every worker

    @property
    def version(self) -> int:
        """How many generations and moves of endpoints have become live."""
        return self._version

    @property
    def live(self) -> Live:
        return self._live

    @property
    def deadline(self) -> float | None:
        """When `expire` wants to be called, if ever."""
        preparation = self._preparation
        moments = [*self._behind.values()]
        if preparation is not None and preparation.waiting:
            moments.append(preparation.deadline)
        if self._again_at is not None:
            moments.append(self._again_at)
        return min(moments, default=None)

    def from_controller(self, message: Message, now: float) -> None:
        """Handle `publish`, `endpoints` and `document`."""
        self._now = now
        if message.cut:
            self._answer("refused", reason=NO_ROOM)
            return
        if message.kind == "document":
            path = message.values["path"]
            close_all(self._documents.pop(path, ()))
            self._documents[path] = message.descriptors
            self._to_serving("document", message.descriptors, path=path)
            self._answer("done")
            return
        if message.kind == "endpoints":
            self._to_serving("endpoints", message.descriptors[:1])
            self._remember(message)
            self._answer("done")
            return
        self.abandon()
        self._preparation = _Preparation(message, [])
        self.proceed(now)

    def from_worker(self, worker: Worker, message: Message, now: float) -> None:
        """Handle `hello`, `prepared`, `refused`, `activated` and `lost`."""
        self._now = now
        if message.kind == "lost":
            self._lost(worker)
        elif message.kind == "hello":
            worker.stage = Stage.WAITING
            if not self._deciding:
                self._load(worker)
        elif worker.stage is Stage.LOADING:
            if message.values.get("generation") != self._live.generation:
                pass  # about one that was abandoned before the worker had lost something
            elif message.kind == "prepared" and self._loaded.pop(worker) != self._version:
                self._load(worker)  # endpoints have moved since
            elif message.kind == "prepared":
                worker.send("activate", generation=self._live.generation)
                self._serve(worker)
            elif message.kind == "refused":
                worker.kill(f"it refused the live generation: {message.values.get('reason')}")
        elif self._preparation is not None and worker in self._preparation.waiting:
            self._vote(self._preparation, worker, message)
        self.proceed(now)

    def gone(self, worker: Worker, now: float) -> None:
        """A worker has died: its voice does not count any more."""
        self._now = now
        worker.stage = Stage.GONE
        self._loaded.pop(worker, None)
        self._behind.pop(worker, None)
        if self._preparation is not None and worker in self._preparation.waiting:
            self._preparation.waiting.remove(worker)
        self.proceed(now)

    def expire(self, now: float) -> None:
        """Kill the workers that let a generation wait for too long; load those which wait."""
        self._now = now
        preparation = self._preparation
        if preparation is not None and preparation.waiting and now >= preparation.deadline:
            for worker in [*preparation.waiting]:
                worker.kill(f"it did not answer about a generation within {PATIENCE:g} s")
                preparation.waiting.remove(worker)
            self.proceed(now)
        for worker in [worker for worker, until in self._behind.items() if now >= until]:
            del self._behind[worker]
            worker.kill(f"it could not take the live generation within {PATIENCE:g} s")
        if self._again_at is not None and now >= self._again_at:
            self._again_at = None
            if not self._deciding:
                self._load_waiting()

    @property
    def _deciding(self) -> bool:
        """Whether a worker must not be given the live generation, because another may follow."""
        preparation = self._preparation
        return preparation is not None and preparation.phase is not Phase.QUEUED

    def _lost(self, worker: Worker) -> None:
        """It did not get a message whole, and needs the whole state."""
        preparation = self._preparation
        if preparation is not None and worker in preparation.waiting:
            preparation.waiting.remove(worker)
        self._loaded.pop(worker, None)
        once = worker.stage is not Stage.LOADING
        self._wait(worker)
        if once and not self._deciding:
            self._load(worker)

    def _wait(self, worker: Worker) -> None:
        """Give it the live generation later."""
        worker.stage = Stage.WAITING
        self._behind.setdefault(worker, self._now + PATIENCE)
        self._again_at = self._now + AGAIN

    def abandon(self) -> None:
        """Forget the generation in preparation (its controller died); what is live stays."""
        preparation, self._preparation = self._preparation, None
        if preparation is None:
            return
        if preparation.phase is Phase.PREPARING:
            self._to_serving("discard", generation=preparation.message.values["generation"])
        if preparation.phase is Phase.SWITCHING:
            self._become_ready()  # all will use it before they read that they are ready
        else:
            close_all(preparation.message.descriptors)
        self._load_waiting()

    def proceed(self, now: float) -> None:
        """Do the next steps that are possible now."""
        preparation = self._preparation
        if preparation is None:
            return
        if preparation.phase is Phase.QUEUED:
            stages = {worker.stage for worker in self._workers()}
            if Stage.SERVING not in stages or {Stage.STARTING, Stage.LOADING} & stages:
                return
            self._ask(preparation, Phase.PREPARING, now)
        if preparation.phase is Phase.PREPARING and not preparation.waiting:
            if Stage.SERVING not in {worker.stage for worker in self._workers()}:
                # All died over it; the controller will try again.
                self._refuse("no worker survived preparing it")
                return
            self._ask(preparation, Phase.SWITCHING, now)
            self._remember(preparation.message)
        if preparation.phase is Phase.SWITCHING and not preparation.waiting:
            self._preparation = None
            self._become_ready()  # before the answer: who hears that it is done may rely on it
            self._answer("done")
            self._load_waiting()

    def _become_ready(self) -> None:
        if not self.ready:
            self.ready = True
            self.tell_health(self._healthy)

    def _ask(self, preparation: _Preparation, phase: Phase, now: float) -> None:
        """Send the message that begins a phase to all serving workers."""
        message = preparation.message
        preparation.phase, preparation.deadline = phase, now + PATIENCE
        generation = message.values["generation"]
        if phase is Phase.SWITCHING:
            preparation.waiting = self._to_serving("activate", generation=generation)
        else:
            preparation.waiting = self._to_serving(
                "prepare", message.descriptors[:2], generation=generation,
                full=message.values["full"],
            )  # fmt: skip

    def _vote(self, preparation: _Preparation, worker: Worker, message: Message) -> None:
        if message.values.get("generation") != preparation.message.values["generation"]:
            return
        if message.kind == "refused":
            self._refuse(message.values.get("reason", "without a reason"))
        elif (message.kind == "prepared") == (preparation.phase is Phase.PREPARING):
            preparation.waiting.remove(worker)

    def _refuse(self, reason: str) -> None:
        self.abandon()
        self.refused += 1
        self._answer("refused", reason=reason)

    def _remember(self, message: Message) -> None:
        """Take over the descriptors of a step that is live now."""
        live = self._live
        self._version += 1
        descriptors = message.descriptors
        outdated: list[int] = []
        if message.kind == "publish":
            outdated += [live.block] if live.generation else []
            live.block, live.generation = descriptors[0], message.values["generation"]
            descriptors = descriptors[1:]
        if message.values.get("full") or message.values.get("rebase"):
            outdated += [d for step in live.steps for d in step]
            live.steps = []
        if message.values.get("rebase"):  # the last two are the whole state, this step included
            outdated += descriptors[:-2]
            descriptors = descriptors[-2:]
        elif steps := message.values.get("merge"):  # the last is the union of so many steps
            kept = len(live.steps) - (steps - 1)
            outdated += [*descriptors[:-1], *(d for step in live.steps[kept:] for d in step)]
            del live.steps[kept:]
            descriptors = descriptors[-1:]
        live.steps.append(tuple(descriptors))
        close_all(outdated)

    def _load_waiting(self) -> None:
        for worker in self._workers():
            if worker.stage is Stage.WAITING:
                self._load(worker)

    def _load(self, worker: Worker) -> None:
        """Bring a new worker to the live generation; without one it listens at once (404)."""
        live = self._live
        if not live.generation:
            self._serve(worker)
            return
        worker.stage = Stage.LOADING
        self._loaded[worker] = self._version
        if not worker.send(
            "prepare", live.descriptors(memories=False), generation=live.generation, full=True
        ):
            self._wait(worker)

    def _serve(self, worker: Worker) -> None:
        worker.stage = Stage.SERVING
        self._behind.pop(worker, None)
        for path, descriptors in self._documents.items():
            worker.send("document", descriptors, path=path)
        worker.send("health", healthy=self._healthy, ready=self._healthy and self.ready)
        worker.send("listen")

    def tell_health(self, healthy: bool) -> None:
        """Say what `/ping` and, with readiness, `/ready` answer from now on."""
        self._healthy = healthy
        self._to_serving("health", healthy=healthy, ready=healthy and self.ready)

    def _to_serving(
        self, kind: str, descriptors: Sequence[int] = (), /, **values: Any
    ) -> list[Worker]:
        """Send to all serving workers; return those it could be sent to. The others are loaded
        anew, unless they have died."""
        serving = [worker for worker in self._workers() if worker.stage is Stage.SERVING]
        sent = [worker for worker in serving if worker.send(kind, descriptors, **values)]
        for worker in serving:
            if worker not in sent:
                self._wait(worker)
        return sent
