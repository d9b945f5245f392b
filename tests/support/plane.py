"""The engine of one worker in the test's process, where tests reach into its filters."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import uvloop

from fastproxy import _core
from fastproxy.engine.data_plane import DataPlane
from fastproxy.feature import Feature
from fastproxy.features import FEATURES
from fastproxy.model.configuration import Desired, Endpoint
from fastproxy.publish.compiler import NOTHING, Compiled, compile_table
from fastproxy.publish.publisher import difference
from fastproxy.settings.options import Settings
from fastproxy.system.channel import sealed_memory
from fastproxy.tables.change import Change

Result = TypeVar("Result")


class Plane:
    """A data plane on a uvloop loop; `call` runs something in the loop's thread."""

    def __init__(
        self, settings: Settings, features: Sequence[Feature] = FEATURES, shared: int = -1
    ) -> None:
        self.settings = settings
        self._features = features
        self._filter_of = {feature.config: feature.filter for feature in features}
        self.live: Compiled = NOTHING
        self.next: Compiled = NOTHING
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self._loop = uvloop.new_event_loop()
        self._thread = ThreadPoolExecutor(1)
        self._ended = self._thread.submit(self._loop.run_forever)
        self.engine = self.call(lambda: DataPlane(self._loop, settings, worker=0, shared=shared))
        self.listener.setblocking(False)
        self.call(lambda: self.engine.listen(self.listener.fileno(), 0))

    def call(self, function: Callable[[], Result]) -> Result:
        async def run() -> Result:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def prepare(self, desired: Desired) -> None:
        new = compile_table(desired, self.settings, self._features, self.live, _core.build_matcher)
        delta = difference(self.live, new)
        made = {slot: self._filter_of[type(config)] for slot, config in delta.filters.items()}
        change = Change(
            filters={slot: make(delta.filters[slot]) for slot, make in made.items() if make},  # type: ignore[misc]
            removed_filters=tuple(delta.removed_filters),
            backends=delta.backends,
            removed_backends=tuple(delta.removed_backends),
            certificates=delta.certificates,
            removed_certificates=tuple(delta.removed_certificates),
        )
        block = sealed_memory("test", new.block)
        try:
            self.call(lambda: self.engine.prepare(new.generation, block, change))
        finally:
            os.close(block)
        self.next = new

    def activate(self) -> None:
        self.call(lambda: self.engine.activate(self.next.generation))
        self.live = self.next

    def set_endpoints(self, name: str, endpoints: tuple[Endpoint, ...]) -> None:
        """In place, in the live generation; the next one has the same live backends."""
        (slot,) = (number for number, backend in self.live.backends.items() if backend.name == name)
        self.call(lambda: self.engine.set_endpoints(slot, endpoints))

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.engine.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._ended.result(10)
        self._loop.close()
        self._thread.shutdown()
        self.listener.close()
