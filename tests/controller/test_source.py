"""Sources give the newest state, whatever led to it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import yaml

from controller.kubernetes.api import connect
from controller.kubernetes.objects import Ingress
from controller.sources.reflector import Change, Key
from controller.sources.source import ApiSource, Cache, ManifestsSource
from fastproxy.settings.options import Kubernetes
from tests.support.api_server import ApiServer
from tests.support.api_store import wait_until
from tests.support.kubernetes_objects import endpoint_slice, ingress, ingress_class, service


def change(kind: str, item: dict[str, object] | None, name: str = "") -> Change:
    if item is None:
        return Change(Key(kind, "default", name), None)
    metadata = item["metadata"]
    assert isinstance(metadata, dict)
    return Change(Key(kind, metadata.get("namespace", ""), metadata["name"]), item)


def test_only_the_newest_state_is_kept() -> None:
    cache = Cache()
    cache.deliver([change("Service", service("a")), change("Service", service("b"))])
    cache.deliver([change("Service", service("a", port=81)), change("Service", None, "b")])
    snapshot, found, *_ = cache.take()
    assert list(snapshot.services) == [("default", "a")]
    assert snapshot.services["default", "a"].ports[0].number == 81
    assert found == ()


def test_nothing_new_is_the_same_snapshot() -> None:
    cache = Cache()
    cache.deliver([change("Service", service("a"))])
    first = cache.take().snapshot
    cache.deliver([change("Service", service("a"))])
    assert cache.take().snapshot is first


def test_a_malformed_object_is_a_finding_and_stays_what_it_was() -> None:
    cache = Cache()
    good, bad = ingress("good", "a.example"), ingress("bad", "b.example")
    cache.deliver([change("Ingress", good), change("Ingress", bad)])
    never = ingress("never", "c.example")
    bad["spec"] = never["spec"] = {"rules": "nonsense"}
    for _ in range(2):  # before and after what it was is taken
        cache.deliver([change("Ingress", bad), change("Ingress", never)])
        snapshot, found, *_ = cache.take()
        assert sorted(snapshot.ingresses) == [("default", "bad"), ("default", "good")]
        assert snapshot.ingresses["default", "bad"].rules[0].host == "b.example"
        assert {(f.code, f.object.name) for f in found} == {("FP181", "bad"), ("FP181", "never")}
    cache.deliver([change("Ingress", None, "never")])
    cache.deliver([change("Ingress", ingress("bad", "b.example"))])
    snapshot, found, *_ = cache.take()
    assert len(snapshot.ingresses) == 2 and found == ()


def test_cluster_scoped_objects_have_no_namespace() -> None:
    cache = Cache()
    cache.deliver([change("IngressClass", ingress_class("fast"))])
    assert list(cache.take().snapshot.classes) == [("", "fast")]
    cache.deliver([Change(Key("IngressClass", "", "fast"), None)])
    assert not cache.take().snapshot.classes


def test_manifests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text(yaml.dump(service("a")))
    source, woken = ManifestsSource(tmp_path), threading.Event()
    source._manifests.interval = 0.02
    source.start(woken.set)
    wait_until(source.synced)
    assert woken.wait(5)
    (tmp_path / "b.yaml").write_text(yaml.dump(service("b")))
    wait_until(lambda: len(source.take().snapshot.services) == 2)
    assert source.staleness() == 0.0
    source.stop()


def test_api() -> None:
    with ApiServer() as server:
        server.create("Ingress", ingress("i", "a.example"))
        server.create("Service", service())
        server.create("EndpointSlice", endpoint_slice())
        source = ApiSource(connect(server.url, environment={}), Kubernetes())
        source.start(lambda: None)
        wait_until(source.synced)
        snapshot, found, *_ = source.take()
        assert isinstance(snapshot.ingresses["default", "i"], Ingress)
        assert snapshot.subsets_of("default", "web") and found == ()
        server.stop()
        wait_until(lambda: source.staleness() > 0)
        assert source.take().snapshot is snapshot
        source.stop()
