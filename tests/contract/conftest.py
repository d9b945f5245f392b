"""The same tests against the stand-in and, under `make test-cluster`, a real kube-apiserver."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from controller.kubernetes.api import Api, connect
from tests.support.api_server import ApiServer
from tests.support.cluster_fixtures import real_server  # noqa: F401
from tests.support.real_server import RealServer

numbers = itertools.count(1)


class Subject:
    """What both servers can do; objects live in a namespace of the test's own."""

    def __init__(self, server: Any, api: Api, wrong: Api) -> None:
        self.server = server
        self.api = api
        self.wrong = wrong  # a client with an unknown token
        self.namespace = f"contract-{next(numbers)}"
        server.create("Namespace", {"metadata": {"name": self.namespace}})

    def forget(self) -> None:
        """Make every version up to now too old to watch from."""
        if isinstance(self.server, ApiServer):
            self.server.store.compact()
            self.server.end_watches("expire")
            return
        self.server.create("Namespace", {"metadata": {"name": f"filler-{next(numbers)}"}})
        self.server.compact()
        self.server.stop_apiserver(kill=True)
        self.server.start_apiserver()


@pytest.fixture(params=["stand-in", pytest.param("real", marks=pytest.mark.cluster)])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    if request.param == "real":
        real: RealServer = request.getfixturevalue("real_server")
        yield Subject(real, real.api, real.client("unknown"))
        return
    with ApiServer(tokens={"known"}, bookmark_seconds=0.5) as server:
        known = connect(server.url, "known", environment={})
        yield Subject(server, known, connect(server.url, "unknown", environment={}))
