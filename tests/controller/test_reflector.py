"""The reflector under every fault the stand-in server knows; the mirror must equal the server."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.kubernetes.api import Selection, connect
from controller.kubernetes.backoff import Availability
from controller.kubernetes.resources import ENDPOINTS, SERVICES, SLICES, Resource
from controller.sources.reflector import (
    BrokenStream,
    Change,
    Key,
    Ledger,
    Reflector,
    lines,
    older,
    parse,
)
from tests.support.api_server import ApiServer
from tests.support.api_store import wait_until
from tests.support.kubernetes_objects import endpoints, service
from tests.support.mirror import Mirror


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten what is long on purpose; the order of the steps stays."""
    monkeypatch.setattr("controller.kubernetes.backoff.INITIAL", 0.02)
    monkeypatch.setattr("controller.kubernetes.backoff.LIMIT", 0.1)
    monkeypatch.setattr("controller.kubernetes.backoff.PROBE", 0.05)
    monkeypatch.setattr("controller.sources.reflector.SILENCE", 0.5)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(bookmark_seconds=0.1) as server:
        yield server


class Follower:
    """A running reflector of Services with its mirror."""

    def __init__(
        self, server: ApiServer, namespace: str = "", resource: Resource = SERVICES, **more: Any
    ) -> None:
        self.server = server
        self.kind = resource.kind
        self.mirror = Mirror()
        self.stop = threading.Event()
        api = connect(server.url, environment={})
        availability = Availability(api.reachable, self.stop)
        self.reflector = Reflector(
            api, lambda: resource, namespace, self.mirror, availability, self.stop, **more
        )
        threading.Thread(target=self.reflector.run, daemon=True).start()

    def agrees(self) -> bool:
        held = {
            (item["metadata"]["namespace"], item["metadata"]["name"]): item["metadata"][
                "resourceVersion"
            ]
            for item in self.server.items(self.kind, self.reflector.namespace)
        }
        return self.mirror.versions() == held

    def catches_up(self, seconds: float = 5.0) -> None:
        wait_until(self.agrees, seconds, "mirror equals server")

    def watches(self) -> None:
        wait_until(lambda: self.server.watching(self.kind) > 0, what="watch open")


@pytest.fixture
def follower(server: ApiServer) -> Iterator[Follower]:
    server.create("Service", service("a"))
    server.create("Service", service("b"))
    follower = Follower(server)
    follower.watches()
    follower.catches_up()
    yield follower
    follower.stop.set()


def churn(server: ApiServer, rounds: int = 20) -> None:
    """Create, change and delete services, some of them under a name used before."""
    for number in range(rounds):
        server.apply("Service", service(f"n{number % 5}", port=number + 1))
        if number % 3 == 2:
            server.delete("Service", "default", f"n{number % 5}")


def test_follows_changes(server: ApiServer, follower: Follower) -> None:
    churn(server)
    follower.catches_up()
    assert follower.reflector.synced and follower.reflector.staleness() == 0.0
    assert server.counted("GET", "limit=") == 1


def test_a_list_is_one_batch(follower: Follower) -> None:
    assert len(follower.mirror.batches) == 1


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_split_chunks(server: ApiServer, follower: Follower, size: int) -> None:
    server.faults.chunk_size = size
    churn(server, 8)
    follower.catches_up()


@pytest.mark.parametrize("fault", ["duplicate", "reorder"])
def test_duplicate_and_reordered_events(server: ApiServer, fault: str) -> None:
    follower = Follower(server)
    follower.watches()
    setattr(server.faults, fault, True)
    with server.store.changed:  # holding the lock makes all of it one batch
        churn(server, 30)
    follower.catches_up()
    follower.stop.set()


def test_dropped_stream_resumes_without_a_list(server: ApiServer, follower: Follower) -> None:
    for reset in (False, True, False):
        server.faults.drop_watches(reset=reset)
        churn(server, 5)
        follower.catches_up()
    assert server.counted("GET", "limit=") == 1


def test_finished_stream_resumes(server: ApiServer, follower: Follower) -> None:
    wait_until(lambda: server.faults.finish_watches() > 0)
    wait_until(lambda: server.counted("GET", "watch=1") >= 2)
    churn(server)
    follower.catches_up()
    assert server.counted("GET", "limit=") == 1


def test_410_event_lists_again_and_gives_the_difference(
    server: ApiServer, follower: Follower
) -> None:
    server.faults.stalled = True
    server.delete("Service", "default", "a")
    server.create("Service", service("c"))
    before = len(follower.mirror.batches)
    server.faults.stalled = False
    server.faults.expire_watches()
    follower.catches_up()
    changes = follower.mirror.batches[before:]
    assert sum(len(batch) for batch in changes) == 2
    assert server.counted("GET", "limit=") >= 1


def test_410_status_lists_again(server: ApiServer, follower: Follower) -> None:
    port = server.port
    server.stop()
    server.delete("Service", "default", "b")
    server.store.compact()
    assert follower.reflector.synced
    wait_until(lambda: follower.reflector.staleness() > 0)
    assert follower.mirror.names() == ["a", "b"]  # kept while the server is away
    server.start()
    assert server.port == port
    follower.catches_up()
    assert follower.mirror.names() == ["a"]


def test_410_storm(server: ApiServer, follower: Follower) -> None:
    rule = server.faults.refuse(410, "Expired", kind="Service", verb="watch")
    server.faults.drop_watches()
    wait_until(lambda: server.counted("GET", "limit=") >= 3)
    churn(server)
    server.faults.rules.remove(rule)
    follower.catches_up()


def test_stalled_stream_is_left(server: ApiServer, follower: Follower) -> None:
    """A half-open connection looks the same: silence, no end."""
    server.faults.stalled = True
    server.create("Service", service("unseen"))
    opened = server.counted("GET", "watch=1")
    wait_until(lambda: server.counted("GET", "watch=1") > opened, what="reconnect")
    server.faults.stalled = False
    follower.catches_up()


@pytest.mark.parametrize("code", [429, 500, 503])
def test_storms_are_waited_out(server: ApiServer, follower: Follower, code: int) -> None:
    rule = server.faults.refuse(code, times=5, kind="Service")
    server.faults.drop_watches()
    wait_until(lambda: rule.times == 0)
    churn(server)
    follower.catches_up()
    wait_until(lambda: follower.reflector.staleness() == 0.0)


def test_resets_at_connect_are_waited_out(server: ApiServer, follower: Follower) -> None:
    server.faults.refuse_connections = True
    server.faults.drop_watches(reset=True)
    wait_until(lambda: follower.reflector.staleness() > 0)
    churn(server)
    server.faults.refuse_connections = False
    follower.catches_up()


def test_403_keeps_what_is_known_and_recovers(server: ApiServer, follower: Follower) -> None:
    rule = server.faults.refuse(403, "Forbidden", kind="Service")
    server.faults.drop_watches()
    wait_until(lambda: follower.reflector.refused)
    assert follower.mirror.names() == ["a", "b"]
    server.faults.rules.remove(rule)
    churn(server)
    follower.catches_up()
    assert not follower.reflector.refused


@pytest.mark.parametrize(
    "garbage",
    [
        b"not json\n",
        b"[]\n",
        b'"text"\n',
        b'{"type":"SURPRISE","object":{}}\n',
        b'{"object":{}}\n',
        b"\xff\xfe\n",
    ],
)
def test_garbage_lines_lead_to_a_new_list(
    server: ApiServer, follower: Follower, garbage: bytes
) -> None:
    listed = server.counted("GET", "limit=")
    assert server.faults.send_raw("Service", garbage)
    wait_until(lambda: server.counted("GET", "limit=") > listed)
    churn(server)
    follower.catches_up()


@pytest.mark.parametrize(
    "item", [None, [], "x", {}, {"metadata": None}, {"metadata": {"name": 3}}, {"metadata": []}]
)
def test_garbage_objects_are_ignored(server: ApiServer, follower: Follower, item: Any) -> None:
    listed = server.counted("GET", "limit=")
    event = orjson.dumps({"type": "ADDED", "object": item}) + b"\n\n"
    assert server.faults.send_raw("Service", event)
    churn(server)
    follower.catches_up()
    assert server.counted("GET", "limit=") == listed
    server.faults.item_garbage["Service"] = [item]
    server.faults.expire_watches()
    churn(server)
    follower.catches_up()


def test_a_failing_sink_gets_everything_again(server: ApiServer, follower: Follower) -> None:
    deliver = follower.reflector._deliver
    failures = [ValueError("a bug"), ValueError("a bug")]

    def failing(changes: Any) -> None:
        if failures:
            raise failures.pop()
        deliver(changes)

    follower.reflector._deliver = failing
    churn(server)
    follower.catches_up()


def test_back_off_starts_over_after_a_healthy_stream(
    server: ApiServer, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.sources.reflector.HEALTHY", 0.05)
    follower.reflector._backoff._interval = 60.0
    wait_until(lambda: follower.reflector.staleness() == 0.0)
    opened = follower.reflector._opened_at
    assert opened is not None
    wait_until(lambda: time.monotonic() - opened > 0.1)
    server.faults.send_raw("Service", b"garbage\n")
    churn(server)
    follower.catches_up()


def test_bookmarks_move_the_position(server: ApiServer) -> None:
    server.create("Service", service("a"))
    follower = Follower(server)
    follower.watches()
    for number in range(5):
        server.create("Service", service(f"x{number}", namespace="x"))
        server.create("Endpoints", endpoints(f"y{number}"))
    wait_until(lambda: follower.reflector._version == str(server.store.revision), what="bookmark")
    follower.stop.set()


def test_namespace_and_selection(server: ApiServer) -> None:
    follower = Follower(server, "blue", selection=Selection(labels="keep=yes"))
    follower.watches()
    wanted = service("in", namespace="blue", labels={"keep": "yes"})
    server.create("Service", wanted)
    server.create("Service", service("out", namespace="blue"))
    server.create("Service", service("elsewhere", labels={"keep": "yes"}))
    wait_until(lambda: follower.mirror.names() == ["in"])
    server.update("Service", service("in", namespace="blue"))  # leaves the selection ...
    wait_until(lambda: follower.mirror.names() == [])
    server.update("Service", wanted)  # ... and comes back with the same uid
    wait_until(lambda: follower.mirror.names() == ["in"])
    follower.stop.set()


def test_forbidden_slices_fall_back_to_endpoints(server: ApiServer) -> None:
    server.create("Endpoints", endpoints("web"))
    server.faults.refuse(403, "Forbidden", kind="EndpointSlice")
    follower = Follower(server, resource=SLICES[0], forbidden_choice=ENDPOINTS)
    wait_until(lambda: follower.mirror.names("Endpoints") == ["web"])
    server.create("Endpoints", endpoints("more"))
    wait_until(lambda: follower.mirror.names("Endpoints") == ["more", "web"])
    follower.stop.set()


def test_a_failure_is_logged_once(
    server: ApiServer, follower: Follower, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "controller")
    rule = server.faults.refuse(500, "InternalError", kind="Service")
    server.faults.drop_watches()
    asked = server.counted("GET", "watch=1")
    wait_until(lambda: server.counted("GET", "watch=1") > asked + 4)
    server.faults.rules.remove(rule)
    wait_until(lambda: server.watching() > 0)
    wait_until(lambda: follower.reflector.staleness() == 0.0)
    wait_until(lambda: "works again" in caplog.text)
    texts = [record.message for record in caplog.records]
    assert sum("500 InternalError" in text for text in texts) == 1
    assert sum("works again" in text for text in texts) == 1


@given(
    st.lists(st.binary(min_size=1, max_size=6).filter(lambda b: b"\n" not in b and b.strip())),
    st.lists(st.integers(1, 9), min_size=1),
)
def test_lines_agree_with_split(texts: list[bytes], sizes: list[int]) -> None:
    data = b"".join(text + b"\n" for text in texts)
    chunks, start, turn = [], 0, 0
    while start < len(data):
        chunks.append(data[start : start + sizes[turn % len(sizes)]])
        start += len(chunks[-1])
        turn += 1
    assert [line for found in lines(chunks) for line in found] == texts


def test_an_endless_line_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.sources.reflector.LONGEST_LINE", 10)
    with pytest.raises(BrokenStream):
        list(lines([b"12345"] * 3))


@pytest.mark.parametrize(
    "left, right, expected",
    [("9", "10", True), ("10", "9", False), ("7", "7", False), ("a", "b", False), ("", "1", False)],
)
def test_older(left: str, right: str, expected: bool) -> None:
    assert older(left, right) is expected


def item(name: str, uid: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid, "resourceVersion": str(version)}}


@pytest.mark.parametrize(
    "events, left",
    [
        # (type, uid, version) ... -> version left, or None
        ([("ADDED", "u", 5), ("MODIFIED", "u", 7), ("MODIFIED", "u", 6)], "7"),
        ([("ADDED", "u", 5), ("DELETED", "u", 8), ("MODIFIED", "u", 7)], None),
        ([("ADDED", "u", 5), ("ADDED", "v", 9), ("DELETED", "u", 8)], "9"),
        ([("ADDED", "v", 9), ("ADDED", "u", 5), ("DELETED", "u", 8)], "9"),
        ([("DELETED", "u", 8), ("ADDED", "u", 5)], None),
        ([("ADDED", "u", 5), ("DELETED", "u", 8), ("ADDED", "u", 9)], "9"),
        ([("ADDED", "u", 5), ("ADDED", "u", 5)], "5"),
        ([("MODIFIED", "u", 5)], "5"),
    ],
)
def test_ledger(events: list[tuple[str, str, int]], left: str | None) -> None:
    ledger, mirror = Ledger("Service"), Mirror()
    for type, uid, version in events:
        change = ledger.event(type, item("a", uid, version))
        if change is not None:
            mirror([change])
    assert list(mirror.versions().values()) == ([left] if left else [])


@given(st.data())
def test_ledger_is_level_based(data: st.DataObject) -> None:
    """Any order and repetition of a history's events ends at its last state."""
    history: list[tuple[str, dict[str, Any]]] = []
    state: dict[str, str] = {}
    serial = 0
    for version in range(1, data.draw(st.integers(2, 13))):
        name = data.draw(st.sampled_from("ab"))
        if name not in state:
            serial += 1
            state[name] = f"uid{serial}"
            history.append(("ADDED", item(name, state[name], version)))
        elif data.draw(st.booleans()):
            history.append(("MODIFIED", item(name, state[name], version)))
        else:
            history.append(("DELETED", item(name, state.pop(name), version)))
    seen = data.draw(st.permutations(history)) + data.draw(st.lists(st.sampled_from(history)))
    ledger, mirror = Ledger("Service"), Mirror()
    for type, thing in seen:
        change = ledger.event(type, thing)
        if change is not None:
            mirror([change])
    last: dict[str, str | None] = {}
    for type, thing in history:
        meta = thing["metadata"]
        last[meta["name"]] = None if type == "DELETED" else meta["resourceVersion"]
    expected = {name: version for name, version in last.items() if version is not None}
    assert {name: version for (_, name), version in mirror.versions().items()} == expected


def test_listing_gives_only_the_difference() -> None:
    ledger = Ledger("Service")
    ledger.listing("Service", [item("a", "1", 1), item("b", "2", 2)])
    changes = ledger.listing("Service", [item("b", "2", 2), item("c", "3", 3)])
    assert changes == [
        Change(Key("Service", "", "c"), item("c", "3", 3)),
        Change(Key("Service", "", "a"), None),
    ]


def test_parse_refuses_what_is_no_event() -> None:
    assert parse(b'{"type":"ADDED","object":{}}') == ("ADDED", {})
    with pytest.raises(BrokenStream):
        parse(b"{")
