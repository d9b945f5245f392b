"""Start fastproxy's real processes for a test, and look at them."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 15.0


def wait_until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Return the first true value of `condition`."""
    deadline = time.monotonic() + patience
    pause = 0.0002
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(pause)
        pause = min(pause * 2, 0.01)
    raise AssertionError(f"not within {patience} s: {what}")


def children_of(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def get(port: int, path: str = "/", host: str = "127.0.0.1", timeout: float = 10.0) -> Any:
    """Return (status, body) of one request on its own connection; raises OSError."""
    with socket.create_connection((host, port), timeout) as connection:
        return ask(connection, path)


def ask(connection: socket.socket, path: str = "/") -> tuple[int, bytes]:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    data = b""
    while part := connection.recv(65536):
        data += part
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        raise ConnectionResetError(f"no whole answer: {data!r}")
    return int(head.split()[1]), body


class Running:
    """A running set of processes."""

    def __init__(self, process: subprocess.Popen[str], ports: dict[str, int], control: str) -> None:
        self.process = process
        self.ports = ports
        self._control = control

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def children(self) -> list[int]:
        return children_of(self.pid)

    def get(self, path: str = "/", name: str = "http") -> tuple[int, bytes]:
        return get(self.ports[name], path)

    def command(self, command: object) -> tuple[bool, int, int]:
        """Let the stand-in controller publish; returns its answer, generation and process id."""

        def ask_controller() -> tuple[bool, int, int] | None:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
                    client.settimeout(PATIENCE)
                    client.connect(self._control)
                    client.send(pickle.dumps(command))
                    answer = client.recv(1 << 16)
            except OSError:
                return None
            return pickle.loads(answer) if answer else None

        answer: tuple[bool, int, int] = wait_until(ask_controller, "an answer of the controller")
        return answer

    def describe(self, workers: int = 2) -> list[dict[str, Any]]:
        """Ask until that many workers have answered; newest answers, by worker number."""
        found: dict[int, dict[str, Any]] = {}
        deadline = time.monotonic() + PATIENCE
        while len(found) < workers and time.monotonic() < deadline:
            status, body = self.get()
            if status in (200, 404):
                values = json.loads(body)
                found[values["worker"]] = values
        return [found[number] for number in sorted(found)]

    def stop(self, number: int = signal.SIGTERM) -> int:
        os.kill(self.pid, number)
        return self.process.wait(PATIENCE)


@contextmanager
def stand_in(directory: Path, settings: str, real: bool = False) -> Iterator[Running]:
    """Run `tests.support.stand_in` with the text of a settings file. Orphans below it become its
    children, as if it were process 1."""
    file = directory / "fastproxy.toml"
    file.write_text(settings)
    control = str(directory / "control")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.stand_in", str(file), control, *["real"] * real],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=(directory / "errors").open("w"), text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.wait()
            raise AssertionError((directory / "errors").read_text())
        yield Running(process, json.loads(line), control)
    finally:
        everybody = [process.pid, *children_of(process.pid)]
        process.kill()
        process.wait()
        for pid in everybody[1:]:
            wait_until(lambda pid=pid: not is_alive(pid), f"end of process {pid}")
        print((directory / "errors").read_text(), file=sys.stderr)
