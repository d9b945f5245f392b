"""`fastproxy run` following an API server, pods that say who they are, and a client."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.api_store import wait_until
from tests.support.running import ROOT, free_port


class Pod:
    """An HTTP server that answers with its name and the request it saw."""

    def __init__(self, name: str, address: str = "127.0.0.1", port: int = 0) -> None:
        self.name = name
        self.requests = 0
        pod = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

            def do_GET(self) -> None:
                pod.requests += 1
                seen = {"pod": pod.name, "path": self.path, "host": self.headers["Host"]}
                data = json.dumps(seen).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that goes away is no error."""

        self._server = Server((address, port), Handler)
        self.address = address
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def seen(self) -> dict[str, Any]:
        """What the pod says it saw."""
        found: dict[str, Any] = json.loads(self.body)
        return found


class Serving:
    """The program with its parent, controller and workers; a context manager."""

    def __init__(
        self,
        folder: Path,
        endpoint: str,
        *,
        token: str = "",
        ca_file: str = "",
        options: str = "",
        workers: int = 2,
        throttle: str = "0s",
        main: str = "",
        log_level: str = "INFO",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port, self.tls_port, self.admin_port = free_port(), free_port(), free_port()
        self._file = folder / "fastproxy.toml"
        self.log = folder / "fastproxy.log"
        self._workers = workers
        self._log_level = log_level
        self._environment = {**os.environ, **(environment or {})}
        for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
            self._environment.pop(name, None)
        self._file.write_text(
            f"""
defaultEntryPoints = ["http", "https"]
providersThrottleDuration = "{throttle}"
{main}
[entryPoints.http]
address = "127.0.0.1:{self.port}"
[entryPoints.https]
address = "127.0.0.1:{self.tls_port}"
[entryPoints.https.tls]
[entryPoints.traefik]
address = "127.0.0.1:{self.admin_port}"
[ping]
[kubernetes]
endpoint = "{endpoint}"
token = "{token}"
certAuthFilePath = "{ca_file}"
{options}
"""
        )
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Serving:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [sys.executable, "-m", "fastproxy", "run", "--configfile", str(self._file)]
        command += ["--workers", str(self._workers), "--log-level", self._log_level]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env=self._environment,
                start_new_session=True,
            )

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def ready(self) -> int:
        """Give the status of /ready, 0 while nothing listens."""
        try:
            return self.get("localhost", "/ready", port=self.admin_port).status
        except OSError:
            return 0

    def wait_ready(self, seconds: float = 20.0) -> None:
        wait_until(self._ready_or_dead, seconds, "/ready is 200")

    def _ready_or_dead(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"fastproxy ended:\n{self.log.read_text()[-3000:]}")
        return self.ready() == 200

    def get(self, host: str, path: str = "/", port: int = 0) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        try:
            return _exchange(connection, host, path)
        finally:
            connection.close()

    def get_tls(self, host: str, path: str = "/") -> tuple[Answer, bytes]:
        """One request over TLS with SNI; also the certificate (DER) that was shown."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        raw = socket.create_connection(("127.0.0.1", self.tls_port), timeout=10)
        with context.wrap_socket(raw, server_hostname=host) as secured:
            connection = http.client.HTTPConnection(host, timeout=10)
            connection.sock = secured
            shown = secured.getpeercert(binary_form=True) or b""
            return _exchange(connection, host, path), shown

    def status(self, host: str, path: str = "/") -> int:
        return self.get(host, path).status

    def pod(self, host: str, path: str = "/") -> str:
        """Give the name of the pod that answers, or the status as text."""
        answer = self.get(host, path)
        return str(answer.seen["pod"]) if answer.status == 200 else str(answer.status)

    def children(self) -> list[int]:
        """Give the ids of controller and workers."""
        assert self.process is not None
        pid = self.process.pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(word) for word in text.split()]

    def controller(self) -> int:
        """Give the id of the controller: the child that listens on nothing."""
        for pid in self.children():
            names = []
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    names.append(str(descriptor.readlink()))
                except OSError:
                    continue
            if not any("eventpoll" in name for name in names):
                return pid
        raise AssertionError("no controller among the children")


def _exchange(connection: http.client.HTTPConnection, host: str, path: str) -> Answer:
    connection.request("GET", path, headers={"Host": host})
    response = connection.getresponse()
    return Answer(response.status, dict(response.getheaders()), response.read())
