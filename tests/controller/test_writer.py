"""Two controllers on one server: one writes, once, and the other takes over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.kubernetes.api import connect
from controller.kubernetes.lease import DURATION, RETRY_PERIOD, Lease
from controller.report.events import EventWriter
from controller.report.writer import REPEAT, Writer, lease_name, own_namespace
from controller.snapshot.snapshot import Snapshot
from controller.sources.reflector import Change, Key
from controller.sources.source import Cache
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding, Severity
from fastproxy.settings.options import IngressEndpoint
from tests.support.api_server import ApiServer
from tests.support.kubernetes_objects import ingress

OPTIONS = IngressEndpoint(ip="192.0.2.1")


class Clock:
    def __init__(self) -> None:
        self.now = 500.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        for name in ("a", "b"):
            server.create("Ingress", ingress(name, f"{name}.example"))
        yield server


class Replica:
    """A writer that observes the server as a controller would."""

    def __init__(
        self, server: ApiServer, clock: Clock, name: str, options: IngressEndpoint | None = OPTIONS
    ) -> None:
        api = connect(server.url, environment={})
        self.server = server
        lease = Lease(api, "default", "fastproxy", name, clock)
        self.writer = Writer(api, lease, EventWriter(api, name, clock), options, clock)

    def snapshot(self) -> Snapshot:
        cache = Cache()
        cache.deliver(
            [
                Change(Key("Ingress", "default", item["metadata"]["name"]), item)
                for item in self.server.items("Ingress")
            ]
        )
        return cache.take().snapshot

    def look(self, *findings: Finding) -> None:
        snapshot = self.snapshot()
        self.writer.observe(snapshot, served(snapshot), findings)
        self.writer.turn()


def served(snapshot: Snapshot) -> list[ObjectReference]:
    return [ingress.reference for _, ingress in sorted(snapshot.ingresses.items())]


def statuses(server: ApiServer) -> list[object]:
    return [
        item.get("status", {}).get("loadBalancer", {}).get("ingress")
        for item in server.items("Ingress")
    ]


WRITTEN = [[{"ip": "192.0.2.1"}]] * 2


def test_only_the_holder_writes_and_only_once(server: ApiServer) -> None:
    clock = Clock()
    one, two = Replica(server, clock, "one"), Replica(server, clock, "two")
    for _ in range(5):
        one.look()
        two.look()
        clock.now += RETRY_PERIOD
    assert statuses(server) == WRITTEN
    assert server.counted("PATCH", "/status") == 2


def test_the_other_takes_over(server: ApiServer) -> None:
    clock = Clock()
    one, two = Replica(server, clock, "one"), Replica(server, clock, "two")
    one.look()
    two.look()
    server.create("Ingress", ingress("c", "c.example"))
    two.look()
    assert statuses(server) == [*WRITTEN, None]
    clock.now += DURATION
    two.look()
    assert statuses(server) == [*WRITTEN, WRITTEN[0]]


def test_a_status_lost_on_the_way_is_repeated_later(server: ApiServer) -> None:
    clock = Clock()
    one = Replica(server, clock, "one")
    before = one.snapshot()
    for pause in (0.0, RETRY_PERIOD, RETRY_PERIOD):  # the watch tells nothing new
        clock.now += pause
        one.writer.observe(before, served(before), ())
        one.writer.turn()
    assert server.counted("PATCH", "/status") == 2
    clock.now += REPEAT
    one.writer.turn()
    assert server.counted("PATCH", "/status") == 4


def test_a_failed_write_is_tried_again(server: ApiServer) -> None:
    one = Replica(server, Clock(), "one")
    server.faults.refuse(500, kind="Ingress", verb="patch", times=1)
    one.look()
    assert statuses(server) == [None, None]
    one.look()
    assert statuses(server) == WRITTEN


def test_without_the_option_no_status(server: ApiServer) -> None:
    one = Replica(server, Clock(), "one", None)
    one.look()
    assert statuses(server) == [None, None]


def test_findings_become_events_of_the_holder_only(server: ApiServer) -> None:
    clock = Clock()
    one, two = Replica(server, clock, "one"), Replica(server, clock, "two")
    about = ObjectReference("Ingress", "default", "a")
    finding = Finding("FP102", Severity.ERROR, about, "spec.rules", "is wrong")
    for _ in range(3):
        one.look(finding)
        two.look(finding)
    (event,) = server.items("Event")
    assert event["count"] == 1
    uid = server.read("Ingress", "default", "a")["metadata"]["uid"]
    assert event["involvedObject"]["uid"] == uid


def test_thread_writes_and_releases(server: ApiServer) -> None:
    from tests.support.api_store import wait_until

    one = Replica(server, Clock(), "one")
    snapshot = one.snapshot()
    one.writer.observe(snapshot, served(snapshot), ())
    one.writer.start()
    wait_until(lambda: statuses(server) == WRITTEN)
    one.writer.stop()
    assert server.read("Lease", "default", "fastproxy")["spec"]["holderIdentity"] == ""


@pytest.mark.parametrize(
    "ingress_class, name",
    [
        ("", "fastproxy"),
        ("internal", "fastproxy-internal"),
        ("My_Class.x", "fastproxy-my-class-x"),
        ("ü", "fastproxy"),
        ("x" * 99, "fastproxy-" + "x" * 53),
    ],
)
def test_lease_name(ingress_class: str, name: str) -> None:
    assert lease_name(ingress_class) == name


def test_own_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POD_NAMESPACE", raising=False)
    assert own_namespace(tmp_path) == "default"
    (tmp_path / "namespace").write_text("edge\n")
    assert own_namespace(tmp_path) == "edge"
    monkeypatch.setenv("POD_NAMESPACE", "pod")
    assert own_namespace(tmp_path) == "pod"
