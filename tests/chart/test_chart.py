"""The Helm chart: it renders what the plain manifests say, and every value has its effect.

`make test-chart` builds helm and kustomize from their Go modules when they are missing.
"""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.report.writer import lease_name
from fastproxy.settings import file as settings_file
from tests.support.deploy import DEPLOY, documents
from tests.support.go_programs import KUSTOMIZE
from tests.support.helm import CHART, found, refusal, rendered, run

pytestmark = pytest.mark.chart

# Only the chart has them: they say which release an object belongs to.
RELEASE_LABELS = {
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
}
NAMESPACED = {"rbac": {"namespaced": True}}
Documents = dict[tuple[str, str, str], dict[str, Any]]


def without_release(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: without_release(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if key not in RELEASE_LABELS}
    return [without_release(item) for item in value] if isinstance(value, list) else value


def compared(items: list[dict[str, Any]]) -> Documents:
    """By kind, namespace and name, without what a release adds; settings as what they mean."""
    made: Documents = {}
    for item in without_release(items):
        metadata = item["metadata"]
        if item["kind"] == "Namespace":
            continue  # of helm's --create-namespace
        if not metadata.get("labels", True) or item["kind"] not in (
            "Deployment",
            "DaemonSet",
            "Service",
        ):
            metadata.pop("labels", None)
        if item["kind"] == "ConfigMap":
            item["data"] = tomllib.loads(item["data"]["fastproxy.toml"])
        template = item.get("spec", {}).get("template", {}).get("metadata", {})
        template.pop("annotations", None)  # the sum of the settings
        made[item["kind"], metadata.get("namespace", ""), metadata["name"]] = item
    return made


def plain(*files: str) -> Documents:
    return compared([item for file in files for item in documents(file)])


EVERYTHING = ["rbac.yaml", "ingressclass.yaml", "config.yaml", "deployment.yaml", "service.yaml"]


def test_the_defaults_are_the_plain_manifests() -> None:
    assert compared(rendered({})) == plain(*EVERYTHING)


def test_one_per_node() -> None:
    ports = {"http": {"hostPort": 80}, "https": {"hostPort": 443}}
    made = compared(rendered({"deployment": {"kind": "DaemonSet"}, "ports": ports}))
    assert (
        made["DaemonSet", "fastproxy", "fastproxy"]
        == (plain("daemonset.yaml")["DaemonSet", "fastproxy", "fastproxy"])
    )
    assert not any(kind in ("Deployment", "PodDisruptionBudget") for kind, _, _ in made)


def test_some_namespaces_only() -> None:
    served = {"providers": {"kubernetesIngress": {"namespaces": ["one", "two"]}}}
    made = compared(rendered({**NAMESPACED, **served}))
    assert not any(kind.startswith("Cluster") for kind, _, _ in made)
    wanted = plain("namespaced/account.yaml")
    for item in documents("namespaced/role.yaml"):
        for namespace in ("one", "two"):
            item["metadata"]["namespace"] = namespace
            wanted[item["kind"], namespace, "fastproxy"] = yaml.safe_load(json.dumps(item))
    rights = ("Role", "RoleBinding", "ServiceAccount")
    assert {key: item for key, item in made.items() if key[0] in rights} == wanted
    settings = made["ConfigMap", "fastproxy", "fastproxy"]["data"]
    assert settings["kubernetes"]["namespaces"] == ["one", "two"]
    own = compared(rendered(NAMESPACED))["ConfigMap", "fastproxy", "fastproxy"]["data"]
    assert own["kubernetes"]["namespaces"] == ["fastproxy"]


def test_kustomize_gives_the_plain_manifests() -> None:
    done = subprocess.run(
        [found(KUSTOMIZE), "build", str(DEPLOY)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert compared(list(yaml.safe_load_all(done.stdout))) == plain(*EVERYTHING)


SETTINGS: list[tuple[dict[str, Any], str, Any]] = [
    ({"log": {"level": "DEBUG"}}, "logLevel", "DEBUG"),
    ({"log": {"format": "json"}}, "traefikLog.format", "json"),
    ({"accessLog": {"enabled": True, "format": "json"}}, "accessLog.format", "json"),
    ({"metrics": {"prometheus": {"enabled": True}}}, "metrics.prometheus", {}),
    ({"api": {"dashboard": True}}, "api", {}),
    ({"ports": {"http": {"port": 8000}}}, "entryPoints.http.address", ":8000"),
    ({"ports": {"more": {"port": 9000, "tls": True}}}, "entryPoints.more.tls", {}),
    (
        {"settings": {"entryPoints": {"http": {"compress": True}}}},
        "entryPoints.http.compress",
        True,
    ),
    ({"settings": {"retry": {"attempts": 3}}}, "retry.attempts", 3),
    (
        {"settings": {"entryPoints": {"http": {"proxyProtocol": {"trustedIPs": ["10.0.0.0/8"]}}}}},
        "entryPoints.http.proxyProtocol.trustedIPs",
        ["10.0.0.0/8"],
    ),
    (
        {"providers": {"kubernetesIngress": {"labelSelector": "a=b"}}},
        "kubernetes.labelSelector",
        "a=b",
    ),
    (
        {"providers": {"kubernetesIngress": {"ingressClass": "edge"}}},
        "kubernetes.ingressClass",
        "edge",
    ),
    (
        {"providers": {"kubernetesIngress": {"publishedService": {"pathOverride": "a/b"}}}},
        "kubernetes.ingressEndpoint.publishedService",
        "a/b",
    ),
    ({"config": 'logLevel = "WARN"\n[kubernetes]\n'}, "logLevel", "WARN"),
]


@pytest.mark.parametrize(("values", "option", "wanted"), SETTINGS)
def test_settings(values: dict[str, Any], option: str, wanted: Any, tmp_path: Path) -> None:
    """What values become, which `fastproxy check` must understand without a warning."""
    (text,) = (
        item["data"]["fastproxy.toml"] for item in rendered(values) if item["kind"] == "ConfigMap"
    )
    value: Any = tomllib.loads(text)
    for name in option.split("."):
        value = value[name]
    assert value == wanted
    file = tmp_path / "fastproxy.toml"
    file.write_text(text)
    assert settings_file.load(file).settings.kubernetes is not None


POD: list[tuple[dict[str, Any], str, Any]] = [
    (
        {"image": {"registry": "r.example", "tag": "2"}},
        "containers.0.image",
        "r.example/fastproxy:2",
    ),
    (
        {"image": {"digest": "sha256:" + "a" * 64}},
        "containers.0.image",
        f"fastproxy@sha256:{'a' * 64}",
    ),
    ({"settings": {"lifeCycle": {"graceTimeOut": "1m30s"}}}, "terminationGracePeriodSeconds", 110),
    ({"deployment": {"terminationGracePeriodSeconds": 7}}, "terminationGracePeriodSeconds", 7),
    ({"topologySpreadConstraints": []}, "topologySpreadConstraints", None),
    ({"hostNetwork": True}, "dnsPolicy", "ClusterFirstWithHostNet"),
    ({"nodeSelector": {"edge": "yes"}}, "nodeSelector", {"edge": "yes"}),
    ({"serviceAccount": {"name": "mine"}}, "serviceAccountName", "mine"),
    ({"env": [{"name": "A", "value": "b"}]}, "containers.0.env.2.name", "A"),
    ({"volumes": [{"name": "v", "emptyDir": {}}]}, "volumes.1.name", "v"),
    ({"additionalArguments": ["--workers=2"]}, "containers.0.args.3", "--workers=2"),
]


@pytest.mark.parametrize(("values", "path", "wanted"), POD)
def test_the_pod(values: dict[str, Any], path: str, wanted: Any) -> None:
    (workload,) = (item for item in rendered(values) if item["kind"] == "Deployment")
    value = workload["spec"]["template"]["spec"]
    for name in path.split("."):
        value = value[int(name)] if isinstance(value, list) else value.get(name)
    assert value == wanted


def test_the_number_of_pods() -> None:
    made = compared(rendered({"autoscaling": {"enabled": True}, "deployment": {"replicas": 1}}))
    assert "replicas" not in made["Deployment", "fastproxy", "fastproxy"]["spec"]
    assert made["HorizontalPodAutoscaler", "fastproxy", "fastproxy"]["spec"]["maxReplicas"] == 10
    assert ("PodDisruptionBudget", "fastproxy", "fastproxy") in made
    lone = compared(rendered({"deployment": {"replicas": 1}}))
    assert ("PodDisruptionBudget", "fastproxy", "fastproxy") not in lone


def test_metrics_have_a_service_of_their_own() -> None:
    metrics = {
        "enabled": True,
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
    }
    made = compared(rendered({"metrics": {"prometheus": metrics}}))
    service = made["Service", "fastproxy", "fastproxy-metrics"]
    monitor = made["ServiceMonitor", "fastproxy", "fastproxy"]["spec"]
    assert service["spec"]["ports"][0]["name"] == monitor["endpoints"][0]["port"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [
        port["name"] for port in made["Service", "fastproxy", "fastproxy"]["spec"]["ports"]
    ] == [
        "http",
        "https",
    ]


@pytest.mark.parametrize("ingress_class", ["", "edge", "Edge_1.2", "-"])
def test_the_lease_is_the_one_the_controller_takes(ingress_class: str) -> None:
    made = rendered({"providers": {"kubernetesIngress": {"ingressClass": ingress_class}}})
    (role,) = (item for item in made if item["kind"] == "Role")
    assert role["rules"][1]["resourceNames"] == [lease_name(ingress_class)]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"imgae": {}}, "imgae"),
    ({"image": {"pullpolicy": "Always"}}, "pullpolicy"),
    ({"ports": {"http": {"prot": 1}}}, "prot"),
    ({"ports": {"http": {"port": 70000}}}, "/ports/http/port"),
    ({"replicas": 3}, "deployment.replicas"),
    ({"imageTag": "1"}, "image.tag"),
    ({"serviceType": "NodePort"}, "service.type"),
    ({"acme": {"enabled": True}}, "settings.acme"),
    ({"controller": {"replicaCount": 2}}, "docs/chart.md"),
    ({"deployment": {"kind": "StatefulSet"}}, "/deployment/kind"),
    ({"autoscaling": {"enabled": True}, "deployment": {"kind": "DaemonSet"}}, "deployment.kind"),
    ({"metrics": {"prometheus": {"serviceMonitor": {"enabled": True}}}}, "set enabled"),
]


@pytest.mark.parametrize(("values", "named"), REFUSED)
def test_what_is_refused_is_named(values: dict[str, Any], named: str) -> None:
    assert named in refusal(values)


def test_lint() -> None:
    done = run({}, command="lint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_selectors_survive_upgrades_and_releases_are_apart() -> None:
    """A selector cannot change, so nothing is in it that a value or a version changes."""
    one = rendered({"commonLabels": {"team": "a"}, "deployment": {"podLabels": {"tier": "edge"}}})
    (workload,) = (item for item in one if item["kind"] == "Deployment")
    assert workload["spec"]["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "fastproxy",
        "app.kubernetes.io/instance": "fastproxy",
    }


def test_versions_agree() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]


def test_more_objects_are_templates() -> None:
    extra = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-x"}}
    ]
    names = [item["metadata"]["name"] for item in rendered({"extraObjects": extra})]
    assert "fastproxy-x" in names
