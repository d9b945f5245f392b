"""The rights of our manifests are enough, and no more than that."""

from __future__ import annotations

from typing import Any

import pytest

from controller.kubernetes.api import Api, ApiError, Token, object_path
from controller.kubernetes.resources import CLASSES, INGRESSES, LEASES, SECRETS, SERVICES, Resource
from fastproxy.settings.options import IngressEndpoint, Kubernetes
from tests.cluster.conftest import Start
from tests.support.api_store import wait_until
from tests.support.deploy import apply
from tests.support.kubernetes_objects import endpoint_slice, ingress, secret, service
from tests.support.network import pod_address
from tests.support.real_server import RealServer
from tests.support.tls import AUTHORITY, pem

PODS = Resource("Pod", "v1", "pods")


def serve(server: RealServer, namespace: str, host: str, **more: Any) -> None:
    """Create an Ingress with a Service and one endpoint."""
    server.create("Service", service(namespace=namespace))
    slice = endpoint_slice(addresses=(pod_address(1),), namespace=namespace)
    server.create("EndpointSlice", slice)
    server.create("Ingress", ingress("i", host, namespace=namespace, **more))


def addresses(server: RealServer, namespace: str) -> Any:
    status = server.read("Ingress", namespace, "i").get("status", {})
    return status.get("loadBalancer", {}).get("ingress")


def test_whole_life_with_the_cluster_role(
    deployed: RealServer, namespace: str, start: Start
) -> None:
    serve(deployed, namespace, f"{namespace}.example")
    deployed.create(
        "Ingress", ingress("broken", "b.example", service="missing", namespace=namespace)
    )
    options = Kubernetes(ingress_endpoint=IngressEndpoint(ip="192.0.2.7"))
    running = start(None, options)
    wait_until(lambda: running.recorder.hosts(f"{namespace}.example/") == [pod_address(1)], 15)
    wait_until(lambda: addresses(deployed, namespace) == [{"ip": "192.0.2.7"}], 15)
    wait_until(lambda: bool(deployed.items("Event", namespace)), 15)
    (event,) = deployed.items("Event", namespace)
    assert (event["reason"], event["involvedObject"]["name"]) == ("FP102", "broken")
    holder = deployed.read("Lease", "fastproxy", "fastproxy")["spec"]["holderIdentity"]
    assert holder
    running.stop()
    assert not deployed.read("Lease", "fastproxy", "fastproxy")["spec"].get("holderIdentity")


def test_class_decides_routes_and_status(
    deployed: RealServer, namespace: str, start: Start
) -> None:
    deployed.apply(
        "IngressClass", {"metadata": {"name": "foreign"}, "spec": {"controller": "example.com/x"}}
    )
    deployed.create("Service", service(namespace=namespace))
    for name in ("fastproxy", "foreign", "unknown"):
        deployed.create(
            "Ingress", ingress(name, f"{name}.example", namespace=namespace, class_name=name)
        )
    options = Kubernetes(ingress_endpoint=IngressEndpoint(hostname="lb.example"))
    running = start(None, options)
    wait_until(lambda: "fastproxy.example/" in running.recorder.route_names(), 15)
    assert not {"foreign.example/", "unknown.example/"} & set(running.recorder.route_names())

    def written(name: str) -> bool:
        found = deployed.read("Ingress", namespace, name).get("status", {})
        return bool(found.get("loadBalancer", {}).get("ingress"))

    wait_until(lambda: written("fastproxy"), 15)
    assert not written("foreign") and not written("unknown")


def test_a_secret_is_read_when_something_refers_to_it(
    deployed: RealServer, namespace: str, start: Start
) -> None:
    """Its content was dropped when nothing did; the account may read it by name."""
    chain, key = pem(AUTHORITY.issue_cert("later.example"))
    later = secret("later", {"tls.crt": chain, "tls.key": key}, namespace)
    deployed.create("Secret", later)
    serve(deployed, namespace, f"{namespace}.example")
    running = start(None, Kubernetes(namespaces=(namespace,)))
    wait_until(lambda: f"{namespace}.example/" in running.recorder.route_names(), 15)

    def kept() -> bool:
        return not running.source._cache._snapshot.secrets[namespace, "later"].withheld

    wait_until(lambda: not kept(), 15)
    deployed.create(
        "Ingress", ingress("j", "later.example", namespace=namespace, tls_secret="later")
    )
    wait_until(lambda: bool(running.recorder.newest.certificates), 15)
    assert running.recorder.newest.certificates[0].key == key
    assert kept() and "FP141" not in running.codes()
    deployed.delete("Ingress", namespace, "j")
    wait_until(lambda: not kept(), 15)


def test_published_service(deployed: RealServer, namespace: str, start: Start) -> None:
    serve(deployed, namespace, f"{namespace}.example")
    balancer = service("balancer", namespace=namespace)
    balancer["spec"]["type"] = "LoadBalancer"
    deployed.create("Service", balancer)
    where = IngressEndpoint(published_service=f"{namespace}/balancer")
    start(None, Kubernetes(ingress_endpoint=where, namespaces=(namespace,)))
    entries = [{"ip": "192.0.2.1", "ipMode": "VIP"}, {"hostname": "lb.example"}]
    status = {"loadBalancer": {"ingress": entries}}
    deployed.set_status("Service", namespace, "balancer", status)
    wanted = [{"ip": "192.0.2.1"}, {"hostname": "lb.example"}]
    wait_until(lambda: addresses(deployed, namespace) == wanted, 15)


def account(server: RealServer) -> Api:
    token = server.token_for("fastproxy", "fastproxy")
    return Api(server.url, Token(token), str(server.ca_file))


@pytest.mark.parametrize("resource", [PODS, LEASES, Resource("ConfigMap", "v1", "configmaps")])
def test_other_kinds_cannot_be_listed(deployed: RealServer, resource: Resource) -> None:
    with pytest.raises(ApiError) as refused:
        account(deployed).list(resource)
    assert refused.value.forbidden


def test_nothing_else_can_be_written(deployed: RealServer, namespace: str) -> None:
    serve(deployed, namespace, f"{namespace}.example")
    api = account(deployed)
    attempts = [
        lambda: api.create(SERVICES.path(namespace), service("new", namespace=namespace)),
        lambda: api.create(SECRETS.path(namespace), secret("new", {}, namespace)),
        lambda: api.patch(object_path(INGRESSES[0], namespace, "i"), {"spec": {}}),
        lambda: api._call("DELETE", object_path(INGRESSES[0], namespace, "i")),
        lambda: api.get(object_path(LEASES, "fastproxy", "other")),
        lambda: api.create(LEASES.path(namespace), {"metadata": {"name": "fastproxy"}}),
    ]
    for attempt in attempts:
        with pytest.raises(ApiError) as refused:
            attempt()
        assert refused.value.forbidden


def test_namespaced_rights(deployed: RealServer, namespace: str, start: Start) -> None:
    """Two namespaces are configured, the role exists in one: the other is left out, until later."""
    other = f"{namespace}-other"
    deployed.namespace(other)
    deployed.api.create(
        "/api/v1/namespaces/fastproxy/serviceaccounts", {"metadata": {"name": namespace}}
    )

    def grant(where: str) -> None:
        apply(deployed, "namespaced/role.yaml", where)
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{where}/rolebindings/fastproxy"
        subject = {"kind": "ServiceAccount", "name": namespace, "namespace": "fastproxy"}
        deployed.api.patch(path, {"subjects": [subject]})

    grant(namespace)
    for where in (namespace, other):
        serve(deployed, where, f"{where}.example", class_name="fastproxy")
    token = deployed.token_for("fastproxy", namespace)
    api = Api(deployed.url, Token(token), str(deployed.ca_file))
    with pytest.raises(ApiError):
        api.list(CLASSES[0])
    options = Kubernetes(namespaces=(namespace, other), ingress_class="fastproxy")
    running = start(api, options)
    wait_until(lambda: running.recorder.route_names() == [f"{namespace}.example/"], 20)
    grant(other)
    both = sorted(f"{where}.example/" for where in (namespace, other))
    wait_until(lambda: running.recorder.route_names() == both, 30)
