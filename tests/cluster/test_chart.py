"""What the Helm chart renders, as a real API server sees it."""

from __future__ import annotations

from typing import Any

import pytest

from controller.kubernetes.api import Api, Token
from controller.kubernetes.resources import Resource
from fastproxy.settings.options import IngressEndpoint, Kubernetes
from tests.cluster.conftest import Start
from tests.support.api_store import wait_until
from tests.support.helm import rendered
from tests.support.kubernetes_objects import endpoint_slice, ingress, service
from tests.support.network import pod_address
from tests.support.real_server import RESOURCES, RealServer

FOREIGN = ("ServiceMonitor", "PrometheusRule")  # kinds this server does not have
VALUES: list[dict[str, Any]] = [
    {},
    {"deployment": {"kind": "DaemonSet"}},
    {"autoscaling": {"enabled": True}, "podDisruptionBudget": {"maxUnavailable": 1}},
    {"ingressClass": {"isDefaultClass": True}, "service": {"type": "ClusterIP"}},
    {"service": {"type": "NodePort"}, "ports": {"http": {"nodePort": 30080}}},
    {"metrics": {"prometheus": {"enabled": True, "serviceMonitor": {"enabled": True}}}},
    {"rbac": {"namespaced": True}, "commonLabels": {"team": "edge"}},
    {
        "deployment": {"updateStrategy": {"type": "Recreate"}},
        "tolerations": [{"operator": "Exists"}],
    },
]


@pytest.mark.parametrize("values", VALUES)
def test_every_object_is_accepted(deployed: RealServer, namespace: str, values: Any) -> None:
    """A dry run with strict fields."""
    for item in rendered({**values, "namespaceOverride": namespace, "fullnameOverride": namespace}):
        if item["kind"] in FOREIGN:
            continue
        if item["kind"] == "IngressClass":
            item["metadata"]["name"] = namespace
        resource = RESOURCES[item["kind"]]
        where = item["metadata"].get("namespace", "")
        deployed.api.create(resource.path(where) + "?dryRun=All&fieldValidation=Strict", item)


def install(server: RealServer, values: dict[str, Any]) -> None:
    for item in rendered(values):
        item["metadata"].pop("resourceVersion", None)
        server.apply(item["kind"], item)


def test_a_whole_life_as_the_account_the_chart_makes(
    deployed: RealServer, namespace: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed, upgraded and rolled back; served with exactly the rights of each."""
    name = f"chart-{namespace}"
    values = {
        "namespaceOverride": namespace,
        "fullnameOverride": name,
        "ingressClass": {"name": name},
        "rbac": {"namespaced": True},
    }
    upgraded = {**values, "deployment": {"replicas": 3}, "log": {"level": "DEBUG"}}
    for version in (values, upgraded, values):
        install(deployed, version)
    assert deployed.read("Deployment", namespace, name)["spec"]["replicas"] == 2
    deployed.create("Service", service(namespace=namespace))
    addresses = (pod_address(1),)
    deployed.create("EndpointSlice", endpoint_slice(addresses=addresses, namespace=namespace))
    deployed.create("Ingress", ingress("i", f"{name}.example", namespace=namespace))
    monkeypatch.setenv("POD_NAMESPACE", namespace)
    api = Api(deployed.url, Token(deployed.token_for(namespace, name)), str(deployed.ca_file))
    endpoint = IngressEndpoint(ip="192.0.2.9")
    running = start(api, Kubernetes(namespaces=(namespace,), ingress_endpoint=endpoint))
    wait_until(lambda: running.recorder.hosts(f"{name}.example/") == [pod_address(1)], 15)

    def has_status() -> bool:
        status = deployed.read("Ingress", namespace, "i").get("status", {})
        return status.get("loadBalancer", {}).get("ingress") == [{"ip": "192.0.2.9"}]

    wait_until(has_status, 15)


def test_pod_security(deployed: RealServer) -> None:
    """Its pods pass the profile "restricted", which the namespace fastproxy enforces."""
    (workload,) = (item for item in rendered({}) if item["kind"] == "Deployment")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "namespace": "fastproxy"},
        "spec": workload["spec"]["template"]["spec"],
    }
    path = Resource("Pod", "v1", "pods").path("fastproxy") + "?dryRun=All&fieldValidation=Strict"
    deployed.api.create(path, pod)
