"""The whole program in front of one backend, for tests of its processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.load import NamedBackend
from tests.support.whole_program import Proxy, started


@pytest.fixture
def backend() -> Iterator[NamedBackend]:
    it = NamedBackend("one")
    yield it
    it.close()


@pytest.fixture
def proxy(tmp_path: Path, backend: NamedBackend) -> Iterator[Proxy]:
    it = started(tmp_path, backend)
    yield it
    it.close()
