"""Time changes from the API server to every worker, and weigh the processes."""

from __future__ import annotations

import http.client
import os
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.scale.cluster import NAMESPACE, Size, host, ingress_of, slice_of
from tests.support.kubernetes_objects import endpoint_slice
from tests.support.serving import Pod, Serving

LIMIT = 60.0  # seconds after which a change counts as lost
Server = Any  # the stand-in or the real one


class Clients:
    """One connection to each worker, kept alive."""

    def __init__(self, serving: Serving) -> None:
        found: dict[int, http.client.HTTPConnection] = {}
        workers = set(serving.children()) - {serving.controller()}
        deadline = time.monotonic() + LIMIT
        while found.keys() != workers and time.monotonic() < deadline:
            connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=10)
            connection.request("GET", "/", headers={"Host": "nobody"})
            connection.getresponse().read()
            found.setdefault(_owner(connection, serving.port, workers), connection)
        self._connections = list(found.values())

    def answers(self, name: str) -> list[bytes]:
        """Ask on every connection; the body of a 200, else the status."""
        found = []
        for connection in self._connections:
            connection.request("GET", "/", headers={"Host": name})
            response = connection.getresponse()
            body = response.read()
            found.append(body if response.status == 200 else b"%d" % response.status)
        return found

    def until(self, name: str, accept: Callable[[bytes], bool]) -> float:
        """Wait until every connection's answer is accepted; give the moment."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            if all(map(accept, self.answers(name))):
                return time.monotonic()
            time.sleep(0.001)  # pods and the writer live in this process too
        raise TimeoutError(f"{name} did not change within {LIMIT} s")

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


def _owner(connection: http.client.HTTPConnection, port: int, workers: set[int]) -> int:
    """The worker that has accepted a connection."""
    own = connection.sock.getsockname()[1]
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ends = [int(end.rpartition(":")[2], 16) for end in fields[1:3]]
        if ends == [port, own]:
            name = f"socket:[{fields[9]}]"
            for pid in workers:
                if any(str(link.readlink()) == name for link in Path(f"/proc/{pid}/fd").iterdir()):
                    return pid
    raise LookupError(f"nobody has accepted the connection from port {own}")


def milliseconds(samples: Sequence[float]) -> dict[str, float]:
    ordered = sorted(samples)
    return {
        "samples": len(ordered),
        "p50_ms": round(statistics.median(ordered) * 1000, 1),
        "p90_ms": round(ordered[int(len(ordered) * 0.9)] * 1000, 1),
        "max_ms": round(ordered[-1] * 1000, 1),
    }


class Probe:
    """Ingress 0, whose endpoints are two real pods in turn."""

    def __init__(self, server: Server, pods: Sequence[Pod]) -> None:
        self._server = server
        self._pods = pods
        self._turn = 0

    def move(self) -> bytes:
        """Point Service 0 at the other pod; give the text by which its answers are known."""
        self._turn += 1
        pod = self._pods[self._turn % len(self._pods)]
        slice = endpoint_slice("s0", (pod.address,), pod.port, NAMESPACE)
        self._server.update("EndpointSlice", slice)
        return f'"pod": "{pod.name}"'.encode()

    def time(self, clients: Clients) -> float:
        """Seconds from before the write until every worker sends requests to the other pod."""
        started = time.monotonic()
        mark = self.move()
        return clients.until(host(0), lambda body: mark in body) - started


def endpoint_changes(probe: Probe, clients: Clients, count: int = 40) -> dict[str, float]:
    return milliseconds([probe.time(clients) for _ in range(count)])


def ingress_changes(
    server: Server, clients: Clients, size: Size, count: int = 20
) -> dict[str, float]:
    """Create Ingresses one after the other; each is timed until every worker serves it."""
    samples = []
    for number in range(size.ingresses, size.ingresses + count):
        started = time.monotonic()
        server.create("Ingress", ingress_of(number, size))
        moment = clients.until(host(number), lambda body: body.startswith(b"{"))
        samples.append(moment - started)
    return milliseconds(samples)


def sustained(
    server: Server, probe: Probe, clients: Clients, size: Size, rate: int, seconds: int
) -> dict[str, Any]:
    """Change endpoints of other Services at a steady rate, and time the probe meanwhile."""
    stop = threading.Event()
    done = [0]

    def write() -> None:
        started = time.monotonic()
        while not stop.is_set():
            number = 1 + done[0] % (size.ingresses - 1)
            server.update("EndpointSlice", slice_of(number, size, 1 + done[0] // size.ingresses))
            done[0] += 1
            time.sleep(max(0.0, started + done[0] / rate - time.monotonic()))

    thread = threading.Thread(target=write, daemon=True)
    began = time.monotonic()
    thread.start()
    samples: list[float] = []
    while time.monotonic() - began < seconds:
        samples.append(probe.time(clients))
        time.sleep(0.2)
    elapsed = time.monotonic() - began
    stop.set()
    thread.join()
    half = len(samples) // 2
    return {
        "changes_per_second": round(done[0] / elapsed, 1),
        "first_half": milliseconds(samples[:half]),
        "second_half": milliseconds(samples[half:]),
    }


def processes(serving: Serving) -> dict[str, dict[str, float]]:
    """CPU seconds and memory of parent, controller and workers."""
    assert serving.process is not None
    controller = serving.controller()
    workers = [pid for pid in serving.children() if pid != controller]
    named = {"parent": serving.process.pid, "controller": controller}
    named |= {f"worker {number}": pid for number, pid in enumerate(workers)}
    return {name: weigh(pid) for name, pid in named.items()}


def weigh(pid: int) -> dict[str, float]:
    status = _table(Path(f"/proc/{pid}/status"))
    rollup = _table(Path(f"/proc/{pid}/smaps_rollup"))
    return {
        "cpu_s": round(cpu_seconds(pid), 2),
        "rss_mib": round(status["VmRSS"] / 1024, 1),
        "rss_peak_mib": round(status["VmHWM"] / 1024, 1),
        "pss_mib": round(rollup["Pss"] / 1024, 1),
    }


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _table(path: Path) -> Mapping[str, int]:
    found = {}
    for line in path.read_text().splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB":
            found[name] = int(words[0])
    return found
