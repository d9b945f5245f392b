"""Standard output whose reader may leave (`fastproxy lint | head -1`)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class _Patient:
    """A stream that goes on into nothing once nobody reads it: the verdict of a command, and the
    life of a proxy, do not depend on who looks at their output."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._forgiven():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._forgiven():
            self._stream.flush()

    @contextlib.contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def patient() -> Iterator[None]:
    """Let nothing that is printed inside fail for want of a reader."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Patient(before[0]), _Patient(before[1])
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before
