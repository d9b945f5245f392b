"""The whole program in front of small origins, with TLS on either side."""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.running import Proxy, free_port
from tests.support.tls import AUTHORITY, client_context, pem


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what it received, as JSON."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes

    def do_GET(self) -> None:
        peer = None
        if isinstance(self.connection, ssl.SSLSocket):
            peer = self.connection.getpeercert()
        told = {"headers": dict(self.headers.items()), "path": self.path, "peer": peer}
        body = json.dumps(told).encode() + b" " * int(self.headers.get("X-Size", "0"))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def origin(context: ssl.SSLContext | None = None) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if context is not None:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def service(name: str, port: int) -> list[dict[str, Any]]:
    metadata = {"namespace": "default", "name": name}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"name": "http", "port": 80}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata | {"labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": port}],
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        },
    ]


def ingress(
    name: str, host: str, backend: str, secret: str = "", **annotations: str
) -> dict[str, Any]:
    prefix = "traefik.ingress.kubernetes.io/"
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "namespace": "default",
            "name": name,
            "annotations": {prefix + k.replace("_", "-"): v for k, v in annotations.items()},
        },
        "spec": {
            "tls": [{"secretName": secret}] if secret else [],
            "rules": [
                {
                    "host": host,
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "ImplementationSpecific",
                                "backend": {"service": {"name": backend, "port": {"number": 80}}},
                            }
                        ]
                    },
                }
            ],
        },
    }


def secret(name: str, chain: bytes, key: bytes) -> dict[str, Any]:
    data = {"tls.crt": chain, "tls.key": key}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": "default", "name": name},
        "type": "kubernetes.io/tls",
        "data": {k: base64.b64encode(v).decode() for k, v in data.items()},
    }


@dataclass
class Running:
    folder: Path
    ports: dict[str, int]
    proxy: Proxy
    objects: list[dict[str, Any]] = field(default_factory=list)

    def write(self) -> None:
        waiting = self.folder / "all.new"
        waiting.write_text("\n---\n".join(json.dumps(document) for document in self.objects))
        waiting.replace(self.folder / "manifests" / "all.yaml")

    def replace(self, document: dict[str, Any]) -> None:
        def same(other: dict[str, Any]) -> bool:
            return (other["kind"], other["metadata"]["name"]) == (
                document["kind"],
                document["metadata"]["name"],
            )

        self.objects = [d for d in self.objects if not same(d)] + [document]
        self.write()

    def connect(
        self,
        name: str,
        entry_point: str = "https",
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.ports[entry_point]), 10)
        context = context or client_context(verify=False)
        return context.wrap_socket(plain, server_hostname=name, session=session)

    def get(
        self,
        name: str,
        entry_point: str = "https",
        context: ssl.SSLContext | None = None,
        headers: str = "",
    ) -> tuple[int, Any]:
        with self.connect(name, entry_point, context) as client:
            return ask(client, name, headers)


@contextmanager
def serving(
    folder: Path, settings: str, objects: list[dict[str, Any]], *entry_points: str
) -> Iterator[Running]:
    """The whole program on these objects. `settings` names `{folder}` and, by the names of the
    entry points, their ports; one of them is `http`."""
    (folder / "manifests").mkdir()
    ports = {name: free_port() for name in entry_points}
    text = settings.format(folder=folder, **ports)
    proxy = Proxy(folder, folder / "manifests", text, ports["http"])
    made = Running(folder, ports, proxy, objects)
    made.write()
    with proxy:
        yield made


@contextmanager
def serving_one_site(folder: Path, settings: str) -> Iterator[Running]:
    """The same with a.test, which has a certificate, in front of one origin."""
    with origin() as plain:
        objects = [
            *service("plain", plain),
            secret("a", *pem(AUTHORITY.issue_cert("a.test"))),
            ingress("a", "a.test", "plain", "a"),
        ]
        with serving(folder, settings, objects, "http", "https") as made:
            yield made


def ask(client: socket.socket, host: str, headers: str = "") -> tuple[int, Any]:
    client.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode())
    response = http.client.HTTPResponse(client)
    response.begin()
    body = response.read()
    told = json.loads(body) if response.status == 200 else body
    return response.status, told


def within(seconds: float, question: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if question():
            return True
        time.sleep(0.05)
    return False


def shown(client: ssl.SSLSocket) -> list[str]:
    from cryptography import x509

    der = client.getpeercert(binary_form=True)
    assert der is not None
    extension = x509.load_der_x509_certificate(der).extensions
    names = extension.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)
