"""`fastproxy run` on a directory of manifests, with ports the kernel chooses."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.load import Client, NamedBackend
from tests.support.processes import ROOT, children_of, get, is_alive, wait_until
from tests.support.running import backend_manifest, ingress_manifest

SETTINGS = """
logLevel = "INFO"
workers = 2
providersThrottleDuration = "20ms"
[entryPoints.http]
address = "127.0.0.1:0"
[entryPoints.traefik]
address = "127.0.0.1:0"
[lifeCycle]
graceTimeOut = "5s"
"""


class Proxy:
    """`fastproxy run` on a directory of manifests, ready to be used."""

    def __init__(self, directory: Path, settings: str, starter: Sequence[str] = ()) -> None:
        """`starter` is a command that runs the program, which is appended to it."""
        self.manifests = directory / "manifests"
        self.manifests.mkdir(exist_ok=True)
        self.log = directory / "log"
        (directory / "fastproxy.toml").write_text(settings)
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*starter, sys.executable, "-m", "fastproxy", "run", "--manifests", self.manifests,
                 "--configfile", directory / "fastproxy.toml"],
                cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip
        self.port = self.port_of("http")
        self.ping_port = self.port_of("traefik")

    def port_of(self, name: str) -> int:
        pattern = rf"entry point {name} listens on \S+:(\d+)"
        return int(wait_until(lambda: re.search(pattern, self.log.read_text()), self.log.name)[1])

    def process_of(self, name: str) -> int:
        """Return the id of the newest process of a name ("worker 0", "controller")."""
        return int(re.findall(rf"{name} runs as process (\d+)", self.log.read_text())[-1])

    def write(self, name: str, text: str) -> None:
        """Replace a manifest as editors do: in one step."""
        temporary = self.manifests.parent / "temporary"
        temporary.write_text(text)
        temporary.rename(self.manifests / name)

    def is_ready(self) -> bool:
        return bool(get(self.ping_port, "/ready")[0] == 200)

    def close(self) -> None:
        everybody = children_of(self.process.pid)
        self.process.kill()
        self.process.wait()
        for pid in everybody:
            wait_until(lambda pid=pid: not is_alive(pid), f"end of {pid}")
        print(self.log.read_text())


def started(
    directory: Path,
    backend: NamedBackend,
    settings: str = SETTINGS,
    starter: Sequence[str] = (),
) -> Proxy:
    proxy = Proxy(directory, settings, starter)
    proxy.write("service.yaml", backend_manifest("shop", [backend.port]))
    proxy.write("ingress.yaml", ingress_manifest("shop", [("a.test", "/", "shop")]))
    wait_until(proxy.is_ready, "readiness")
    wait_until(lambda: Client(proxy.port).request()[0] == 200, "the route")
    return proxy
