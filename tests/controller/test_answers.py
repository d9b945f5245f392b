"""Whatever the API server answers 200 with, what is known stays, and it is asked again soon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from controller.kubernetes.answers import (
    LONGEST_MESSAGE,
    ApiError,
    Garbage,
    checked_object,
    is_object,
    names_served,
    page_of,
    parsed,
)
from controller.kubernetes.api import connect
from controller.kubernetes.lease import Lease
from controller.kubernetes.resources import INGRESSES, LEASES, SECRETS, SERVICES
from controller.report.status import write
from controller.sources.secrets import fetch_from
from controller.sources.source import ApiSource
from fastproxy.settings.options import Kubernetes
from tests.support.api_server import ApiServer
from tests.support.api_store import wait_until
from tests.support.kubernetes_objects import endpoint_slice, ingress, secret, service

# No answer to any question that is not about itself.
NONSENSE: list[bytes] = [
    b"",
    b" ",
    b"null",
    b"{}",
    b"[]",
    b"7",
    b'"text"',
    b"<html>",
    b"{",
    b"\xff\xfe",
    b'{"kind":"Status","apiVersion":"v1","status":"Failure","code":500}',
    b'{"kind":"Status","apiVersion":"v1","status":"Success","metadata":{"resourceVersion":"9"}}',
    b'{"kind":"PodList","metadata":{"resourceVersion":"9"},"items":[]}',
    b'{"kind":"APIResourceList","resources":null}',
    b'{"kind":["List"],"metadata":{"resourceVersion":"9"},"items":[]}',
    b'{"kind":"Pod","metadata":{"name":"web","namespace":"default"}}',
    orjson.dumps({"a": ["x" * 1000] * 1000}),
    b"[" * 100_000,
]


def listing(**changes: Any) -> bytes:
    page = {"kind": "IngressList", "metadata": {"resourceVersion": "9"}, "items": []}
    page |= changes
    return orjson.dumps({key: value for key, value in page.items() if value is not ...})


# Almost a list of Ingresses.
NO_LISTS = [
    listing(items=...),
    listing(items={}),
    listing(items="x"),
    listing(items=0),
    listing(metadata=...),
    listing(metadata=None),
    listing(metadata=[]),
    listing(metadata={}),
    listing(metadata={"resourceVersion": ""}),
    listing(metadata={"resourceVersion": 9}),
    listing(metadata={"resourceVersion": "9", "continue": 7}),
    listing(kind=...),
    listing(kind="Ingress"),
    listing(kind="ServiceList"),
    listing(items=[None]),
    listing(items=[{}]),
    listing(items=[{"metadata": {"name": ""}}]),
    listing(items=[{"metadata": {"name": 7}}]),
    listing(items=[[], 7, "x"]),
    listing(items=[{"kind": "Pod", "metadata": {"name": "i", "namespace": "default"}}]),
    listing(metadata={"resourceVersion": "9", "continue": "for ever"}),  # the same page again
]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.kubernetes.backoff.INITIAL", 0.05)
    monkeypatch.setattr("controller.kubernetes.backoff.LIMIT", 0.2)
    monkeypatch.setattr("controller.kubernetes.backoff.FIRST_PAUSE", 0.02)


class Cluster:
    """An API server with a route and a source which follows it."""

    def __init__(self) -> None:
        self.server = ApiServer()
        self.server.start()
        self.server.create("Ingress", ingress("i", "a.example"))
        self.server.create("Service", service())
        self.server.create("EndpointSlice", endpoint_slice())
        self.source = ApiSource(connect(self.server.url, environment={}), Kubernetes())
        self.source.start(lambda: None)
        wait_until(self.source.synced)
        wait_until(lambda: self.server.watching() == 5)
        self.before = self.source.take().snapshot

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.stop()
        self.server.stop()

    def asked(self, text: str) -> int:
        return self.server.counted("GET", text)

    def recovers(self) -> None:
        self.server.faults.instead.clear()
        self.server.create("Ingress", ingress("new", "b.example"))
        wait_until(lambda: ("default", "new") in self.source.take().snapshot.ingresses)
        assert ("default", "i") in self.source.take().snapshot.ingresses


def test_a_nonsense_list_takes_nothing_away() -> None:
    with Cluster() as cluster:
        for answer in NONSENSE + NO_LISTS:
            cluster.server.faults.instead["Ingress", "list"] = answer
            listed = cluster.asked("ingresses?limit")
            cluster.server.faults.expire_watches()
            wait_until(lambda n=listed: cluster.asked("ingresses?limit") > n + 1)  # type: ignore[misc]
            assert cluster.source.take().snapshot is cluster.before, answer
        cluster.recovers()


def test_a_nonsense_second_page_takes_nothing_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.kubernetes.api.PAGE", 1)
    with Cluster() as cluster:
        api = connect(cluster.server.url, environment={})
        cluster.server.create("Ingress", ingress("j", "b.example"))
        get = api.get
        for answer in NONSENSE + NO_LISTS[:14]:

            def second(path: str, query: Any = None, answer: bytes = answer) -> Any:
                return parsed(answer) if "continue" in (query or {}) else get(path, query)

            api.get = second  # type: ignore[method-assign]
            with pytest.raises(ApiError):
                api.list(INGRESSES[0], page=1)


@pytest.mark.parametrize("answer", NONSENSE)
def test_nonsense_in_a_watch_takes_nothing_away(answer: bytes) -> None:
    with Cluster() as cluster:
        cluster.server.faults.instead["Ingress", "watch"] = answer
        asked = cluster.asked("ingresses?watch")
        cluster.server.end_watches("finish")
        wait_until(lambda: cluster.asked("ingresses?watch") > asked + 1)
        assert cluster.source.take().snapshot is cluster.before
        cluster.recovers()


def event(kind: Any = "Ingress", type: str = "MODIFIED", **metadata: Any) -> bytes:
    about = {"name": "i", "namespace": "default", "uid": "u", "resourceVersion": "999999"}
    item = {"metadata": about | metadata}
    return orjson.dumps({"type": type, "object": item | ({"kind": kind} if kind else {})}) + b"\n"


# Events about something else, or about nothing, that look like one about the route.
EVENTS = [
    event(kind="Pod"),
    event(kind="Pod", type="DELETED"),
    event(kind=None),
    event(kind=["Ingress"]),
    event(kind="IngressList", type="DELETED"),
    b'{"type":"DELETED","object":{}}\n',
    b'{"type":"DELETED","object":null}\n',
    b'{"type":"DELETED"}\n',
    b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":{"a":1}}}}\n',
    b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":7}}}\n',
    b'{"type":"ERROR","object":{"code":"x","message":["y"]}}\n',
    b'{"type":"ERROR","object":7}\n',
    b"\x00\n",
]


@pytest.mark.parametrize("line", EVENTS)
def test_nonsense_events_take_nothing_away(line: bytes) -> None:
    with Cluster() as cluster:
        assert cluster.server.faults.send_raw("Ingress", line)
        cluster.recovers()


def test_a_position_no_server_knows_is_given_up() -> None:
    """A bookmark that is nonsense, or a store that was restored: no watch can be opened."""
    with Cluster() as cluster:
        cluster.server.faults.send_raw(
            "Ingress",
            b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"not a number"}}}\n',
        )
        cluster.server.faults.refuse(504, "Timeout", kind="Ingress", verb="watch", times=6)
        listed = cluster.asked("ingresses?limit")
        cluster.server.faults.drop_watches()
        wait_until(lambda: cluster.asked("ingresses?limit") > listed, 15)
        cluster.recovers()


def test_nonsense_discovery_changes_nothing() -> None:
    with Cluster() as cluster:
        for answer in NONSENSE:
            cluster.server.faults.instead["", "get"] = answer
            asked = cluster.asked("/apis/networking.k8s.io/v1")
            cluster.server.faults.expire_watches()
            wait_until(lambda n=asked: cluster.asked("/apis/networking.k8s.io/v1") > n + 2)  # type: ignore[misc]
            assert cluster.source.take().snapshot is cluster.before, answer
        cluster.recovers()


@pytest.mark.parametrize("answer", NONSENSE)
def test_a_nonsense_secret_is_none(answer: bytes) -> None:
    with ApiServer() as server:
        server.create("Secret", secret("s", {"k": b"v"}))
        fetch = fetch_from(connect(server.url, environment={}))
        assert fetch(("default", "s")) is not None
        server.faults.instead["Secret", "get"] = answer
        with pytest.raises(Garbage):
            fetch(("default", "s"))


def test_another_secret_is_none() -> None:
    with ApiServer() as server:
        other = server.create("Secret", secret("other", {"k": b"v"}))
        server.faults.instead["Secret", "get"] = orjson.dumps(other | {"kind": "Secret"})
        with pytest.raises(Garbage, match="asked for Secret default/s"):
            fetch_from(connect(server.url, environment={}))(("default", "s"))


@pytest.mark.parametrize("verb", ["get", "create", "update"])
@pytest.mark.parametrize("answer", NONSENSE)
def test_a_nonsense_lease_is_not_held(verb: str, answer: bytes) -> None:
    with ApiServer() as server:
        api = connect(server.url, environment={})
        lease = Lease(api, "ingress", "fastproxy", "me", now=lambda: datetime.now(UTC))
        if verb == "update":
            lease.turn()
            lease.release()
        server.faults.instead["Lease", verb] = answer
        lease.turn()
        assert not lease.held()
        server.faults.instead.clear()
        lease.turn()
        assert lease.held()


@pytest.mark.parametrize(
    "spec",
    [
        {"leaseTransitions": "x"},
        {"leaseTransitions": None},
        {"leaseTransitions": [1]},
        {"holderIdentity": ""},
        {"renewTime": {}},
        "x",
        None,
        [],
    ],
)
def test_a_lease_of_odd_content_can_be_taken(spec: Any) -> None:
    with ApiServer() as server:
        server.create(
            "Lease", {"metadata": {"name": "fastproxy", "namespace": "ingress"}, "spec": spec}
        )
        lease = Lease(connect(server.url, environment={}), "ingress", "fastproxy", "me")
        lease.turn()
        assert lease.held()


@pytest.mark.parametrize("answer", NONSENSE)
def test_a_nonsense_status_is_not_written_back(answer: bytes) -> None:
    with ApiServer() as server:
        server.create("Ingress", ingress("i", "a.example"))
        api = connect(server.url, environment={})
        server.faults.refuse(403, "Forbidden", kind="Ingress", verb="patch")
        server.faults.instead["Ingress", "get"] = answer
        assert not write(api, INGRESSES[0], ("default", "i"), ())
        assert server.counted("PUT") == 0


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.kubernetes.api.MOST_BYTES", 100_000)
    with ApiServer() as server:
        for number in range(100):
            server.create("Service", service(f"s{number}", labels={"x": "y" * 5000}))
        api = connect(server.url, environment={})
        with pytest.raises(Garbage, match="more than 100000 bytes"):
            api.list(SERVICES, page=50)
        monkeypatch.setattr("controller.kubernetes.api.SMALLEST_PAGE", 5)
        assert len(api.list(SERVICES, page=50).items) == 100  # in smaller pages
        server.create("Service", service("all", labels={"x": "y" * 200_000}))
        with pytest.raises(Garbage, match="more than 100000 bytes"):
            api.read(SERVICES, "default", "all")


def test_an_answer_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.kubernetes.api.WHOLE_TIMEOUT", -1.0)
    with ApiServer() as server, pytest.raises(ApiError, match="no whole answer"):
        connect(server.url, environment={}).list(SERVICES)


def test_pages_without_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.kubernetes.api.MOST_PAGES", 3)
    with ApiServer() as server:
        for number in range(4):
            server.create("Service", service(f"s{number}"))
        api = connect(server.url, environment={})
        with pytest.raises(Garbage, match="more than 3 pages"):
            api.list(SERVICES, page=1)
        assert len(api.list(SERVICES, page=2).items) == 4


REFUSED: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (names_served, ({"resources": [None]},)),
    (names_served, ({"resources": {"name": "ingresses"}},)),
    (names_served, ({"kind": "Status", "resources": []},)),
    (names_served, ({},)),
    (checked_object, ({"kind": "Lease", "metadata": {"name": "y"}}, LEASES, "", "x")),
    (checked_object, ({"kind": "Lease", "metadata": {"name": "x"}}, LEASES, "ns", "x")),
    (checked_object, ({"metadata": {"name": "x"}}, LEASES, "", "x")),
    (page_of, ({"kind": "List", "items": []}, SECRETS)),
]


@pytest.mark.parametrize(("check", "values"), REFUSED)
def test_what_is_refused(check: Callable[..., Any], values: tuple[Any, ...]) -> None:
    with pytest.raises(Garbage):
        check(*values)


def test_what_is_believed() -> None:
    assert list(names_served({"resources": [{"name": "a"}]})) == ["a"]
    assert page_of({"kind": "List", "metadata": {"resourceVersion": "1"}, "items": None}, SECRETS)
    full = {"kind": "SecretList", "metadata": {"resourceVersion": "1", "continue": "x"}}
    assert page_of(full | {"items": [7]}, SECRETS) == ([7], "1", "x")
    assert is_object({"metadata": {"name": "x"}}, "Pod")
    assert not is_object({"kind": "Pod", "metadata": {"name": "x"}}, "Ingress")


def test_what_a_server_says_is_shown_in_part() -> None:
    error = ApiError(500, "r" * 10_000, "m" * 10_000, retry_after=1e300)
    assert len(str(error)) < LONGEST_MESSAGE + 200
    assert error.retry_after == 300.0
    assert ApiError(500, "", "", retry_after=-5.0).retry_after == 0.0


@pytest.mark.parametrize("header", ["9" * 5000, "-1", "x", "\u00b2", ""])
def test_a_nonsense_retry_after_is_none(header: str) -> None:
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(503)
            self.send_header("Retry-After", header.encode().decode("latin-1"))
            self.end_headers()

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with pytest.raises(ApiError) as refused:
            connect(f"http://127.0.0.1:{server.server_address[1]}", environment={}).list(SERVICES)
        assert refused.value.retry_after is None
    finally:
        server.shutdown()
        server.server_close()


# how each watch ends: what is written into it before
ABOUT = {"name": "x", "namespace": "d", "uid": "1", "resourceVersion": "900"}
ENDINGS = {
    "silent": b"",
    "bookmark": event("Service", "BOOKMARK", **ABOUT),
    "event": event("Service", "ADDED", **ABOUT),
}


@pytest.mark.alone
@pytest.mark.parametrize("ending", ENDINGS)
def test_watches_that_end_at_once_are_opened_ever_more_slowly(
    ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with ApiServer() as server:
        server.faults.instead["Service", "watch"] = ENDINGS[ending]
        source = ApiSource(connect(server.url, environment={}), Kubernetes())
        source.start(lambda: None)
        try:
            wait_until(lambda: server.counted("GET", "services?watch") > 0)
            time.sleep(3.0)
            assert 2 <= server.counted("GET", "services?watch") <= 12
            server.faults.instead.clear()

            def lives() -> bool:
                """One that is not about to end as those before did."""
                watched = server.watching("Service") == 1
                time.sleep(0.5)
                return watched and server.watching("Service") == 1

            wait_until(lives, 15)
            began = time.monotonic()
            server.create("Service", service("late"))
            wait_until(lambda: ("default", "late") in source.take().snapshot.services)
            assert time.monotonic() - began < 1.0  # a watch that lives is as fast as ever
        finally:
            source.stop()
