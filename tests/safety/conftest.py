"""One real proxy with one worker in front of one recording origin, for the whole session."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.safety.origin import Origin
from tests.support.running import Proxy, backend_manifest, free_port, ingress_manifest

SETTINGS = """
defaultEntryPoints = ["http"]
workers = 1

[entryPoints.http]
address = "127.0.0.1:{port}"

[entryPoints.traefik]
address = "127.0.0.1:{internal}"
"""
LIMITS = """
[limits]
requestBody = 1048576
"""


@dataclass
class Bench:
    address: tuple[str, int]
    origin: Origin


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Set SAFETY_PROXY=HOST:PORT and SAFETY_ORIGIN=PORT,PORT to judge a proxy started by hand."""
    if importlib.util.find_spec("fastproxy.engine.data_plane") is None:
        pytest.skip("the engine is not built")
    by_hand = os.environ.get("SAFETY_PROXY")
    if by_hand:
        host, _, port = by_hand.rpartition(":")
        ports = [int(p) for p in os.environ["SAFETY_ORIGIN"].split(",")]
        origin = Origin({"main": ports[0], "guarded": ports[1]})
        yield Bench((host, int(port)), origin)
        origin.stop()
        return
    origin = Origin({"main": 0, "guarded": 0})
    with started(tmp_path_factory.mktemp("safety"), origin) as proxy:
        yield Bench(proxy.address, origin)
    origin.stop()


def started(folder: Path, origin: Origin, more: str = LIMITS) -> Proxy:
    manifests = folder / "manifests"
    manifests.mkdir()
    rules = [("", "/", "main"), ("", "/guarded", "guarded"), ("private.test", "/", "guarded")]
    documents = [backend_manifest(name, [port]) for name, port in origin.ports.items()]
    (manifests / "all.yaml").write_text("---\n".join([*documents, ingress_manifest("all", rules)]))
    port = free_port()
    text = SETTINGS.format(port=port, internal=free_port()) + more
    return Proxy(folder, manifests, text, port)
