"""What the ingress-controller-conformance suite describes, as steps of our own, with real traffic.

Five features: default backend, host rules (with SNI), class, load balancing, path rules. Each is a
table of requests against objects in a real API server; pods are HTTP servers on addresses of their
own.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509

from tests.support.api_store import wait_until
from tests.support.deploy import apply
from tests.support.kubernetes_objects import endpoint_slice, ingress, secret, service
from tests.support.network import pod_address
from tests.support.real_server import RealServer
from tests.support.serving import Pod, Serving

PORT = 8080  # of every pod, on an address of its own
STATUS = '[kubernetes.ingressEndpoint]\nhostname = "lb.example"'


class Case:
    """A namespace with pods, served by a program that watches this namespace only."""

    def __init__(self, server: RealServer, namespace: str, serving: Serving) -> None:
        self.server = server
        self.namespace = namespace
        self.serving = serving
        self.pods: dict[str, Pod] = {}

    def deploy(self, name: str, *numbers: int) -> None:
        """Create a Service with one pod per number, as controllers of a cluster would."""
        for number in numbers:
            pod = Pod(f"{name}-{number}", pod_address(number), PORT)
            self.pods[pod.name] = pod
        self.server.create("Service", service(name, namespace=self.namespace))
        addresses = tuple(pod_address(number) for number in numbers)
        slice = endpoint_slice(name, addresses, PORT, self.namespace)
        self.server.create("EndpointSlice", slice)

    def ingress(self, name: str, rules: list[Any] | None = None, **spec: Any) -> None:
        document = ingress(name, namespace=self.namespace)
        if rules is None:
            del document["spec"]["rules"]
        else:
            document["spec"]["rules"] = rules
        document["spec"].update(spec)
        self.server.create("Ingress", document)

    def status_of(self, name: str) -> Any:
        status = self.server.read("Ingress", self.namespace, name).get("status", {})
        return status.get("loadBalancer", {}).get("ingress")

    def answers(self, host: str, path: str, pod: str, seconds: float = 10.0) -> None:
        wait_until(
            lambda: self.serving.pod(host, path) == pod, seconds, f"{host}{path} is served by {pod}"
        )


def rule(host: str, *paths: tuple[str, str, str]) -> dict[str, Any]:
    """`paths` are (path, pathType, Service)."""
    found: dict[str, Any] = {
        "http": {
            "paths": [
                {
                    "path": path,
                    "pathType": type,
                    "backend": {"service": {"name": name, "port": {"number": 80}}},
                }
                for path, type, name in paths
            ]
        }
    }
    if host:
        found["host"] = host
    return found


@pytest.fixture
def case(deployed: RealServer, namespace: str, tmp_path: Path) -> Iterator[Case]:
    apply(deployed, "ingressclass.yaml")
    token = deployed.token_for("fastproxy", "fastproxy")
    options = f'namespaces = ["{namespace}"]\n{STATUS}'
    environment = {"POD_NAMESPACE": "fastproxy", "POD_NAME": namespace}
    serving = Serving(
        tmp_path,
        deployed.url,
        token=token,
        ca_file=str(deployed.ca_file),
        options=options,
        environment=environment,
    )
    with serving:
        serving.wait_ready()
        case = Case(deployed, namespace, serving)
        yield case
        for pod in case.pods.values():
            pod.stop()


def test_default_backend(case: Case) -> None:
    case.deploy("fallback", 1)
    backend = {"service": {"name": "fallback", "port": {"number": 80}}}
    case.ingress("all", defaultBackend=backend)
    case.answers("any.example", "/", "fallback-1")
    for host, path in (("", "/"), ("other.example", "/deep/path?x=1"), ("10.0.0.1", "/%20")):
        answer = case.serving.get(host or "x", path)
        assert answer.status == 200
        assert answer.seen == {"pod": "fallback-1", "path": path, "host": host or "x"}
        for header in ("Server", "Date", "Content-Type", "Content-Length"):
            assert answer.headers.get(header), header
    wait_until(lambda: case.status_of("all") == [{"hostname": "lb.example"}], 15)


HOSTS = [
    # host of the request -> pod
    ("exact.example", "exact-2"),
    ("EXACT.example", "exact-2"),
    ("exact.example:8080", "exact-2"),
    ("a.wild.example", "wild-3"),
    ("b.wild.example", "wild-3"),
    ("first.wild.example", "exact-2"),  # an exact host before a wildcard
    ("a.b.wild.example", "404"),
    ("wild.example", "404"),
    ("exact.example.org", "404"),
]


def test_host_rules(case: Case) -> None:
    case.deploy("exact", 2)
    case.deploy("wild", 3)
    case.ingress(
        "hosts",
        [
            rule("exact.example", ("/", "Prefix", "exact")),
            rule("first.wild.example", ("/", "Prefix", "exact")),
            rule("*.wild.example", ("/", "Prefix", "wild")),
        ],
    )
    case.answers("exact.example", "/", "exact-2")
    assert [(host, case.serving.pod(host)) for host, _ in HOSTS] == HOSTS


def test_server_name_indication(case: Case) -> None:
    authority = trustme.CA()
    fingerprints = {}
    case.deploy("web", 4)
    for number, host in enumerate(("one.example", "*.two.example")):
        made = authority.issue_cert(host)
        chain = b"".join(pem.bytes() for pem in made.cert_chain_pems)
        data = {"tls.crt": chain, "tls.key": made.private_key_pem.bytes()}
        name = f"cert-{number}"
        new = secret(name, data, case.namespace, "kubernetes.io/tls")
        case.server.create("Secret", new)
        certificate = x509.load_pem_x509_certificate(made.cert_chain_pems[0].bytes())
        fingerprints[host] = certificate.fingerprint(certificate.signature_hash_algorithm)
        case.ingress(
            f"tls-{number}",
            [rule(host, ("/", "Prefix", "web"))],
            tls=[{"hosts": [host], "secretName": name}],
        )
    case.answers("one.example", "/", "web-4")

    def shown(host: str) -> bytes:
        answer, der = case.serving.get_tls(host)
        assert answer.status in (200, 404)
        return hashlib.sha256(der).digest()

    wait_until(lambda: shown("one.example") == fingerprints["one.example"], 10)
    assert shown("a.two.example") == fingerprints["*.two.example"]
    assert shown("unknown.example") not in fingerprints.values()
    assert case.serving.get_tls("one.example")[0].seen["pod"] == "web-4"


def test_class(case: Case) -> None:
    case.deploy("web", 5)
    case.ingress(
        "ours", [rule("ours.example", ("/", "Prefix", "web"))], ingressClassName="fastproxy"
    )
    case.ingress("theirs", [rule("theirs.example", ("/", "Prefix", "web"))], ingressClassName="no")
    case.answers("ours.example", "/", "web-5")
    wait_until(lambda: case.status_of("ours") == [{"hostname": "lb.example"}], 15)
    assert case.serving.status("theirs.example") == 404
    assert not case.status_of("theirs")


def test_load_balancing(case: Case) -> None:
    """10 pods, 100 requests: everyone gets some, nobody much more than a fair share."""
    case.deploy("web", *range(10, 20))
    case.ingress("balanced", [rule("lb.example", ("/", "Prefix", "web"))])
    wait_until(lambda: case.serving.status("lb.example") == 200, 10)
    counted = Counter(case.serving.pod("lb.example") for _ in range(100))
    assert set(counted) == {f"web-{number}" for number in range(10, 20)}
    # Each worker balances for itself, so shares differ by at most one per worker.
    assert max(counted.values()) - min(counted.values()) <= 2
    slice = endpoint_slice(
        "web", tuple(pod_address(n) for n in range(10, 13)), PORT, case.namespace
    )
    case.server.update("EndpointSlice", slice)
    remaining = {f"web-{number}" for number in range(10, 13)}
    wait_until(lambda: {case.serving.pod("lb.example") for _ in range(20)} == remaining, 10)


PATHS = [
    # path of the request -> pod
    ("/exact", "exact-6"),
    ("/exact/", "404"),
    ("/exact/x", "404"),
    ("/Exact", "404"),
    ("/foo", "prefix-7"),
    ("/foo/", "prefix-7"),
    ("/foo/bar", "prefix-7"),
    ("/foobar", "404"),
    ("/FOO", "404"),
    ("/slash", "prefix-7"),
    ("/slash/", "prefix-7"),
    ("/slash/x", "prefix-7"),
    ("/slashx", "404"),
    ("/aaa/bbb", "exact-6"),  # the longer prefix wins
    ("/aaa/bbb/ccc", "exact-6"),
    ("/aaa/bbbc", "prefix-7"),
    ("/aaa/c", "prefix-7"),
    ("/both", "exact-6"),  # Exact before Prefix
    ("/both/x", "prefix-7"),
    ("/", "404"),
]


def test_path_rules(case: Case) -> None:
    case.deploy("exact", 6)
    case.deploy("prefix", 7)
    case.ingress(
        "paths",
        [
            rule(
                "paths.example",
                ("/exact", "Exact", "exact"),
                ("/foo", "Prefix", "prefix"),
                ("/slash/", "Prefix", "prefix"),
                ("/aaa", "Prefix", "prefix"),
                ("/aaa/bbb", "Prefix", "exact"),
                ("/both", "Prefix", "prefix"),
                ("/both", "Exact", "exact"),
            )
        ],
    )
    case.answers("paths.example", "/foo", "prefix-7")
    assert [(path, case.serving.pod("paths.example", path)) for path, _ in PATHS] == PATHS


def test_traffic_survives_an_api_server_restart(case: Case) -> None:
    case.deploy("web", 8)
    case.ingress("steady", [rule("steady.example", ("/", "Prefix", "web"))])
    case.answers("steady.example", "/", "web-8")
    case.server.stop_apiserver(kill=True)
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        assert case.serving.pod("steady.example") == "web-8"
    assert case.serving.ready() == 200
    case.server.start_apiserver()
    case.ingress("later", [rule("later.example", ("/", "Prefix", "web"))])
    case.answers("later.example", "/", "web-8", 5.0)
