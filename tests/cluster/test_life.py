"""What happens to a real API server during a year, and what the proxy notices of it: nothing."""

from __future__ import annotations

import logging
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from controller.kubernetes.api import Api, Token
from fastproxy.settings.options import Kubernetes
from tests.cluster.conftest import Start
from tests.support.api_store import wait_until
from tests.support.kubernetes_binaries import find
from tests.support.kubernetes_objects import endpoint_slice, ingress, secret, service
from tests.support.network import pod_address
from tests.support.real_server import RealServer


def test_rotated_token(deployed: RealServer, namespace: str, start: Start, tmp_path: Path) -> None:
    """The old token dies with the object it is bound to; the new one is read from the file."""
    deployed.api.create("/api/v1/namespaces/fastproxy/secrets", secret("bound", {}, "fastproxy"))
    bound = deployed.read("Secret", "fastproxy", "bound")
    file = tmp_path / "token"
    file.write_text(deployed.token_for("fastproxy", "fastproxy", bound))
    api = Api(deployed.url, Token(file=file), str(deployed.ca_file))
    running = start(api, Kubernetes(namespaces=(namespace,)))
    wait_until(lambda: bool(running.recorder.published), 15)
    deployed.delete("Secret", "fastproxy", "bound")

    def old_token_is_dead() -> bool:
        try:
            Api(deployed.url, Token(file.read_text()), str(deployed.ca_file)).get("/api/v1")
        except Exception:
            return True
        return False

    wait_until(old_token_is_dead, 20, "the API server forgets the token")
    file.write_text(deployed.token_for("fastproxy", "fastproxy"))
    deployed.stop_apiserver()  # ends the watches, which were authorised when they began
    deployed.start_apiserver()
    deployed.create("Service", service(namespace=namespace))
    deployed.create("Ingress", ingress("late", "late.example", namespace=namespace))
    wait_until(lambda: running.recorder.route_names() == ["late.example/"], 15)


@pytest.mark.parametrize("kill", [False, True])
def test_restart(deployed: RealServer, namespace: str, start: Start, kill: bool) -> None:
    deployed.create("Service", service(namespace=namespace))
    deployed.create("Ingress", ingress("i", "a.example", namespace=namespace))
    running = start(None, Kubernetes(namespaces=(namespace,)))
    wait_until(lambda: running.recorder.route_names() == ["a.example/"], 15)
    deployed.stop_apiserver(kill=kill)
    wait_until(lambda: running.source.staleness() > 1.0, 10)
    assert running.recorder.route_names() == ["a.example/"]
    published = len(running.recorder.published)
    deployed.start_apiserver()
    deployed.create("Ingress", ingress("j", "b.example", namespace=namespace))
    back = time.monotonic()
    wait_until(lambda: running.recorder.route_names() == ["a.example/", "b.example/"], 15)
    assert time.monotonic() - back <= 5.0
    assert len(running.recorder.published) == published + 1
    wait_until(lambda: running.source.staleness() == 0.0, 15)


def test_a_hanging_server(deployed: RealServer, namespace: str, start: Start) -> None:
    deployed.create("Service", service(namespace=namespace))
    running = start(None, Kubernetes(namespaces=(namespace,)))
    wait_until(lambda: bool(running.recorder.published), 15)
    deployed.hang()
    try:
        time.sleep(4.0)
    finally:
        deployed.go_on()
    deployed.create("Ingress", ingress("late", "late.example", namespace=namespace))
    wait_until(lambda: running.recorder.route_names() == ["late.example/"], 5)


def test_compaction_during_an_outage(
    deployed: RealServer, namespace: str, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """The position is too old afterwards: 410, a new list, and only the difference."""
    deployed.create("Service", service(namespace=namespace))
    deployed.create("Ingress", ingress("gone", "gone.example", namespace=namespace))
    deployed.create("Ingress", ingress("kept", "kept.example", namespace=namespace))
    caplog.set_level(logging.INFO, "controller.sources.reflector")
    token = deployed.token_for("fastproxy", "fastproxy")
    api = Api(deployed.url, Token(token), str(deployed.ca_file))
    running = start(api, Kubernetes(namespaces=(namespace,)))
    wait_until(lambda: len(running.recorder.route_names()) == 2, 15)
    for reflector in running.source.reflectors.all:
        reflector._version = "1"  # as if it had been away since the beginning of time
    deployed.compact()
    deployed.stop_apiserver(kill=True)
    deployed.start_apiserver()
    deployed.delete("Ingress", namespace, "gone")
    wait_until(lambda: running.recorder.route_names() == ["kept.example/"], 20)
    assert "expired, listing again" in caplog.text or "410 Expired" in caplog.text


def test_apply_of_500_ingresses(
    deployed: RealServer, namespace: str, start: Start, tmp_path: Path
) -> None:
    kubectl = find(build=False).kubectl
    if kubectl is None:
        pytest.skip("no kubectl beside kube-apiserver")
    deployed.create("Service", service(namespace=namespace))
    slice = endpoint_slice(addresses=(pod_address(1),), namespace=namespace)
    deployed.create("EndpointSlice", slice)
    running = start(None, Kubernetes(namespaces=(namespace,)))
    for number in range(500):
        document = ingress(f"i{number}", f"h{number}.example", namespace=namespace)
        (tmp_path / f"{number}.yaml").write_text(yaml.dump(document))
    command = [str(kubectl), "--kubeconfig", str(deployed.kubeconfig()), "apply", "-f"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stderr[-2000:]
    wait_until(lambda: len(running.recorder.route_names()) == 500, 10)
