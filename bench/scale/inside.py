"""What a change costs inside the controller, without API server, sockets and workers."""

from __future__ import annotations

import gc
import statistics
import time
from types import SimpleNamespace
from typing import Any

from bench.scale.cluster import NAMESPACE, Size, ingress_of, objects, slice_of
from controller.loop import Controller
from controller.sources.reflector import Change, Key
from controller.sources.source import Cache
from fastproxy._core import build_matcher
from fastproxy.features import FEATURES
from fastproxy.publish.publisher import Publisher
from fastproxy.settings.options import EntryPoint, Kubernetes, Settings

TURNS = 50


class Parent:
    """Stands for the parent's channel: everything is live at once."""

    def __init__(self) -> None:
        self._answers = [SimpleNamespace(kind="live", values={"generation": 0}, descriptors=())]

    def set_timeout(self, seconds: float) -> None: ...

    def send(self, *parts: Any, **values: Any) -> None:
        self._answers.append(SimpleNamespace(kind="done", values={}, descriptors=()))

    def receive(self) -> SimpleNamespace:
        return self._answers.pop()

    def close(self) -> None: ...


class Inside:
    """A controller with all objects of a cluster."""

    def __init__(self, size: Size) -> None:
        points = {"http": EntryPoint(":80"), "https": EntryPoint(":443")}
        settings = Settings(
            entry_points=points, default_entry_points=("http", "https"), kubernetes=Kubernetes()
        )
        parent: Any = Parent()
        self._size = size
        self._controller = Controller(
            settings, Publisher(parent, settings, FEATURES, build_matcher)
        )
        self._cache = Cache()
        self._cache.deliver([_change(kind, item) for kind, item in objects(size)])
        self._apply()

    def _apply(self) -> None:
        taken = self._cache.take()
        if not self._controller.apply(taken.snapshot, taken.findings):
            raise RuntimeError("the generation was refused")

    def time(self, kind: str, item: dict[str, Any]) -> float:
        """Seconds from an event of the watch until its step is sent to the parent."""
        change = _change(kind, item)
        started = time.perf_counter()
        self._cache.deliver([change])
        self._apply()
        return time.perf_counter() - started


def _change(kind: str, item: dict[str, Any]) -> Change:
    return Change(Key(kind, NAMESPACE, item["metadata"]["name"]), item)


def inside(size: Size) -> dict[str, float]:
    """Median cost of one change of endpoints, and of one new Ingress."""
    it = Inside(size)
    thresholds = gc.get_threshold()
    gc.set_threshold(50_000, 20, 50)  # as the controller does
    gc.collect()
    gc.freeze()
    try:
        turns = range(TURNS)
        moves = [slice_of(turn % size.ingresses, size, 1 + turn) for turn in turns]
        news = [ingress_of(size.ingresses + turn, size) for turn in turns]
        return {
            "endpoint_change_us": round(
                statistics.median(it.time("EndpointSlice", item) for item in moves) * 1e6
            ),
            "ingress_change_us": round(
                statistics.median(it.time("Ingress", item) for item in news) * 1e6
            ),
        }
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
