"""From an object in an API server, over controller and workers, to an answer."""

from __future__ import annotations

import json
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.api_server import ApiServer
from tests.support.api_store import KINDS, OLD_INGRESSES, wait_until
from tests.support.kubernetes_objects import endpoint_slice, endpoints, ingress, secret, service
from tests.support.serving import Pod, Serving


@pytest.fixture
def pods() -> Iterator[list[Pod]]:
    pods = [Pod(name) for name in ("one", "two")]
    yield pods
    for pod in pods:
        pod.stop()


@pytest.fixture
def server(pods: list[Pod]) -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.create("Service", service())
        server.create("EndpointSlice", endpoints_of(pods[0]))
        server.create("Ingress", ingress("i", "a.example"))
        yield server


def endpoints_of(*pods: Pod, name: str = "web") -> dict[str, object]:
    """A slice for pods that share a port is one; ours have a port each, so only the first."""
    return endpoint_slice(name, tuple(pod.address for pod in pods), pods[0].port)


@pytest.fixture
def serving(server: ApiServer, tmp_path: Path) -> Iterator[Serving]:
    with Serving(tmp_path, server.url) as serving:
        serving.wait_ready()
        yield serving


class Load:
    """Requests, one after the other, until told to stop; every answer but 200 is kept."""

    def __init__(self, serving: Serving, host: str) -> None:
        self._serving = serving
        self._host = host
        self._stop = threading.Event()
        self.count = 0
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                found = str(self._serving.status(self._host))
            except OSError as exception:
                found = repr(exception)
            self.count += 1
            if found != "200":
                self.failures.append(found)
            time.sleep(0.002)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)


def test_ready_means_served(serving: Serving) -> None:
    answer = serving.get("a.example", "/x?y=z")
    assert answer.status == 200
    assert answer.seen == {"pod": "one", "path": "/x?y=z", "host": "a.example"}
    assert serving.status("other.example") == 404


def test_not_ready_while_the_api_server_is_away(server: ApiServer, tmp_path: Path) -> None:
    server.stop()
    with Serving(tmp_path, server.url) as serving:
        wait_until(lambda: serving.ready() == 503, 15)
        assert serving.status("a.example") == 404
        server.start()
        serving.wait_ready()
        assert serving.pod("a.example") == "one"


def test_endpoints_move(server: ApiServer, serving: Serving, pods: list[Pod]) -> None:
    load = Load(serving, "a.example")
    server.update("EndpointSlice", endpoints_of(pods[1]))
    wait_until(lambda: serving.pod("a.example") == "two")
    load.stop()
    assert load.count and not load.failures


def test_routes_come_and_go(server: ApiServer, serving: Serving) -> None:
    server.create("Ingress", ingress("j", "b.example"))
    wait_until(lambda: serving.pod("b.example") == "one")
    server.delete("Ingress", "default", "j")
    wait_until(lambda: serving.status("b.example") == 404)
    assert serving.pod("a.example") == "one"


def test_no_endpoints_is_503(server: ApiServer, serving: Serving) -> None:
    server.delete("EndpointSlice", "default", "web-1")
    wait_until(lambda: serving.status("a.example") == 503)


def test_outage_410_and_controller_death_are_not_noticed(
    server: ApiServer, serving: Serving, pods: list[Pod]
) -> None:
    """0 failed requests, nothing lost, converged within 5 s of the return."""
    load = Load(serving, "a.example")
    server.stop()
    server.create("Ingress", ingress("j", "b.example"))
    server.store.compact()
    os.kill(serving.controller(), signal.SIGKILL)
    time.sleep(1.0)
    assert serving.pod("a.example") == "one"
    server.start()
    back = time.monotonic()
    wait_until(lambda: serving.pod("b.example") == "one", 10)
    assert time.monotonic() - back <= 5.0
    load.stop()
    assert load.count and not load.failures
    assert serving.ready() == 200


def test_scripted_faults_are_not_noticed(server: ApiServer, serving: Serving) -> None:
    """Each fault meets a change of routes: no request fails, and the change arrives within 5 s."""
    faults = server.faults
    garbage = b'{"type":"ADDED","object":null}\nno json at all\n'
    begin: list[Callable[[], object]] = [
        lambda: faults.drop_watches(reset=True),
        lambda: faults.expire_watches(),
        lambda: faults.refuse(500, times=6),
        lambda: faults.refuse(429, times=6),
        lambda: faults.refuse(410, "Expired", verb="watch", times=6),
        lambda: [faults.send_raw(kind, garbage) for kind in ("Ingress", "Service", "Secret")],
        lambda: (setattr(faults, "duplicate", True), setattr(faults, "reorder", True)),
        lambda: setattr(faults, "chunk_size", 3),
    ]
    load = Load(serving, "a.example")
    for number, fault in enumerate(begin):
        time.sleep(2.2)  # back-off grows while faults follow each other faster
        fault()
        if number in (2, 3, 4):
            faults.drop_watches()
        server.create("Ingress", ingress(f"f{number}", f"f{number}.example"))
        host = f"f{number}.example"
        wait_until(lambda host=host: serving.status(host) == 200, 5.0, f"fault {number}")  # type: ignore[misc]
    load.stop()
    assert load.count and not load.failures


def test_a_cluster_of_old(pods: list[Pod], tmp_path: Path) -> None:
    """Kubernetes 1.18: v1beta1 Ingresses only, Endpoints instead of slices, no classes."""
    known = ("Service", "Endpoints", "Secret", "Event", "Lease")
    kinds = tuple(kind for kind in KINDS if kind.kind in known)
    with ApiServer(kinds + OLD_INGRESSES) as server:
        server.create("Service", service())
        server.create("Endpoints", endpoints(addresses=("127.0.0.1",), port=pods[0].port))
        backend = {"serviceName": "web", "servicePort": 80}
        rule = {"host": "a.example", "http": {"paths": [{"path": "/x", "backend": backend}]}}
        old = {"metadata": {"name": "i", "namespace": "default"}, "spec": {"rules": [rule]}}
        server.create("Ingress", old)
        options = '[kubernetes.ingressEndpoint]\nip = "192.0.2.1"'
        with Serving(tmp_path, server.url, options=options) as serving:
            serving.wait_ready()
            assert serving.pod("a.example", "/xyz") == "one"
            wait_until(lambda: "status" in server.read("Ingress", "default", "i"), 10)


def test_findings_and_source_are_shown(server: ApiServer, tmp_path: Path) -> None:
    server.create("Ingress", ingress("broken", "x.example", service="missing"))
    with Serving(tmp_path, server.url, main="[api]\n") as serving:
        serving.wait_ready()

        def document(path: str) -> object:
            return json.loads(serving.get("localhost", path, port=serving.admin_port).body)

        (finding,) = document("/api/findings")  # type: ignore[misc]
        assert finding["code"] == "FP102"
        assert document("/api/source") == {"connected": True, "awaySince": None}
        server.stop()
        wait_until(lambda: document("/api/source")["connected"] is False, 15)  # type: ignore[index]
        server.start()
        wait_until(lambda: document("/api/source")["connected"] is True, 15)  # type: ignore[index]
        assert serving.pod("a.example") == "one"


LIMITED = {
    "ingress.kubernetes.io/rate-limit": """
extractorfunc: request.host
rateset:
  one:
    period: 3600s
    average: 1
    burst: 3
"""
}


def test_limits_survive_changes_of_everything_else(
    server: ApiServer, serving: Serving, pods: list[Pod]
) -> None:
    """The bucket is empty, and stays so while endpoints, other routes and the controller change."""
    server.create("Ingress", ingress("limited", "l.example", annotations=LIMITED))
    wait_until(lambda: serving.status("l.example") == 429)
    server.update("EndpointSlice", endpoints_of(pods[1]))
    wait_until(lambda: serving.pod("a.example") == "two")
    assert serving.status("l.example") == 429
    server.create("Ingress", ingress("j", "b.example"))
    wait_until(lambda: serving.pod("b.example") == "two")
    assert serving.status("l.example") == 429
    os.kill(serving.controller(), signal.SIGKILL)
    server.create("Ingress", ingress("k", "c.example"))
    wait_until(lambda: serving.pod("c.example") == "two", 15)
    assert serving.status("l.example") == 429


def test_balancing_goes_on_where_it_was(server: ApiServer, tmp_path: Path) -> None:
    """With one worker two pods take turns, whatever is published between two requests."""
    pair = [Pod("left", "127.0.0.2"), Pod("right", "127.0.0.3", 0)]
    server.create("Service", service("pair"))
    for pod in pair:
        item = endpoint_slice("pair", (pod.address,), pod.port, suffix=pod.name)
        server.create("EndpointSlice", item)
    server.create("Ingress", ingress("pair", "p.example", service="pair"))
    with Serving(tmp_path, server.url, workers=1) as serving:
        serving.wait_ready()
        answered = []
        for number in range(6):
            answered.append(serving.pod("p.example"))
            server.create("Ingress", ingress(f"x{number}", f"x{number}.example"))
            wait_until(lambda host=f"x{number}.example": serving.status(host) == 200)  # type: ignore[misc]
        assert answered[::2] == answered[:1] * 3 and answered[1::2] == answered[1:2] * 3
        assert {*answered} == {"left", "right"}
    for pod in pair:
        pod.stop()


GUARDED = {
    "ingress.kubernetes.io/auth-type": "basic",
    "ingress.kubernetes.io/auth-secret": "users",
}
USERS = {"users": b"test:$apr1$H6uskkkW$IgXLP6ewTrSuBkTrqE8wj/\n"}


def test_auth_is_never_dropped(server: ApiServer, serving: Serving) -> None:
    """Secrets become unreadable while the route changes: it still asks for a password."""
    server.create("Secret", secret("users", USERS))
    server.create("Ingress", ingress("g", "g.example", annotations=GUARDED))
    wait_until(lambda: serving.status("g.example") == 401)
    server.faults.refuse(403, "Forbidden", kind="Secret")
    server.faults.drop_watches()
    server.update("Ingress", ingress("g", "g.example", path="/new", annotations=GUARDED))
    wait_until(lambda: serving.status("g.example") == 404)
    assert {serving.status("g.example", "/new") for _ in range(8)} == {401}


def test_a_new_controller_without_secrets_loses_nothing(
    server: ApiServer, serving: Serving
) -> None:
    server.create("Secret", secret("users", USERS))
    server.create("Ingress", ingress("g", "g.example", annotations=GUARDED))
    wait_until(lambda: serving.status("g.example") == 401)
    rule = server.faults.refuse(500, kind="Secret")
    lists = server.counted("GET", "secrets?limit")
    os.kill(serving.controller(), signal.SIGKILL)
    wait_until(lambda: server.counted("GET", "secrets?limit") > lists, 15)
    time.sleep(6.0)  # longer than a first start waits for Secrets
    assert serving.status("g.example") == 401
    server.faults.rules.remove(rule)
    server.create("Ingress", ingress("j", "b.example"))
    wait_until(lambda: serving.pod("b.example") == "one", 30)
    assert serving.status("g.example") == 401


def test_unreadable_secrets_fail_closed(server: ApiServer, tmp_path: Path) -> None:
    server.create("Secret", secret("users", USERS))
    server.create("Ingress", ingress("g", "g.example", annotations=GUARDED))
    server.faults.refuse(403, "Forbidden", kind="Secret")
    with Serving(tmp_path, server.url) as serving:
        serving.wait_ready()
        assert serving.pod("a.example") == "one"
        assert serving.status("g.example") == 404


def test_certificates_follow_their_secret(server: ApiServer, serving: Serving) -> None:
    authority = trustme.CA()

    def issue() -> tuple[dict[str, bytes], bytes]:
        made = authority.issue_cert("t.example")
        chain = b"".join(pem.bytes() for pem in made.cert_chain_pems)
        pair = {"tls.crt": chain, "tls.key": made.private_key_pem.bytes()}
        return pair, ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())

    data, first = issue()
    server.create("Secret", secret("cert", data, type="kubernetes.io/tls"))
    server.create("Ingress", ingress("t", "t.example", tls_secret="cert"))
    wait_until(lambda: serving.pod("t.example") == "one")
    answer, shown = serving.get_tls("t.example")
    assert (answer.seen["pod"], shown) == ("one", first)
    data, second = issue()
    server.update("Secret", secret("cert", data, type="kubernetes.io/tls"))
    wait_until(lambda: serving.get_tls("t.example")[1] == second)


def test_namespace_forbidden(server: ApiServer, tmp_path: Path, pods: list[Pod]) -> None:
    for item, kind in (
        (service(namespace="blue"), "Service"),
        (endpoint_slice("web", (pods[1].address,), pods[1].port, "blue"), "EndpointSlice"),
        (ingress("i", "b.example", namespace="blue"), "Ingress"),
    ):
        server.create(kind, item)
    server.faults.refuse(403, "Forbidden", namespace="default")
    with Serving(tmp_path, server.url, options='namespaces = ["default", "blue"]') as serving:
        serving.wait_ready()
        assert serving.pod("b.example") == "two"
        assert serving.status("a.example") == 404
