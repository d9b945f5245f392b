"""What fastproxy relies on in an API server, and what the stand-in therefore has to imitate."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from controller.kubernetes.api import ApiError, Selection, object_path
from controller.kubernetes.backoff import Availability
from controller.kubernetes.lease import Lease
from controller.kubernetes.resources import (
    CLASSES,
    INGRESSES,
    LEASES,
    SECRETS,
    SERVICES,
    SLICES,
    Resource,
)
from controller.report.events import EventWriter
from controller.sources.reflector import Reflector, lines, parse
from controller.sources.reflectors import USEFUL_SECRETS, Reflectors
from fastproxy.model.configuration import ObjectReference
from fastproxy.model.findings import Finding, Severity
from tests.contract.conftest import Subject
from tests.support.api_store import wait_until
from tests.support.kubernetes_objects import (
    endpoint_slice,
    ingress,
    ingress_class,
    secret,
    service,
)
from tests.support.mirror import Mirror


def make(subject: Subject, *names: str, **more: Any) -> None:
    for name in names:
        subject.server.create("Service", service(name, namespace=subject.namespace, **more))


def events(
    subject: Subject,
    version: str,
    count: int,
    resource: Resource = SERVICES,
    selection: Selection = Selection(),  # noqa: B008
    timeout: int = 20,
) -> list[tuple[str, str]]:
    """Watch until `count` events other than bookmarks have come; give type and name."""
    found: list[tuple[str, str]] = []
    with subject.api.watch(
        resource, subject.namespace, version, timeout=timeout, silence=30, selection=selection
    ) as chunks:
        for batch in lines(chunks):
            for type, item in map(parse, batch):
                if type == "ERROR":
                    raise ApiError(item["code"], item["reason"], item["message"])
                if type != "BOOKMARK":
                    found.append((type, item["metadata"]["name"]))
            if len(found) >= count:
                break
    return found


@pytest.mark.parametrize("resource", [INGRESSES[0], CLASSES[0], SLICES[0], LEASES])
def test_discovery(subject: Subject, resource: Resource) -> None:
    assert subject.api.serves(resource)
    assert not subject.api.serves(INGRESSES[2])
    assert not subject.api.serves(Resource("X", resource.group_version, "strangers"))


def test_list_in_pages(subject: Subject) -> None:
    make(subject, *(f"s{number}" for number in range(7)))
    listing = subject.api.list(SERVICES, subject.namespace, page=3)
    assert [item["metadata"]["name"] for item in listing.items] == [f"s{n}" for n in range(7)]
    assert listing.version.isdigit()
    assert subject.api.list(SERVICES, "elsewhere").items == []


def test_watch_continues_from_a_list(subject: Subject) -> None:
    make(subject, "a")
    version = subject.api.list(SERVICES, subject.namespace).version
    make(subject, "b")
    changed = service("a", port=81, namespace=subject.namespace)
    subject.server.update("Service", changed)
    subject.server.delete("Service", subject.namespace, "b")
    wanted = [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    assert events(subject, version, 3) == wanted
    middle = subject.server.read("Service", subject.namespace, "a")
    assert events(subject, middle["metadata"]["resourceVersion"], 1) == [("DELETED", "b")]


def test_versions_only_grow(subject: Subject) -> None:
    make(subject, "a", "b")
    first, second = (
        int(subject.server.read("Service", subject.namespace, name)["metadata"]["resourceVersion"])
        for name in "ab"
    )
    assert first < second <= int(subject.api.list(SERVICES, subject.namespace).version)


def test_too_old_is_410(subject: Subject) -> None:
    make(subject, "a")
    version = subject.api.list(SERVICES, subject.namespace).version
    make(subject, "b")
    subject.forget()
    with pytest.raises(ApiError) as expired:
        events(subject, version, 1)
    assert expired.value.gone


def test_server_ends_a_watch(subject: Subject) -> None:
    version = subject.api.list(SERVICES, subject.namespace).version
    assert events(subject, version, 1, timeout=1) == []


def test_bookmarks(subject: Subject) -> None:
    make(subject, "a")
    version = subject.api.list(SERVICES, subject.namespace).version
    # kube-apiserver marks the time of the last change it saw since its own start.
    threading.Timer(0.5, make, (subject, "b")).start()
    with subject.api.watch(SERVICES, subject.namespace, version, timeout=6, silence=30) as chunks:
        parsed = [parse(line) for batch in lines(chunks) for line in batch]
    marks = [item["metadata"] for type, item in parsed if type == "BOOKMARK"]
    assert marks and all(int(mark["resourceVersion"]) >= int(version) for mark in marks)


def test_labels_select(subject: Subject) -> None:
    selection = Selection(labels="keep=yes,!secret")
    version = subject.api.list(SERVICES, subject.namespace).version
    make(subject, "in", "stays", labels={"keep": "yes"})
    make(subject, "out", labels={"keep": "no"})
    make(subject, "hidden", labels={"keep": "yes", "secret": "1"})
    subject.server.update("Service", service("in", namespace=subject.namespace))
    listing = subject.api.list(SERVICES, subject.namespace, selection)
    assert [item["metadata"]["name"] for item in listing.items] == ["stays"]
    wanted = [("ADDED", "in"), ("ADDED", "stays"), ("DELETED", "in")]
    assert events(subject, version, 3, selection=selection) == wanted


def test_useless_secrets_are_filtered_by_the_server(subject: Subject) -> None:
    kept = secret("kept", {"k": b"v"}, subject.namespace)
    release = secret("release", {"k": b"v"}, subject.namespace, "helm.sh/release.v1")
    helm = secret("helm", {"k": b"v"}, subject.namespace)
    helm["metadata"]["labels"] = {"owner": "helm"}
    version = subject.api.list(SECRETS, subject.namespace).version
    for new in (release, helm, kept):
        subject.server.create("Secret", new)
    listing = subject.api.list(SECRETS, subject.namespace, USEFUL_SECRETS)
    assert [item["metadata"]["name"] for item in listing.items] == ["kept"]
    seen = events(subject, version, 1, SECRETS, USEFUL_SECRETS)
    assert seen == [("ADDED", "kept")]


def test_stale_writes_are_refused(subject: Subject) -> None:
    make(subject, "a")
    path = object_path(SERVICES, subject.namespace, "a")
    first = subject.api.get(path)
    subject.api.patch(path, {"metadata": {"labels": {"x": "1", "y": "2"}}})
    with pytest.raises(ApiError) as stale:
        subject.api.replace(path, first)
    assert stale.value.conflict and stale.value.reason == "Conflict"
    with pytest.raises(ApiError) as twice:
        subject.api.create(
            SERVICES.path(subject.namespace), service("a", namespace=subject.namespace)
        )
    assert twice.value.conflict and twice.value.reason == "AlreadyExists"


def test_merge_patch(subject: Subject) -> None:
    make(subject, "a", labels={"x": "1", "y": "2"})
    path = object_path(SERVICES, subject.namespace, "a")
    patched = subject.api.patch(path, {"metadata": {"labels": {"x": None, "z": "3"}}})
    assert patched["metadata"]["labels"] == {"y": "2", "z": "3"}


def test_status_is_written_apart(subject: Subject) -> None:
    subject.server.create("Ingress", ingress("i", "a.example", namespace=subject.namespace))
    path = object_path(INGRESSES[0], subject.namespace, "i")
    entries = [{"ip": "192.0.2.7"}]
    subject.api.patch(
        object_path(INGRESSES[0], subject.namespace, "i", "status"),
        {"status": {"loadBalancer": {"ingress": entries}}, "spec": {"rules": []}},
    )
    found = subject.api.get(path)
    assert found["status"]["loadBalancer"]["ingress"] == entries
    assert len(found["spec"]["rules"]) == 1
    found["status"] = {}
    found["metadata"].setdefault("labels", {})["x"] = "y"
    assert subject.api.replace(path, found)["status"]["loadBalancer"]["ingress"] == entries


def test_missing_is_404(subject: Subject) -> None:
    with pytest.raises(ApiError) as missing:
        subject.api.get(object_path(SERVICES, subject.namespace, "missing"))
    assert missing.value.missing


def test_unknown_token_is_401(subject: Subject) -> None:
    with pytest.raises(ApiError) as refused:
        subject.wrong.list(SERVICES)
    assert refused.value.status == 401


def test_a_feed_follows_through_a_410(subject: Subject) -> None:
    mirror, stop = Mirror(), threading.Event()
    availability = Availability(subject.api.reachable, stop)
    reflector = Reflector(
        subject.api, lambda: SERVICES, subject.namespace, mirror, availability, stop
    )
    threading.Thread(target=reflector.run, daemon=True).start()

    def agrees() -> bool:
        held = {
            (subject.namespace, item["metadata"]["name"]): item["metadata"]["resourceVersion"]
            for item in subject.server.items("Service", subject.namespace)
        }
        return mirror.versions() == held

    make(subject, "a", "b", "c")
    wait_until(agrees, 10)
    subject.server.delete("Service", subject.namespace, "a")
    subject.forget()
    make(subject, "d")
    wait_until(agrees, 20)
    subject.server.delete("Service", subject.namespace, "b")
    wait_until(agrees, 10)
    assert mirror.names() == ["c", "d"]
    stop.set()


def test_all_feeds_settle(subject: Subject) -> None:
    mirror, space = Mirror(), subject.namespace
    subject.server.apply("IngressClass", ingress_class("fastproxy"))
    subject.server.create("Ingress", ingress("i", "a.example", namespace=space))
    subject.server.create("Service", service(namespace=space))
    slices = endpoint_slice(addresses=("10.99.1.1",), namespace=space)
    subject.server.create("EndpointSlice", slices)
    subject.server.create("Secret", secret("s", {"k": b"v"}, space))
    reflectors = Reflectors(subject.api, mirror, [space])
    reflectors.start()
    wait_until(reflectors.synced, 10)
    kinds = {key.kind for key in mirror.objects}
    assert kinds == {"IngressClass", "Ingress", "Service", "EndpointSlice", "Secret"}
    reflectors.stop()


def test_lease_of_two_replicas(subject: Subject) -> None:
    one, two = (Lease(subject.api, subject.namespace, "fastproxy", name) for name in ("1", "2"))
    for _ in range(2):
        one.turn()
        two.turn()
        assert one.held() and not two.held()
    one.release()
    two.turn()
    assert two.held() and not one.held()


def test_events_are_counted(subject: Subject) -> None:
    about = ObjectReference("Ingress", subject.namespace, "i")
    finding = Finding("FP101", Severity.ERROR, about, "spec", "is wrong")
    for _ in range(2):  # two replicas
        writer = EventWriter(subject.api, "pod")
        writer.observe([finding], lambda about: "uid")
        assert writer.turn() == 1
    (event,) = subject.server.items("Event", subject.namespace)
    assert (event["count"], event["reason"], event["type"]) == (2, "FP101", "Warning")
