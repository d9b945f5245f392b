"""A sink that keeps what a reflector delivers, for comparison with what a server holds."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from controller.sources.reflector import Change, Key


class Mirror:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.objects: dict[Key, dict[str, Any]] = {}
        self.batches: list[list[Change]] = []

    def __call__(self, changes: Sequence[Change]) -> None:
        with self._lock:
            self.batches.append(list(changes))
            for change in changes:
                if change.object is None:
                    # A deletion of something never delivered is a defect of the reflector.
                    del self.objects[change.key]
                else:
                    self.objects[change.key] = change.object

    def names(self, kind: str = "") -> list[str]:
        with self._lock:
            return sorted(key.name for key in self.objects if kind in ("", key.kind))

    def versions(self) -> dict[tuple[str, str], str]:
        with self._lock:
            return {
                (key.namespace, key.name): item["metadata"]["resourceVersion"]
                for key, item in self.objects.items()
            }

    @property
    def changes(self) -> int:
        with self._lock:
            return sum(len(batch) for batch in self.batches)
