"""A publisher that remembers what it was told, and a controller running against it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

from controller.kubernetes.api import Api
from controller.loop import Controller, Loop
from controller.report.writer import writer_for
from controller.sources.source import ApiSource
from fastproxy.model.configuration import Desired, Endpoint
from fastproxy.settings.options import EntryPoint, Kubernetes, Settings


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Recorder:
    """A publisher that remembers, and refuses when told to."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.published: list[tuple[float, Desired]] = []
        self.moves: list[tuple[float, str, list[str]]] = []
        self._moves: list[tuple[float, str, tuple[Endpoint, ...]]] = []
        self.shown: list[tuple[str, bytes]] = []
        self.refuse = 0
        self.generation = 0

    def publish(self, desired: Desired) -> bool:
        if self.refuse:
            self.refuse -= 1
            return False
        self._moves.clear()
        self.published.append((self.clock.now, desired))
        return True

    def show(self, path: str, content: bytes) -> None:
        self.shown.append((path, content))

    def tidy(self) -> None:
        """Nothing is kept that could grow."""

    def move(self, moved: Mapping[str, tuple[Endpoint, ...]]) -> bool:
        if self.refuse:
            self.refuse -= 1
            return False
        for name, endpoints in moved.items():
            self._set_endpoints(name, endpoints)
        return True

    def _set_endpoints(self, backend_name: str, endpoints: tuple[Endpoint, ...]) -> None:
        self.moves.append((self.clock.now, backend_name, [e.host for e in endpoints]))
        self._moves.append((self.clock.now, backend_name, endpoints))

    @property
    def newest(self) -> Desired:
        """What a data plane would serve now."""
        if not self.published:
            return Desired()
        at, desired = self.published[-1]
        moved = {name: endpoints for when, name, endpoints in self._moves if when >= at}
        backends = (
            replace(backend, endpoints=moved.get(backend.name, backend.endpoints))
            for backend in desired.backends
        )
        return replace(desired, backends=tuple(backends))

    def hosts(self, backend_name: str) -> list[str]:
        """Give the addresses behind a backend now."""
        found = (b for b in self.newest.backends if b.name == backend_name)
        return sorted(endpoint.host for backend in found for endpoint in backend.endpoints)

    def route_names(self) -> list[str]:
        return [route.name for route in self.newest.routes]

    @property
    def routes(self) -> list[list[str]]:
        return [[route.name for route in desired.routes] for _, desired in self.published]


class RunningController:
    """A whole controller but for the data plane, in a thread."""

    def __init__(self, api: Api, options: Kubernetes | None = None) -> None:
        settings = Settings(
            entry_points={"http": EntryPoint(":80")},
            kubernetes=options or Kubernetes(),
            providers_throttle_duration=0.0,
        )
        assert settings.kubernetes is not None
        self.recorder = Recorder()
        self.controller = Controller(settings, self.recorder)
        self.source = ApiSource(api, settings.kubernetes)
        writer = writer_for(api, settings.kubernetes)
        self._loop = Loop(settings, self.controller, self.source, writer)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop.run, args=(self._stop,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def codes(self) -> list[str]:
        return sorted(finding.code for finding in self.controller.findings)
