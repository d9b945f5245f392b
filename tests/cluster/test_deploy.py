"""The manifests of `deploy/` as a real API server sees them."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

from controller.kubernetes.resources import Resource
from fastproxy.settings import file as settings_file
from tests.support.deploy import DEPLOY, apply, documents
from tests.support.kubernetes_binaries import find
from tests.support.real_server import RealServer

FILES = [
    str(path.relative_to(DEPLOY))
    for path in sorted(DEPLOY.rglob("*.yaml"), key=lambda p: p.name)
    if not path.is_relative_to(DEPLOY / "chart") and path.name != "kustomization.yaml"
]


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_accepted_twice(deployed: RealServer, namespace: str, file: str) -> None:
    # A Service keeps its address only if the update repeats it; the first apply is enough there.
    for _ in range(1 if file == "service.yaml" else 2):
        apply(deployed, file, namespace if file == "namespaced/role.yaml" else "")


def test_the_readme_command(deployed: RealServer) -> None:
    kubectl = find(build=False).kubectl
    if kubectl is None:
        pytest.skip("no kubectl beside kube-apiserver")
    readme = (DEPLOY / "README.md").read_text()
    command = readme.split("    kubectl ", 1)[1].split("\n\n", 1)[0].replace("\\\n", " ").split()
    done = subprocess.run(
        [str(kubectl), "--kubeconfig", str(deployed.kubeconfig()), "--validate=strict", *command],
        cwd=DEPLOY.parent,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning: would violate" not in done.stderr


@pytest.mark.parametrize("file, allowed", [("deployment.yaml", True), ("daemonset.yaml", False)])
def test_pod_security(deployed: RealServer, file: str, allowed: bool) -> None:
    """The pods of the Deployment pass "restricted"; those with host ports say they do not."""
    (workload,) = (d for d in documents(file) if d["kind"] in ("Deployment", "DaemonSet"))
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "namespace": "fastproxy"},
        "spec": workload["spec"]["template"]["spec"],
    }
    path = Resource("Pod", "v1", "pods").path("fastproxy") + "?dryRun=All&fieldValidation=Strict"
    try:
        deployed.api.create(path, pod)
        assert allowed
    except Exception as refused:
        assert not allowed and "hostPort" in str(refused), refused


def test_settings_are_correct(tmp_path: Path) -> None:
    (item,) = documents("config.yaml")
    text = item["data"]["fastproxy.toml"]
    assert "kubernetes" in tomllib.loads(text)
    file = tmp_path / "fastproxy.toml"
    file.write_text(text)
    loaded = settings_file.load(file)
    assert loaded.settings.kubernetes is not None and not loaded.warnings
