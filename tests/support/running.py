"""Run the real program from manifests, on free ports, and stop it again."""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

ROOT = Path(__file__).parent.parent.parent


# Below the range (32768 and up) from which the kernel takes ports for outgoing connections: one of
# those, of any test running beside, would keep us from listening.
OURS = range(10000, 31000)
_refusing: list[socket.socket] = []
_given: set[int] = set()


@cache
def _reservations() -> BinaryIO:
    """A file of this machine in which a locked byte is a port that is taken. The kernel gives the
    locks back when the process ends, however that happens."""
    path = Path(tempfile.gettempdir()) / f"fastproxy-test-ports-{os.getuid()}"
    return path.open("ab", buffering=0)


def _reserved(port: int) -> bool:
    """Whether this process alone may use a port from now on, of all that run tests here."""
    if port in _given:
        return False
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    _given.add(port)
    return True


def free_port(*others: int) -> int:
    """A port nobody listens on now and which no other test process is given, another one each time;
    with `others`, one that is free together with those so many above it."""
    while True:
        port = secrets.choice(OURS)
        if all(_reserved(port + step) for step in (0, *others)):
            return port


def dead_port() -> int:
    """A port that refuses connections until this process ends: bound, and nobody listens. The same
    ones come again after 64 calls, or thousands of tests would run out of descriptors."""
    if len(_refusing) < 64:
        keeper = socket.socket()
        keeper.bind(("127.0.0.1", 0))
        _refusing.append(keeper)
    else:
        _refusing.append(keeper := _refusing.pop(0))
    port: int = keeper.getsockname()[1]
    return port


def backend_manifest(name: str, ports: Sequence[int], *, host: str = "127.0.0.1") -> str:
    """A Service and one EndpointSlice for each endpoint port."""
    documents = [
        f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  ports: [{{name: http, port: 80}}]
"""
    ]
    documents += [
        f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-{port}
  namespace: default
  labels: {{kubernetes.io/service-name: {name}}}
addressType: IPv4
ports: [{{name: http, port: {port}, protocol: TCP}}]
endpoints: [{{addresses: [{host}], conditions: {{ready: true}}}}]
"""
        for port in ports
    ]
    return "---".join(documents)


def ingress_manifest(
    name: str, rules: Sequence[tuple[str, str, str]], annotations: str = "{}"
) -> str:
    """`rules` are (host or "", path, Service name)."""
    text = f"""
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, namespace: default, annotations: {annotations}}}
spec:
  rules:
"""
    for host, path, service in rules:
        text += f"""
  - {f'host: "{host}"' if host else "host: null"}
    http:
      paths:
      - path: {path}
        pathType: ImplementationSpecific
        backend: {{service: {{name: {service}, port: {{number: 80}}}}}}
"""
    return text


class Proxy:
    """`fastproxy run` as a context manager; what it prints is in `log`."""

    def __init__(self, folder: Path, manifests: Path, settings: str, port: int) -> None:
        self.address = ("127.0.0.1", port)
        self.log = folder / "fastproxy.log"
        self._manifests = manifests
        self._configuration = folder / "fastproxy.toml"
        if (
            "[entryPoints.traefik]" not in settings
        ):  # never the default port: tests run side by side
            settings += f'\n[entryPoints.traefik]\naddress = "127.0.0.1:{free_port()}"\n'
        self._configuration.write_text(settings)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start, and wait until some route answers."""
        self.launch()
        self._wait_until_routes_are_live()

    def launch(self) -> None:
        command = [sys.executable, "-m", "fastproxy", "run"]
        command += ["--configfile", str(self._configuration), "--manifests", str(self._manifests)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                start_new_session=True,
            )

    def _wait_until_routes_are_live(self, seconds: float = 30.0) -> None:
        """Until a request is answered by anything but 404 or 503, which mean "no routes yet"."""
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"fastproxy ended: {self.log.read_text()}")
            try:
                with socket.create_connection(self.address, 1) as probe:
                    probe.sendall(
                        b"GET /fence HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
                    )
                    status = probe.recv(64)[9:12]
                    if status and status not in (b"404", b"503"):
                        return
            except OSError:
                pass
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"no routes after {seconds} s: {self.log.read_text()}")

    def stop(self, patience: float = 15.0) -> int:
        """SIGTERM, then SIGKILL for the whole group. Returns the exit code."""
        if self.process is None:
            return 0
        self.process.terminate()
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait(patience)

    def children(self, pid: int | None = None) -> list[int]:
        """Process ids of the direct children (Linux)."""
        pid = pid or self.pid
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in listed.split()]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
