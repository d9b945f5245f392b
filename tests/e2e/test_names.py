"""ExternalName Services: manifest -> DNS -> request."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.name_server import NameServer
from tests.support.running import Proxy, free_port, ingress_manifest
from tests.support.serving import Pod

SETTINGS = """
defaultEntryPoints = ["http"]
workers = 1
providersThrottleDuration = "0s"
[entryPoints.http]
address = "127.0.0.1:{port}"
[hostResolver]
resolvConf = "{resolv_conf}"
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  type: ExternalName
  externalName: {external}
  ports: [{{port: {port}}}]
"""
NAME = "pods.example.test"


class Field:
    """One proxy with a route /NAME to each ExternalName Service NAME."""

    def __init__(
        self, folder: Path, server: NameServer, services: dict[str, tuple[str, int]],
        path: str = "", more: str = "",
    ) -> None:  # fmt: skip
        manifests = folder / "manifests"
        manifests.mkdir()
        documents = [
            SERVICE.format(name=name, external=external, port=port)
            for name, (external, port) in services.items()
        ]
        rules = "".join(
            ingress_manifest(name, [("a.test", path or f"/{name}", name)]).replace(
                "number: 80", f"number: {port}"
            )
            + "---"
            for name, (_, port) in services.items()
        )
        (manifests / "all.yaml").write_text(rules + "---".join(documents))
        self.port = free_port()
        conf = server.resolv_conf(folder / "resolv.conf", "options ndots:1")
        settings = SETTINGS.format(port=self.port, resolv_conf=conf) + more
        self.proxy = Proxy(folder, manifests, settings, self.port)
        self.proxy.launch()

    def get(self, path: str) -> tuple[int, str]:
        """Status and name of the pod; asks again until there is a route."""
        deadline = time.monotonic() + 20
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
            try:
                connection.request("GET", path, headers={"Host": "a.test"})
                response = connection.getresponse()
                body = response.read()
                if response.status != 404:
                    return response.status, body[:9].decode() if response.status == 200 else ""
            except ConnectionRefusedError:
                pass
            finally:
                connection.close()
            assert time.monotonic() < deadline, self.proxy.log.read_text()
            time.sleep(0.05)


@pytest.fixture
def server() -> Iterator[NameServer]:
    try:
        server = NameServer(53)
    except PermissionError:
        pytest.skip("port 53 may not be taken here")
    yield server
    server.stop()


def pods(*addresses: str) -> list[Pod]:
    first = Pod(addresses[0], addresses[0])
    return [first, *(Pod(address, address, first.port) for address in addresses[1:])]


def test_addresses_follow_the_name(tmp_path: Path, server: NameServer) -> None:
    one, two = pods("127.0.0.1", "127.0.0.2")
    server.put(NAME, "A", [one.address], 1)
    field = Field(tmp_path, server, {"shop": (NAME, one.port)})
    try:
        assert field.get("/shop") == (200, '{"pod": "')
        assert one.requests == 1
        server.put(NAME, "A", [two.address], 1)
        deadline = time.monotonic() + 10
        while two.requests == 0:
            assert time.monotonic() < deadline
            assert field.get("/shop")[0] == 200
            time.sleep(0.1)
        seen = one.requests
        assert [field.get("/shop")[0] for _ in range(3)] == [200] * 3
        assert one.requests == seen  # no kept connection goes to the old address
    finally:
        field.proxy.stop()
        one.stop()
        two.stop()


def test_the_first_request_waits_for_the_name(tmp_path: Path, server: NameServer) -> None:
    (pod,) = pods("127.0.0.1")
    server.silent = True  # the first question is lost, as UDP may
    server.put(NAME, "A", [pod.address])
    field = Field(tmp_path, server, {"shop": (NAME, pod.port)})
    try:
        deadline = time.monotonic() + 20
        while not server.questions:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        server.silent = False
        assert field.get("/shop")[0] == 200
    finally:
        field.proxy.stop()
        pod.stop()


def test_a_name_that_is_unknown_is_an_attempt(tmp_path: Path, server: NameServer) -> None:
    """[retry]: the next endpoint of the backend, which two Services of one path make up."""
    (pod,) = pods("127.0.0.1")
    server.put(NAME, "A", [pod.address])
    services = {"known": (NAME, pod.port), "unknown": ("unknown.example.test", pod.port)}
    field = Field(tmp_path, server, services, path="/both", more="[retry]\n")
    try:
        assert [field.get("/both")[0] for _ in range(4)] == [200] * 4
    finally:
        field.proxy.stop()
        pod.stop()


def test_names_of_all_kinds(tmp_path: Path, server: NameServer) -> None:
    (pod,) = pods("127.0.0.1")
    # nobody listens on the first two
    server.put(NAME, "A", ["127.0.0.77", "127.0.0.78", pod.address])
    services = {
        "dead-first": (NAME, pod.port),
        "local": ("localhost", pod.port),
        "unknown": ("unknown.example.test", pod.port),
    }
    field = Field(tmp_path, server, services)
    try:
        assert field.get("/dead-first")[0] == 200
        assert field.get("/local")[0] == 200
        start = time.monotonic()
        assert field.get("/unknown")[0] == 502
        assert time.monotonic() - start < 15
        server.failing = True
        assert field.get("/dead-first")[0] == 200
    finally:
        field.proxy.stop()
        pod.stop()
