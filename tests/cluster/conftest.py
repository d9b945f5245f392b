"""Tests against a real kube-apiserver; `make test-cluster` runs them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.kubernetes.api import Api, Token
from fastproxy.settings.options import Kubernetes
from tests.support.cluster_fixtures import real_server  # noqa: F401
from tests.support.deploy import CLUSTER_WIDE, apply
from tests.support.real_server import RealServer
from tests.support.recorder import RunningController

numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture
def namespace(real_server: RealServer) -> str:  # noqa: F811
    """A fresh namespace; nothing is shared between tests but the server."""
    name = f"test-{next(numbers)}"
    real_server.namespace(name)
    return name


@pytest.fixture(scope="session")
def deployed(real_server: RealServer) -> RealServer:  # noqa: F811
    """The server with the rights of our manifests, for all namespaces."""
    for file in CLUSTER_WIDE:
        apply(real_server, file)
    return real_server


Start = Callable[[Api | None, Kubernetes], RunningController]


@pytest.fixture
def start(deployed: RealServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start controllers with the account of our manifests; they are stopped at the end."""
    monkeypatch.setenv("POD_NAMESPACE", "fastproxy")
    running: list[RunningController] = []

    def start(api: Api | None, options: Kubernetes) -> RunningController:
        if api is None:
            token = deployed.token_for("fastproxy", "fastproxy")
            api = Api(deployed.url, Token(token), str(deployed.ca_file))
        running.append(RunningController(api, options))
        return running[-1]

    yield start
    for controller in running:
        controller.stop()
