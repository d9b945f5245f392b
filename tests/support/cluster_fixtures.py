"""Fixtures around the real API server, shared by the contract and the cluster tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.kubernetes_binaries import Unavailable, find
from tests.support.network import NoNamespace, enter_private_network
from tests.support.real_server import RealServer


@pytest.fixture(scope="session")
def real_server() -> Iterator[RealServer]:
    """One kube-apiserver and etcd for the session, in a network namespace of their own."""
    try:
        binaries = find(build=False)
        enter_private_network()
    except (Unavailable, NoNamespace) as exception:
        pytest.skip(str(exception))
    server = RealServer(binaries)
    try:
        server.start()
        yield server
    finally:
        server.stop()
