"""Which addresses are published, and which Ingresses get them."""

from __future__ import annotations

import pytest

from controller.kubernetes.api import connect
from controller.kubernetes.objects import Address, Ingress, Service
from controller.kubernetes.resources import INGRESSES
from controller.report.status import Unpublishable, outdated, wanted, write
from controller.snapshot.snapshot import Snapshot
from fastproxy.model.configuration import ObjectReference
from fastproxy.settings.options import IngressEndpoint
from tests.support.api_server import ApiServer
from tests.support.kubernetes_objects import ingress

ONE, TWO = Address("192.0.2.1", ""), Address("", "lb.example")


def snapshot(addresses: tuple[Address, ...] | None) -> Snapshot:
    return Snapshot.of([Service("kube-system", "fastproxy", addresses=addresses)])


@pytest.mark.parametrize(
    "options, addresses, expected",
    [
        (IngressEndpoint(ip="192.0.2.1"), None, (ONE,)),
        (IngressEndpoint(hostname="lb.example"), None, (TWO,)),
        (
            IngressEndpoint(hostname="lb.example", ip="192.0.2.1"),
            None,
            (Address("192.0.2.1", "lb.example"),),
        ),
        (
            IngressEndpoint("ignored", "192.0.2.9", "kube-system/fastproxy"),
            (ONE, TWO),
            (ONE, TWO),
        ),
        (IngressEndpoint(published_service="kube-system/fastproxy"), None, ()),
        (IngressEndpoint(published_service="kube-system/fastproxy"), (), ()),
    ],
)
def test_wanted(
    options: IngressEndpoint,
    addresses: tuple[Address, ...] | None,
    expected: tuple[Address, ...],
) -> None:
    assert wanted(options, snapshot(addresses)) == expected


@pytest.mark.parametrize(
    "options, text",
    [
        (IngressEndpoint(), "needs publishedService"),
        (IngressEndpoint(published_service="fastproxy"), "namespace/name"),
        (IngressEndpoint(published_service="a/b/c"), "namespace/name"),
        (IngressEndpoint(published_service="kube-system/other"), "does not exist"),
    ],
)
def test_unpublishable(options: IngressEndpoint, text: str) -> None:
    with pytest.raises(Unpublishable, match=text):
        wanted(options, snapshot(()))


def test_only_what_differs_is_outdated() -> None:
    view = Snapshot.of(
        [
            Ingress("a", "same", addresses=(ONE,)),
            Ingress("a", "empty"),
            Ingress("a", "other", addresses=(ONE, TWO)),
            Ingress("a", "foreign"),
        ]
    )
    names = ("same", "empty", "other", "vanished")
    served = [ObjectReference("Ingress", "a", name) for name in names]
    served.append(ObjectReference("Toy", "a", "empty"))
    assert list(outdated(view, served, (ONE,))) == [("a", "empty"), ("a", "other")]


def test_write() -> None:
    with ApiServer() as server:
        server.create("Ingress", ingress("i", "a.example"))
        api = connect(server.url, environment={})
        assert write(api, INGRESSES[0], ("default", "i"), (ONE, TWO))
        found = server.read("Ingress", "default", "i")
        assert found["status"] == {
            "loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example"}]}
        }
        assert write(api, INGRESSES[0], ("default", "deleted"), (ONE,))


def test_update_where_patch_is_forbidden() -> None:
    with ApiServer() as server:
        server.create("Ingress", ingress("i", "a.example"))
        server.faults.refuse(403, "Forbidden", kind="Ingress", verb="patch")
        api = connect(server.url, environment={})
        assert write(api, INGRESSES[0], ("default", "i"), (ONE,))
        found = server.read("Ingress", "default", "i")
        assert found["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1"}]
        assert found["spec"]["rules"]


def test_failure_is_told() -> None:
    with ApiServer() as server:
        server.faults.refuse(500, kind="Ingress")
        assert not write(connect(server.url, environment={}), INGRESSES[0], ("a", "i"), (ONE,))
