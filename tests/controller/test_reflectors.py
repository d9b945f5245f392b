"""When the picture is complete: what is waited for, and what is not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from controller.kubernetes.api import connect
from controller.sources.reflectors import SECRETS_PATIENCE, Reflectors
from tests.support.api_server import ApiServer
from tests.support.api_store import KINDS, wait_until
from tests.support.kubernetes_objects import (
    endpoint_slice,
    endpoints,
    ingress,
    ingress_class,
    secret,
    service,
)
from tests.support.mirror import Mirror

NAMES = ["blue", "green"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.kubernetes.backoff.INITIAL", 0.02)
    monkeypatch.setattr("controller.kubernetes.backoff.LIMIT", 0.1)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        for namespace in NAMES:
            server.create("Ingress", ingress("i", "a.example", namespace=namespace))
            server.create("Service", service(namespace=namespace))
            server.create("EndpointSlice", endpoint_slice(namespace=namespace))
            server.create("Endpoints", endpoints(namespace=namespace))
            server.create("Secret", secret("s", {"k": b"v"}, namespace))
        server.create("IngressClass", ingress_class("fastproxy"))
        yield server


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Running:
    def __init__(self, server: ApiServer, *arguments: Any) -> None:
        self.mirror = Mirror()
        self.clock = Clock()
        api = connect(server.url, environment={})
        self.reflectors = Reflectors(api, self.mirror, *arguments, clock=self.clock)
        self.reflectors.start()

    def kinds(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for key in list(self.mirror.objects):
            found.setdefault(key.kind, set()).add(key.namespace)
        return found


ALL = {kind: set(NAMES) for kind in ("Ingress", "Service", "EndpointSlice", "Secret")}


@pytest.mark.parametrize("namespaces", [[], NAMES])
def test_all_kinds_are_followed(server: ApiServer, namespaces: list[str]) -> None:
    running = Running(server, namespaces)
    wait_until(running.reflectors.synced)
    assert running.kinds() == {**ALL, "IngressClass": {""}}
    wait_until(lambda: running.reflectors.staleness() == 0.0)
    running.reflectors.stop()


def test_other_namespaces_are_not_read(server: ApiServer) -> None:
    running = Running(server, ["blue"])
    wait_until(running.reflectors.synced)
    assert running.kinds()["Ingress"] == {"blue"}
    running.reflectors.stop()


def test_label_selector_concerns_ingresses_only(server: ApiServer) -> None:
    running = Running(server, [], "tier=front")
    wait_until(running.reflectors.synced)
    assert "Ingress" not in running.kinds() and "Service" in running.kinds()
    running.reflectors.stop()


def test_endpoints_where_slices_are_not_served() -> None:
    kinds = tuple(k for k in KINDS if k.kind not in ("EndpointSlice", "IngressClass"))
    with ApiServer(kinds) as server:
        server.create("Endpoints", endpoints())
        running = Running(server, [])
        wait_until(running.reflectors.synced)
        assert set(running.kinds()) == {"Endpoints"}
        running.reflectors.stop()


def test_a_forbidden_namespace_leaves_the_others(server: ApiServer) -> None:
    server.faults.refuse(403, "Forbidden", namespace="green")
    running = Running(server, NAMES)
    wait_until(running.reflectors.synced)
    assert running.kinds()["Ingress"] == {"blue"}
    running.reflectors.stop()


def test_secrets_of_one_namespace_forbidden(server: ApiServer) -> None:
    rule = server.faults.refuse(403, "Forbidden", kind="Secret", namespace="green")
    running = Running(server, NAMES)
    wait_until(running.reflectors.synced)
    assert running.kinds()["Secret"] == {"blue"}
    assert running.kinds()["Ingress"] == set(NAMES)
    server.faults.rules.remove(rule)
    wait_until(lambda: running.kinds()["Secret"] == set(NAMES))
    running.reflectors.stop()


@pytest.mark.parametrize("kind", ["Ingress", "Service"])
def test_not_complete_while_a_whole_kind_is_forbidden(server: ApiServer, kind: str) -> None:
    rule = server.faults.refuse(403, "Forbidden", kind=kind)
    running = Running(server, [])
    wait_until(lambda: server.counted("GET", kind.lower()) > 3)
    assert not running.reflectors.synced()
    server.faults.rules.remove(rule)
    wait_until(running.reflectors.synced)
    running.reflectors.stop()


@pytest.mark.parametrize("kind", ["IngressClass", "Secret"])
def test_classes_and_secrets_may_be_forbidden(server: ApiServer, kind: str) -> None:
    server.faults.refuse(403, "Forbidden", kind=kind)
    running = Running(server, [])
    wait_until(running.reflectors.synced)
    assert kind not in running.kinds()
    running.reflectors.stop()


def test_secrets_are_waited_for_but_not_for_ever(server: ApiServer) -> None:
    rule = server.faults.refuse(500, kind="Secret")
    running = Running(server, [])
    wait_until(
        lambda: set(running.kinds()) == {"Ingress", "Service", "EndpointSlice", "IngressClass"}
    )
    assert not running.reflectors.synced()
    running.clock.now += SECRETS_PATIENCE - 0.1
    assert not running.reflectors.synced()
    running.clock.now += 0.2
    assert running.reflectors.synced()
    server.faults.rules.remove(rule)
    wait_until(lambda: "Secret" in running.kinds())
    running.reflectors.stop()


def test_a_restarted_controller_waits_for_secrets(server: ApiServer) -> None:
    rule = server.faults.refuse(500, kind="Secret")
    running = Running(server, [], "", math.inf)
    wait_until(lambda: set(running.kinds()) == set(ALL) - {"Secret"} | {"IngressClass"})
    running.clock.now += 3600
    assert not running.reflectors.synced()
    server.faults.rules.remove(rule)
    wait_until(running.reflectors.synced)
    running.reflectors.stop()


def test_useless_secrets_are_left_out_by_the_server(server: ApiServer) -> None:
    server.create("Secret", secret("release", {"r": b"x"}, "blue", "helm.sh/release.v1"))
    helm = secret("state", {"r": b"x"}, "blue")
    helm["metadata"]["labels"] = {"owner": "helm"}
    server.create("Secret", helm)
    running = Running(server, [])
    wait_until(running.reflectors.synced)
    assert running.mirror.names("Secret") == ["s", "s"]
    running.reflectors.stop()


def test_server_away_at_start(server: ApiServer) -> None:
    server.stop()
    running = Running(server, [])
    assert not running.reflectors.synced()
    running.clock.now += 7
    assert running.reflectors.staleness() == 7.0
    server.start()
    wait_until(running.reflectors.synced)
    wait_until(lambda: running.reflectors.staleness() == 0.0)
    server.stop()
    wait_until(lambda: all(reflector.broken_since for reflector in running.reflectors.all))
    assert running.reflectors.synced()
    running.reflectors.stop()
