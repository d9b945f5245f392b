"""A worker reads large generations beside its traffic, and hears messages in their order."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fastproxy.model.configuration import Certificate, Desired
from fastproxy.processes import worker
from fastproxy.processes.parent import Place
from fastproxy.processes.worker import Worker
from fastproxy.publish.compiler import NOTHING, compile_table
from fastproxy.publish.publisher import Delta
from fastproxy.settings.options import EntryPoint, Settings
from fastproxy.system.channel import Channel, channel_pair, close_all, sealed_memory
from tests.support.stand_in import StandIn, build_matcher

SETTINGS = Settings(entry_points={"http": EntryPoint(":80")})
BLOCK = compile_table(Desired(), SETTINGS, (), NOTHING, build_matcher).block
SMALL = Delta(certificates={0: Certificate("a", (), b"", b"", ("a.test",))})
GROWN = Delta(certificates={0: Certificate("a", (), b"x" * 2 * worker.LARGE, b"", ("a.test",))})


class Slow(threading.Event):
    """Holds up the reading of deltas until it is set; `threads` have tried."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[threading.Thread] = []


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    gate = Slow()
    read = worker.read_deltas

    def held(steps: list[int]) -> list[Delta]:
        gate.threads.append(threading.current_thread())
        if threading.current_thread() is not threading.main_thread():
            gate.wait(10)
        return read(steps)

    monkeypatch.setattr(worker, "read_deltas", held)
    return gate


@contextmanager
def channels() -> Iterator[tuple[Channel, Channel]]:
    parent, child = channel_pair()
    child.set_timeout(0)
    parent.set_timeout(0)
    yield parent, child
    parent.close()
    child.close()


def send_generation(parent: Channel, number: int, delta: bytes) -> None:
    descriptors = [sealed_memory("block", BLOCK), sealed_memory("delta", delta)]
    parent.send("prepare", descriptors, generation=number, full=True)
    close_all(tuple(descriptors))


def heard(parent: Channel) -> list[str]:
    kinds = []
    while True:
        try:
            message = parent.receive()
        except BlockingIOError:
            return kinds
        assert message is not None
        kinds.append(message.kind)


async def until(question: object) -> None:
    for _ in range(500):
        if question():  # type: ignore[operator]
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


async def started(child: Channel) -> tuple[Worker, StandIn]:
    plane = StandIn()
    made = Worker(Place(0, SETTINGS, -1, -1, ()), child, plane, lambda config: config)
    asyncio.get_running_loop().add_reader(child.fileno(), made.on_readable)
    return made, plane


@pytest.mark.parametrize(("delta", "aside"), [(SMALL, False), (GROWN, True)])
def test_large_generations_are_read_in_a_thread(delta: Delta, aside: bool, slow: Slow) -> None:
    async def main() -> None:
        with channels() as (parent, child):
            _, plane = await started(child)
            send_generation(parent, 1, pickle.dumps(delta))
            parent.send("activate", generation=1)  # waits its turn
            await until(lambda: slow.threads)
            assert (slow.threads[0] is not threading.main_thread()) is aside
            if aside:
                await asyncio.sleep(0.05)
                assert plane.calls == []
            slow.set()
            await until(lambda: plane.calls == ["prepare 1", "activate 1"])
            assert heard(parent) == ["prepared", "activated"]

    asyncio.run(main())


def test_garbage_is_refused_from_the_thread_too(slow: Slow) -> None:
    async def main() -> None:
        with channels() as (parent, child):
            _, plane = await started(child)
            slow.set()
            send_generation(parent, 1, b"\x80garbage" + bytes(2 * worker.LARGE))
            send_generation(parent, 2, pickle.dumps(SMALL))
            await until(lambda: plane.calls == ["prepare 2"])
            assert heard(parent) == ["refused", "prepared"]

    asyncio.run(main())


def test_an_end_while_a_generation_is_read(slow: Slow) -> None:
    async def main() -> None:
        with channels() as (parent, child):
            made, plane = await started(child)
            send_generation(parent, 1, pickle.dumps(GROWN))
            await until(lambda: slow.threads)
            await made.drain()
            slow.set()
            await asyncio.sleep(0.1)
            assert "prepare 1" not in plane.calls
            assert heard(parent) == []

    asyncio.run(main())
