"""Secrets nothing refers to: no content in memory, and all of it at once when something does."""

from __future__ import annotations

import gc
import logging
import threading
import types
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.kubernetes import tls_secrets
from controller.kubernetes.api import connect
from controller.kubernetes.objects import Secret
from controller.snapshot.snapshot import Name
from controller.sources import secrets
from controller.sources.reflector import Ledger
from controller.sources.secrets import Reader
from controller.sources.source import Cache
from tests.support.api_server import ApiServer
from tests.support.api_store import wait_until
from tests.support.kubernetes_objects import endpoint_slice, ingress, secret, service
from tests.support.recorder import Recorder, RunningController
from tests.support.tls import AUTHORITY, pem

HIDDEN = "cm9vdDpoaWRkZW4tY29udGVudA"
OPAQUE = (types.ModuleType, types.FunctionType, type, threading.Thread, types.FrameType, Recorder)


def reachable(*roots: object) -> Iterator[object]:
    """Everything these objects hold on to, but code, classes, threads and the recorder."""
    seen = {id(root) for root in roots}
    rest = list(roots)
    while rest:
        one = rest.pop()
        yield one
        for other in gc.get_referents(one):
            if id(other) not in seen and not isinstance(other, OPAQUE):
                seen.add(id(other))
                rest.append(other)


def holds(text: str, *roots: object) -> bool:
    data = text.encode()
    return any(
        (isinstance(one, bytes | bytearray) and data in one)
        or (isinstance(one, str) and text in one)
        for one in reachable(*roots)
    )


class World:
    """A server's Secrets, the events that are on their way, and the references to them."""

    def __init__(self) -> None:
        self.version = 0
        self.objects: dict[str, dict[str, Any]] = {}
        self.coming: deque[tuple[str, dict[str, Any]]] = deque()
        self.ledger = Ledger("Secret")
        self.failing = False
        self.woken = 0
        self.reader = Reader(self.fetch, lambda: None)
        self.cache = Cache(self.reader)
        self.wanted: frozenset[Name] = frozenset()

    def fetch(self, name: Name) -> dict[str, Any] | None:
        if self.failing:
            raise OSError("away")
        return self.objects.get(name[1])

    def write(self, name: str, delete: bool = False) -> None:
        self.version += 1
        old = self.objects.pop(name, None)
        if delete:
            if old is not None:
                gone = {
                    **old,
                    "metadata": {**old["metadata"], "resourceVersion": str(self.version)},
                }
                self.coming.append(("DELETED", gone))
            return
        item = secret(name, {"key": f"content {self.version}".encode()})
        uid = old["metadata"]["uid"] if old else f"uid {self.version}"
        item["metadata"] |= {"uid": uid, "resourceVersion": str(self.version)}
        self.objects[name] = item
        self.coming.append(("MODIFIED" if old else "ADDED", item))

    def arrive(self, count: int) -> None:
        changes = []
        for _ in range(min(count, len(self.coming))):
            change = self.ledger.event(*self.coming.popleft())
            changes += [change] if change is not None else []
        self.cache.deliver(changes)

    def translate(self) -> None:
        self.cache.take()
        for _ in range(3):
            if self.cache.complete(self.wanted) is None:
                return

    def content(self) -> dict[str, bytes]:
        known = self.cache.take().snapshot.secrets
        return {name: item.data["key"] for (_, name), item in known.items() if not item.withheld}


names = st.sampled_from("abc")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), names),
        st.tuples(st.just("delete"), names),
        st.tuples(st.just("arrive"), st.integers(1, 3)),
        st.tuples(st.just("want"), st.sets(names)),
        st.tuples(st.just("translate"), st.booleans()),
    ),
    max_size=30,
)


@given(steps)
@settings(max_examples=120, deadline=None)
def test_in_the_end_exactly_what_is_wanted_is_there(steps: list[tuple[str, Any]]) -> None:
    """Whatever order events, references and failures come in."""
    world = World()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "RETRY", 1000.0)
        for kind, value in steps:
            if kind in ("write", "delete"):
                world.write(value, kind == "delete")
            elif kind == "arrive":
                world.arrive(value)
            elif kind == "want":
                world.wanted = frozenset(("default", name) for name in value)
            else:
                world.failing = value
                world.translate()
                assert set(world.content()) <= {name for _, name in world.wanted}
        world.failing = False
        world.translate()
        # Whatever is wanted and known is there now, in this or a newer version.
        known = world.cache.take().snapshot.secrets
        assert {name for name in world.wanted if name in known and known[name].withheld} <= {
            ("default", name) for name in "abc" if name not in world.objects
        }
        world.arrive(len(world.coming))
        world.translate()
        expected = {
            name: f"content {item['metadata']['resourceVersion']}".encode()
            for name, item in world.objects.items()
            if ("default", name) in world.wanted
        }
        assert world.content() == expected
        for name, item in world.objects.items():
            version = item["metadata"]["resourceVersion"]
            if ("default", name) not in world.wanted:
                assert not holds(f"content {version}", world.cache)
    world.reader.stop()


def test_what_is_fetched_is_not_replaced_by_an_older_version() -> None:
    world = World()
    world.write("a")
    world.arrive(1)
    world.translate()
    world.write("a")
    world.write("a")  # two events are on their way
    world.wanted = frozenset({("default", "a")})
    world.translate()
    seen = [world.content()["a"]]
    for _ in range(2):
        world.arrive(1)
        seen.append(world.content()["a"])
    assert seen == [b"content 3"] * 3
    world.reader.stop()


def test_one_slow_secret_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "PATIENCE", 0.1)
    monkeypatch.setattr(secrets, "RETRY", 0.05)
    slow, again = threading.Event(), threading.Event()
    asked = []

    def fetch(name: Name) -> dict[str, Any]:
        asked.append(name[1])
        if name[1] == "slow":
            slow.wait(10)
        return {"name": name[1]}

    reader = Reader(fetch, again.set)
    assert reader.read({("n", "slow"), ("n", "fast")}) == {("n", "fast"): {"name": "fast"}}
    assert again.wait(5)
    slow.set()
    assert reader.read({("n", "slow")}) == {("n", "slow"): {"name": "slow"}}
    assert sorted(asked) == ["fast", "slow"]  # the first question was still under way
    reader.stop()


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.create("Service", service())
        server.create("EndpointSlice", endpoint_slice())
        server.create("Secret", secret("other", {"token": HIDDEN.encode()}))
        chain, key = pem(AUTHORITY.issue_cert("a.example"))
        server.create("Secret", secret("mine", {"tls.crt": chain, "tls.key": key}))
        yield server


@pytest.fixture
def controller(server: ApiServer) -> Iterator[RunningController]:
    server.create("Ingress", ingress("i", "a.example", tls_secret="mine"))
    running = RunningController(connect(server.url, environment={}))
    wait_until(lambda: running.recorder.published)
    yield running
    running.stop()


def roots(running: RunningController) -> tuple[object, ...]:
    return running.controller, running.source, running._loop


def known(running: RunningController) -> Mapping[Name, Secret]:
    """What the loop took last; taking is for its thread only."""
    return running.source._cache._snapshot.secrets


def test_no_content_of_others_is_kept(controller: RunningController, server: ApiServer) -> None:
    assert controller.recorder.newest.certificates[0].name == "default/mine"
    wait_until(lambda: not holds(HIDDEN, *roots(controller)))
    assert server.counted("GET", "/secrets/") == 0  # the first content came with the list
    server.update("Secret", secret("other", {"token": (HIDDEN + "2").encode()}))
    server.create("Secret", secret("another", {"token": (HIDDEN + "3").encode()}))
    wait_until(lambda: ("default", "another") in known(controller))
    assert not holds(HIDDEN, *roots(controller))
    own = controller.recorder.newest.certificates[0].key.decode()
    assert holds(own[40:80], *roots(controller))  # the test can see content where there is some


def test_a_new_reference_is_served_at_once(
    controller: RunningController, server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is published or complained about while the content is being read."""
    caplog.set_level(logging.INFO)
    chain, key = pem(AUTHORITY.issue_cert("b.example"))
    server.create("Secret", secret("later", {"tls.crt": chain, "tls.key": key}))
    wait_until(lambda: ("default", "later") in known(controller))
    old = controller.recorder.newest.certificates[0].key.decode()
    assert holds(old[40:80], *roots(controller))
    before = len(controller.recorder.published)
    server.update("Ingress", ingress("i", "a.example", tls_secret="later"))
    wait_until(lambda: controller.recorder.newest.certificates[0].name == "default/later")
    for routes in controller.recorder.routes[before:]:
        assert routes == ["a.example/"]
    assert controller.recorder.newest.certificates[0].key == key
    assert server.counted("GET", "/secrets/later") == 1
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    # The old one is not referred to any more.
    wait_until(lambda: known(controller)["default", "mine"].withheld)
    wait_until(lambda: not holds(old[40:80], *roots(controller), tls_secrets._NAMES))
    chain, key = pem(AUTHORITY.issue_cert("b.example"))
    server.update("Secret", secret("later", {"tls.crt": chain, "tls.key": key}))
    wait_until(lambda: controller.recorder.newest.certificates[0].key == key)
    assert server.counted("GET", "/secrets/later") == 1  # renewals come through the watch


def test_content_that_cannot_be_read_is_asked_for_again(
    server: ApiServer, controller: RunningController, caplog: pytest.LogCaptureFixture
) -> None:
    """Meanwhile what needs it fails closed, and everything else goes on."""
    caplog.set_level(logging.INFO)
    wait_until(lambda: known(controller)["default", "other"].withheld)
    chain, key = pem(AUTHORITY.issue_cert("b.example"))
    server.update("Secret", secret("other", {"tls.crt": chain, "tls.key": key}))
    refusal = server.faults.refuse(403, kind="Secret", verb="get", times=1)
    server.create("Ingress", ingress("j", "b.example", tls_secret="other"))
    wait_until(lambda: refusal.times == 0)
    wait_until(lambda: "cannot read Secret default/other" in caplog.text)
    wait_until(lambda: "b.example/" in controller.recorder.route_names())
    assert ["a.example/"] in controller.recorder.routes
