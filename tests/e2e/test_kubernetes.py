"""From an object in an API server, over controller and workers, to an answer."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api_server import ApiServer
from tests.support.api_store import wait_until
from tests.support.kubernetes_objects import endpoint_slice, ingress, service
from tests.support.serving import Pod, Serving


@pytest.fixture
def pods() -> Iterator[list[Pod]]:
    pods = [Pod(name) for name in ("one", "two")]
    yield pods
    for pod in pods:
        pod.stop()


@pytest.fixture
def server(pods: list[Pod]) -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.create("Service", service())
        server.create("EndpointSlice", endpoints_of(pods[0]))
        server.create("Ingress", ingress("i", "a.example"))
        yield server


def endpoints_of(*pods: Pod, name: str = "web") -> dict[str, object]:
    """A slice for pods that share a port is one; ours have a port each, so only the first."""
    return endpoint_slice(name, tuple(pod.address for pod in pods), pods[0].port)


@pytest.fixture
def serving(server: ApiServer, tmp_path: Path) -> Iterator[Serving]:
    with Serving(tmp_path, server.url) as serving:
        serving.wait_ready()
        yield serving


class Load:
    """Requests, one after the other, until told to stop; every answer but 200 is kept."""

    def __init__(self, serving: Serving, host: str) -> None:
        self._serving = serving
        self._host = host
        self._stop = threading.Event()
        self.count = 0
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                found = str(self._serving.status(self._host))
            except OSError as exception:
                found = repr(exception)
            self.count += 1
            if found != "200":
                self.failures.append(found)
            time.sleep(0.002)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)


def test_ready_means_served(serving: Serving) -> None:
    answer = serving.get("a.example", "/x?y=z")
    assert answer.status == 200
    assert answer.seen == {"pod": "one", "path": "/x?y=z", "host": "a.example"}
    assert serving.status("other.example") == 404


def test_not_ready_while_the_api_server_is_away(server: ApiServer, tmp_path: Path) -> None:
    server.stop()
    with Serving(tmp_path, server.url) as serving:
        wait_until(lambda: serving.ready() == 503, 15)
        assert serving.status("a.example") == 404
        server.start()
        serving.wait_ready()
        assert serving.pod("a.example") == "one"


def test_endpoints_move(server: ApiServer, serving: Serving, pods: list[Pod]) -> None:
    load = Load(serving, "a.example")
    server.update("EndpointSlice", endpoints_of(pods[1]))
    wait_until(lambda: serving.pod("a.example") == "two")
    load.stop()
    assert load.count and not load.failures


def test_routes_come_and_go(server: ApiServer, serving: Serving) -> None:
    server.create("Ingress", ingress("j", "b.example"))
    wait_until(lambda: serving.pod("b.example") == "one")
    server.delete("Ingress", "default", "j")
    wait_until(lambda: serving.status("b.example") == 404)
    assert serving.pod("a.example") == "one"


def test_no_endpoints_is_503(server: ApiServer, serving: Serving) -> None:
    server.delete("EndpointSlice", "default", "web-1")
    wait_until(lambda: serving.status("a.example") == 503)


def test_outage_410_and_controller_death_are_not_noticed(
    server: ApiServer, serving: Serving, pods: list[Pod]
) -> None:
    """0 failed requests, nothing lost, converged within 5 s of the return."""
    load = Load(serving, "a.example")
    server.stop()
    server.create("Ingress", ingress("j", "b.example"))
    server.store.compact()
    os.kill(serving.controller(), signal.SIGKILL)
    time.sleep(1.0)
    assert serving.pod("a.example") == "one"
    server.start()
    back = time.monotonic()
    wait_until(lambda: serving.pod("b.example") == "one", 10)
    assert time.monotonic() - back <= 5.0
    load.stop()
    assert load.count and not load.failures
    assert serving.ready() == 200


def test_namespace_forbidden(server: ApiServer, tmp_path: Path, pods: list[Pod]) -> None:
    for item, kind in (
        (service(namespace="blue"), "Service"),
        (endpoint_slice("web", (pods[1].address,), pods[1].port, "blue"), "EndpointSlice"),
        (ingress("i", "b.example", namespace="blue"), "Ingress"),
    ):
        server.create(kind, item)
    server.faults.refuse(403, "Forbidden", namespace="default")
    with Serving(tmp_path, server.url, options='namespaces = ["default", "blue"]') as serving:
        serving.wait_ready()
        assert serving.pod("b.example") == "two"
        assert serving.status("a.example") == 404
