"""Publisher, parent's side and worker's side together, in one process and without waiting."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.engine.operations.writer import Operation, Scripted
from fastproxy.feature import BuildContext, Feature, OnInvalid, Scope
from fastproxy.model.configuration import Backend, Certificate, Config, Desired, Endpoint, Route
from fastproxy.processes import generations
from fastproxy.processes.generations import Generations, Stage
from fastproxy.processes.parent import Place
from fastproxy.processes.worker import Worker
from fastproxy.publish import publisher as publishing
from fastproxy.publish.publisher import Publisher
from fastproxy.settings.options import EntryPoint, Settings
from fastproxy.system import documents
from fastproxy.system.channel import Channel, Message, close_all
from tests.support.stand_in import REFUSED_NAME, StandIn, build_matcher

SETTINGS = Settings(entry_points={"http": EntryPoint(":80")})


@dataclass(frozen=True)
class Script(Config):
    text: str


def build(config: Script, context: BuildContext) -> Sequence[Operation]:
    context.counters("rate", 1)
    return (Scripted(config=config),)


FEATURES = (
    Feature(
        "Script", Scope.INGRESS, (), lambda notes, refs: None, OnInvalid.OFF, Script,
        build=cast(Any, build),
    ),
)  # fmt: skip


class FakeWorker:
    """The real worker's side around a stand-in data plane, without a process."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.stage = Stage.STARTING
        self.silent = False
        self.reading = ""  # the only kind of message that is read, or "" for all
        self.cut: Callable[[str], bool] = lambda kind: False  # whose descriptors get lost
        self.full = False  # the kernel takes no message for it
        self.data_plane = StandIn()
        place = Place(0, SETTINGS, -1, -1, ())
        channel = cast(Channel, self)  # what the worker sends comes back through `reply`
        self.worker = Worker(place, channel, self.data_plane, lambda config: config)
        self.incoming: deque[Message] = deque()

    def send(self, kind: str, descriptors: Sequence[int] = (), /, **values: Any) -> bool:
        if kind in ("prepared", "refused", "activated", "hello", "lost"):  # to the parent
            self.system.replies.append((self, Message(kind, values)))
        elif self.full:
            return False
        elif descriptors and self.cut(kind):
            self.incoming.append(Message(kind, values, (), cut=True))
        else:
            self.incoming.append(Message(kind, values, tuple(map(os.dup, descriptors))))
        return True

    def kill(self, reason: str) -> None:
        self.system.killed.append(reason)

    def work(self) -> None:
        while self.incoming and not self.silent:
            if self.reading and self.incoming[0].kind not in (self.reading, "health", "listen"):
                return
            message = self.incoming.popleft()
            self.worker._handle(message)
            close_all(message.descriptors)


class System:
    """All sides; also the controller's channel."""

    def __init__(self, workers: int = 2) -> None:
        self.replies: deque[tuple[FakeWorker, Message]] = deque()
        self.answers: deque[Message] = deque()
        self.killed: list[str] = []
        self.workers: list[FakeWorker] = []
        self.generations = Generations(lambda: self.workers, self.answer)
        self.cleared: list[tuple[str, int]] = []
        self.cut: Callable[[str], bool] = lambda kind: False  # what the parent cannot read
        self.state_is_cut = False
        for _ in range(workers):
            self.start_worker()

    def answer(self, kind: str, descriptors: Sequence[int] = (), /, **values: Any) -> None:
        self.answers.append(Message(kind, values, tuple(map(os.dup, descriptors))))

    def set_timeout(self, seconds: float | None) -> None:
        pass

    def close(self) -> None:
        pass

    def send(self, kind: str, descriptors: Sequence[int] = (), /, **values: Any) -> None:
        if self.cut(kind):
            self.generations.from_controller(Message(kind, values, (), cut=True), 0.0)
        else:
            copies = tuple(map(os.dup, descriptors))
            self.generations.from_controller(Message(kind, values, copies), 0.0)
        self.pump()

    def receive(self) -> Message | None:
        if not self.answers:
            raise TimeoutError
        return self.answers.popleft()

    def pump(self) -> None:
        busy = True
        while busy:
            for worker in self.workers:
                worker.work()
            busy = bool(self.replies)
            while self.replies:
                worker, message = self.replies.popleft()
                if worker in self.workers:
                    self.generations.from_worker(worker, message, 0.0)

    def start_worker(self) -> FakeWorker:
        worker = FakeWorker(self)
        self.workers.append(worker)
        worker.send("hello")
        self.pump()
        return worker

    def kill_worker(self, number: int) -> None:
        worker = self.workers.pop(number)
        for message in worker.incoming:
            close_all(message.descriptors)
        self.generations.gone(worker, 0.0)
        self.pump()

    def replace_worker_silently(self) -> FakeWorker:
        """Start a worker that does not read yet what it is given."""
        self.kill_worker(0)
        worker = FakeWorker(self)
        worker.silent = True
        self.workers.append(worker)
        worker.send("hello")
        self.pump()
        return worker

    def start_controller(self) -> Publisher:
        self.generations.abandon()
        self.answers.clear()
        live = self.generations.live
        if self.state_is_cut:
            self.answers.append(Message("state", {"generation": live.generation}, (), cut=True))
        else:
            self.answer("state", live.descriptors(memories=True), generation=live.generation)
        return Publisher(
            cast(Channel, self), SETTINGS, FEATURES, build_matcher,
            lambda kind, slot: self.cleared.append((kind, slot)), {"rate": 1000},
        )  # fmt: skip

    def close_everything(self) -> None:
        self.generations.abandon()
        close_all(self.generations.live.descriptors(memories=True))
        for descriptors in self.generations._documents.values():
            close_all(descriptors)


@contextmanager
def system(workers: int = 2) -> Iterator[System]:
    """A system that must not lose a descriptor."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    it = System(workers)
    yield it
    it.close_everything()
    # Fewer: something left over by another test was closed meanwhile.
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def desired(
    *routes: tuple[str, str], urls: Sequence[int] = (1,), certificates: str = ""
) -> Desired:
    """A route is its name and the text of its script ("" for none)."""
    endpoints = tuple(Endpoint("http", f"10.0.0.{i}", 80) for i in urls)
    return Desired(
        tuple(
            Route(name, ("http",), (), 1, f"backend-{name}", (Script(text),) if text else ())
            for name, text in routes
        ),
        tuple(Backend(f"backend-{name}", endpoints) for name, _ in routes),
        tuple(Certificate(name, ("http",), b"chain", b"key") for name in certificates),
    )


def check(system: System, expected: Desired) -> None:
    """Every serving worker holds exactly what is desired."""
    serving = [w.data_plane for w in system.workers if w.stage is Stage.SERVING]
    assert serving
    for plane in serving:
        assert plane.routes == [route.name for route in expected.routes]
        assert sorted(f.text for f in plane.filters.values()) == sorted(
            config.text for route in expected.routes for config in cast(Any, route.configs)
        )
        found = sorted((b.name, b.endpoints) for b in plane.backends.values())
        assert found == sorted((b.name, b.endpoints) for b in expected.backends)


def test_one_generation_after_the_other() -> None:
    with system() as it:
        publisher = it.start_controller()
        assert not it.generations.ready
        assert [w.data_plane.calls for w in it.workers] == [[], []]
        for state in (desired(("a", "x"), ("b", "")), desired(("b", "y"), certificates="c")):
            assert publisher.publish(state)
            check(it, state)
        assert it.generations.ready
        assert all(w.data_plane.ready for w in it.workers)
        assert it.workers[0].data_plane.calls == [
            "prepare 1", "activate 1", "prepare 2", "activate 2",
        ]  # fmt: skip


def test_the_first_generation_may_be_empty() -> None:
    with system() as it:
        assert it.start_controller().publish(Desired())
        assert it.generations.ready
        assert it.workers[1].data_plane.generation == 1


def test_what_is_equal_is_not_published() -> None:
    with system() as it:
        publisher = it.start_controller()
        assert publisher.publish(desired(("a", "x")))
        assert publisher.publish(desired(("a", "x")))
        assert publisher.generation == 1
        assert it.workers[0].data_plane.calls == ["prepare 1", "activate 1"]


def test_only_endpoints_travel_when_only_they_differ() -> None:
    with system() as it:
        publisher = it.start_controller()
        publisher.publish(desired(("a", "x"), ("b", "")))
        state = desired(("a", "x"), ("b", ""), urls=(1, 2))
        assert publisher.publish(state)
        check(it, state)
        publisher.set_endpoints("backend-b", ())
        assert it.workers[0].data_plane.calls[2:] == ["endpoints 0", "endpoints 1", "endpoints 1"]


class Once:
    """True for the first `count` messages of a kind."""

    def __init__(self, kind: str, count: int = 1) -> None:
        self.kind, self.left = kind, count

    def __call__(self, kind: str) -> bool:
        if kind != self.kind or not self.left:
            return False
        self.left -= 1
        return True


def later(it: System, seconds: float) -> None:
    it.generations.expire(seconds)
    it.pump()


LOST = [("endpoints", 1), ("endpoints", 2), ("prepare", 1), ("prepare", 2), ("document", 1)]


@pytest.mark.parametrize(("kind", "workers"), LOST)
def test_a_worker_that_lost_a_message_gets_everything(kind: str, workers: int) -> None:
    """While it goes on to serve what it has; nobody is killed."""
    with system() as it:
        publisher = it.start_controller()
        publisher.publish(desired(("a", "x"), ("b", "")))
        for worker in it.workers[:workers]:
            worker.cut = Once(kind)
        publisher.show("/api/x", b"[]")
        publisher.publish(desired(("a", "x"), ("b", ""), urls=(1, 2)))
        publisher.publish(desired(("a", "y"), ("c", ""), urls=(1, 2)))
        # Nobody has prepared it where both have lost it: then it is refused, and tried again.
        state = desired(("a", "y"), ("c", ""), urls=(1, 2))
        assert publisher.publish(state)
        assert all(worker.cut(kind) is False for worker in it.workers)
        check(it, state)
        assert [worker.stage for worker in it.workers] == [Stage.SERVING] * 2
        assert it.killed == []


@pytest.mark.parametrize("count", [1, 5])
def test_the_whole_state_may_be_cut_as_well(count: int) -> None:
    with system() as it:
        publisher = it.start_controller()
        publisher.publish(desired(("a", "x")))
        worker = it.workers[0]
        endpoints, prepare = Once("endpoints"), Once("prepare", count)
        worker.cut = lambda kind: endpoints(kind) or prepare(kind)
        moved = desired(("a", "x"), urls=(7,))
        assert publisher.publish(moved)
        assert worker.stage is not Stage.SERVING
        for number in range(1, count + 1):
            assert it.generations.deadline is not None
            later(it, number * generations.AGAIN)
        check(it, moved)
        assert [worker.stage for worker in it.workers] == [Stage.SERVING] * 2
        later(it, 2 * generations.PATIENCE)
        assert it.killed == []


def test_a_worker_that_never_has_room_is_killed() -> None:
    with system() as it:
        publisher = it.start_controller()
        publisher.publish(desired(("a", "x")))
        it.workers[0].cut = lambda kind: True
        assert publisher.publish(desired(("a", "x"), urls=(7,)))
        later(it, generations.PATIENCE - 0.1)
        assert it.killed == []
        later(it, generations.PATIENCE + 0.1)
        assert len(it.killed) == 1
        it.kill_worker(0)
        check(it, desired(("a", "x"), urls=(7,)))


def test_a_worker_the_kernel_takes_nothing_for_gets_everything_later() -> None:
    with system() as it:
        publisher = it.start_controller()
        publisher.publish(desired(("a", "x")))
        it.workers[0].full = True
        moved = desired(("a", "x"), urls=(7,))
        assert publisher.publish(moved)
        later(it, generations.AGAIN)
        it.workers[0].full = False
        later(it, 2 * generations.AGAIN)
        check(it, moved)
        assert [worker.stage for worker in it.workers] == [Stage.SERVING] * 2


def test_a_switch_to_what_was_not_prepared_asks_for_everything() -> None:
    with system() as it:
        publisher = it.start_controller()
        publisher.publish(desired(("a", "x")))
        it.workers[0].send("activate", generation=7)
        it.pump()
        check(it, desired(("a", "x")))
        assert [worker.stage for worker in it.workers] == [Stage.SERVING] * 2


UNREAD = ["publish", "endpoints", "document"]


@pytest.mark.parametrize("kind", UNREAD)
def test_what_the_parent_could_not_read_is_sent_again(kind: str) -> None:
    """And whole, because nobody knows what it held."""
    with system() as it:
        publisher = it.start_controller()
        publisher.publish(desired(("a", "x"), ("b", "")))
        it.cut = Once(kind)
        publisher.show("/api/x", b"[1]")
        moved = desired(("a", "x"), ("b", ""), urls=(7,))
        if kind == "endpoints":
            assert not publisher.move({"backend-a": moved.backends[0].endpoints})
        else:
            assert publisher.publish(moved)
        state = desired(("a", "x"), ("c", ""), urls=(7,))
        assert publisher.publish(state) is (kind != "publish")
        assert publisher.publish(state)
        publisher.tidy()
        check(it, state)
        assert documents.get("/api/x") == b"[1]"
        # What is remembered is right as well: another controller continues it.
        again = it.start_controller()
        assert again.publish(desired(("a", "x"), ("c", ""), urls=(8,)))
        check(it, desired(("a", "x"), ("c", ""), urls=(8,)))


def test_a_controller_that_lost_the_state_publishes_everything() -> None:
    with system() as it:
        it.start_controller().publish(desired(("a", "x"), ("b", "")))
        it.state_is_cut = True
        again = it.start_controller()
        state = desired(("b", "z"), urls=(3,))
        assert again.publish(state)
        assert again.generation == 2
        check(it, state)


def test_endpoints_that_change_together_with_routes_keep_the_backend() -> None:
    with system() as it:
        publisher = it.start_controller()
        publisher.publish(desired(("a", "")))
        state = desired(("a", ""), ("b", ""), urls=(1, 2))
        publisher.publish(state)
        check(it, state)
        assert it.workers[0].data_plane.calls[2:] == ["prepare 2", "activate 2", "endpoints 0"]


def test_one_refusal_keeps_the_old_generation_everywhere() -> None:
    with system() as it:
        publisher = it.start_controller()
        publisher.publish(desired(("a", "x")))
        assert not publisher.publish(desired(("a", "y"), (REFUSED_NAME, "")))
        check(it, desired(("a", "x")))
        assert publisher.publish(desired(("a", "z")))
        check(it, desired(("a", "z")))


def test_a_worker_that_starts_meanwhile_waits_for_the_decision() -> None:
    with system(1) as it:
        publisher = it.start_controller()
        publisher.publish(desired(("a", "")))
        it.workers[0].silent = True
        with pytest.raises(TimeoutError):
            publisher.publish(desired(("b", "")))
        late = it.start_worker()
        assert late.stage is Stage.WAITING
        it.workers[0].silent = False
        it.pump()
        assert [w.data_plane.routes for w in it.workers] == [["b"], ["b"]]
        assert late.data_plane.calls == ["prepare 2", "activate 2"]


def test_endpoints_that_move_while_a_worker_loads_reach_it() -> None:
    with system(1) as it:
        publisher = it.start_controller()
        publisher.publish(desired(("a", "")))
        it.start_worker()
        late = it.replace_worker_silently()
        assert late.stage is Stage.LOADING
        publisher.publish(desired(("a", ""), urls=(7, 8)))
        late.silent = False
        it.pump()
        check(it, desired(("a", ""), urls=(7, 8)))
        assert [worker.stage for worker in it.workers] == [Stage.SERVING] * 2


def test_a_generation_waits_for_starting_workers() -> None:
    with system(0) as it:
        publisher = it.start_controller()
        with pytest.raises(TimeoutError):
            publisher.publish(desired(("a", "")))
        starting = FakeWorker(it)
        it.workers.append(starting)
        it.start_worker()
        assert it.workers[1].data_plane.calls == []
        starting.send("hello")
        it.pump()
        assert [w.data_plane.routes for w in it.workers] == [["a"], ["a"]]


def test_a_silent_worker_is_killed_and_has_no_vote() -> None:
    with system() as it:
        publisher = it.start_controller()
        publisher.publish(desired(("a", "")))
        it.workers[1].silent = True
        with pytest.raises(TimeoutError):
            publisher.publish(desired(("b", "")))
        assert it.generations.deadline == generations.PATIENCE
        it.generations.expire(generations.PATIENCE - 1)
        assert it.killed == []
        it.generations.expire(generations.PATIENCE)
        assert len(it.killed) == 1
        it.pump()
        assert it.workers[0].data_plane.routes == ["b"]
        it.kill_worker(1)


def test_the_controller_waits_until_all_use_a_generation() -> None:
    with system() as it:
        publisher = it.start_controller()
        slow = it.workers[1]
        slow.reading = "prepare"
        with pytest.raises(TimeoutError):
            publisher.publish(desired(("a", "")))
        assert not it.generations.ready
        assert it.workers[0].data_plane.routes == ["a"]
        assert it.generations.deadline == generations.PATIENCE
        slow.reading = ""
        it.pump()
        assert it.generations.ready
        assert slow.data_plane.routes == ["a"]
        assert it.receive() == Message("done", {})


def test_a_controller_that_dies_while_workers_switch_finds_it_live() -> None:
    with system() as it:
        publisher = it.start_controller()
        slow = it.workers[1]
        slow.reading = "prepare"
        with pytest.raises(TimeoutError):
            publisher.publish(desired(("b", "")))
        publisher = it.start_controller()
        assert publisher.generation == 1
        assert it.generations.ready
        slow.reading = ""
        it.pump()
        check(it, desired(("b", "")))
        assert publisher.publish(desired(("c", "")))
        check(it, desired(("c", "")))


def test_a_generation_nobody_survives_is_refused() -> None:
    with system(1) as it:
        publisher = it.start_controller()
        publisher.publish(desired(("a", "")))
        it.workers[0].silent = True
        with pytest.raises(TimeoutError):
            publisher.publish(desired(("b", "")))
        it.kill_worker(0)
        assert it.receive() == Message("refused", {"reason": "no worker survived preparing it"})
        check_worker = it.start_worker()
        assert check_worker.data_plane.routes == ["a"]


def test_a_dead_controller_takes_its_generation_with_it() -> None:
    with system() as it:
        publisher = it.start_controller()
        publisher.publish(desired(("a", "")))
        it.workers[1].silent = True
        with pytest.raises(TimeoutError):
            publisher.publish(desired(("b", "")))
        publisher = it.start_controller()
        it.workers[1].silent = False
        it.pump()
        check(it, desired(("a", "")))
        assert publisher.publish(desired(("c", "")))
        check(it, desired(("c", "")))


def test_a_restarted_controller_that_cannot_read_the_state_replaces_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with system() as it:
        it.start_controller().publish(desired(("z", "q"), ("a", "x")))
        with monkeypatch.context() as patch:
            patch.setattr(publishing, "read_memory", lambda descriptor: b"garbage")
            publisher = it.start_controller()
        assert publisher.generation == 1
        state = desired(("a", "x"), ("b", "y"))
        assert publisher.publish(state)
        check(it, state)
        assert len(it.generations.live.steps) == 1


def test_counters_are_cleared_before_they_mean_something_else() -> None:
    with system() as it:
        publisher = it.start_controller()
        for text in "xyz":
            publisher.publish(desired(("a", text)))
        assert it.cleared == [("rate", 0)]


def test_many_moves_stay_a_short_log() -> None:
    with system() as it:
        publisher = it.start_controller()
        publisher.publish(desired(("a", "x"), ("b", "y")))
        for number in range(1, 1000):
            endpoints = (Endpoint("http", "10.9.0.1", number),)
            publisher.move({f"backend-{'ab'[number % 2]}": endpoints})
        assert len(it.generations.live.steps) <= 1 + 4 * publishing.FAN
        it.kill_worker(0)
        it.start_worker()
        moved = {b.endpoints[0].port for b in publisher._settled().backends.values()}
        assert moved == {998, 999}


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("publish"),
            st.dictionaries(st.sampled_from("abcde"), st.sampled_from(["", "x", "y"])),
            st.lists(st.integers(1, 4), max_size=3, unique=True),
            st.sets(st.sampled_from("pq")).map(lambda names: "".join(sorted(names))),
        ),
        st.tuples(st.just("refused")),
        st.tuples(st.just("endpoints"), st.sampled_from("abcde"), st.lists(st.integers(1, 4))),
        st.tuples(st.just("worker")),
        st.tuples(st.just("tidy")),
        st.tuples(st.just("slow worker"), st.sampled_from("abcde"), st.lists(st.integers(5, 6))),
        st.tuples(st.just("controller")),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=150)
@given(steps=STEPS, longest=st.sampled_from([2, 60]), fan=st.sampled_from([2, 3, 8]))
def test_any_history_leaves_every_worker_with_what_is_desired(
    steps: list[Any], longest: int, fan: int
) -> None:
    """The twin is the desired state itself; deaths, refusals and re-based logs in between."""
    with system() as it, pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "LONGEST_LOG", longest)
        patch.setattr(publishing, "FAN", fan)
        publisher = it.start_controller()
        state = Desired()
        publisher.publish(state)
        for kind, *arguments in steps:
            if kind == "publish":
                routes, urls, certificates = arguments
                state = desired(*routes.items(), urls=urls, certificates=certificates)
                assert publisher.publish(state)
            elif kind == "refused":
                assert not publisher.publish(desired(("a", "new"), (REFUSED_NAME, "")))
            elif kind in ("endpoints", "slow worker"):
                late = it.replace_worker_silently() if kind == "slow worker" else it.workers[0]
                name = f"backend-{arguments[0]}"
                new = tuple(Endpoint("http", f"10.9.0.{i}", 80) for i in arguments[1])
                publisher.set_endpoints(name, new)
                late.silent = False
                it.pump()
                state = Desired(
                    state.routes,
                    tuple(Backend(b.name, new) if b.name == name else b for b in state.backends),
                    state.certificates,
                )
            elif kind == "tidy":
                publisher.tidy()
            elif kind == "worker":
                it.kill_worker(0)
                it.start_worker()
            else:
                publisher = it.start_controller()
            check(it, state)
            assert len(it.workers) == 2
            assert len(it.generations.live.steps) <= longest + 1
