"""What is no load test: memory of idle connections, and swaps of the table under load."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.macro import measure
from bench.macro.peers import PEERS, Fastproxy, Peer

IDLE = 3000
GOAL_IDLE = 1024  # bytes of fastproxy's own memory per idle connection
GOAL_IDLE_TLS = 15 * 1024
GOAL_P99 = 1.5  # p99 with a swap per second, against p99 without


def idle_memory(peer: Peer, count: int = IDLE) -> dict[str, float]:
    """Bytes per idle keep-alive connection that has had one request (user space only)."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit[1], count + 1000), limit[1]))
    request = b"GET /p0/s HTTP/1.1\r\nHost: h0.example\r\nUser-Agent: idle\r\n\r\n"

    context = measure.blind_context()

    def connect(number: int) -> list[socket.socket]:
        clients = []
        for _ in range(number):
            client = socket.create_connection(("127.0.0.1", peer.port), timeout=10)
            if peer.certificate is not None:
                client = context.wrap_socket(client, server_hostname="h0.example")
            client.sendall(request)
            client.recv(65536)
            clients.append(client)
        return clients

    clients = connect(200)
    time.sleep(0.5)
    before = measure.memory_kib(peer.pid)
    clients += connect(count)
    time.sleep(1.0)
    after = measure.memory_kib(peer.pid)
    for client in clients:
        client.close()
    return {
        "connections": count,
        "bytes_per_connection": round((after["tree"] - before["tree"]) * 1024 / count, 1),
    }


def idle(
    names: list[str], folder: Path, backend: int, *, tls: bool = False
) -> dict[str, dict[str, float]]:
    found = {}
    goal_bytes = GOAL_IDLE_TLS if tls else GOAL_IDLE
    print(f"\nidle: memory per idle keep-alive connection{' with TLS' if tls else ''}")
    for name in names:
        if tls and name == "envoy":
            continue
        peer = PEERS[name](folder)
        peer.certificate = measure.certificate(folder) if tls else None
        try:
            peer.start(backend)
            found[name] = idle_memory(peer)
        except (RuntimeError, OSError) as error:
            print(f"  {name}: {error}")
            continue
        finally:
            peer.stop()
        goal = ""
        if name == "fastproxy":
            reached = found[name]["bytes_per_connection"] <= goal_bytes
            goal = f"  goal <= {goal_bytes} {'reached' if reached else 'MISSED'}"
        print(f"  {name:12}{found[name]['bytes_per_connection']:9.0f} bytes{goal}", flush=True)
    return found


@contextmanager
def swapping(peer: Fastproxy, backend: int, each: float) -> Iterator[list[float]]:
    """Publish another generation every `each` seconds: one route more, one route less."""
    done: list[float] = []
    ending = threading.Event()

    def swap() -> None:
        while not ending.wait(each):
            peer.write_extra(f"swap{len(done) % 2}.example")
            done.append(time.monotonic())

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield done
    finally:
        ending.set()
        thread.join()


def separate(peer: Peer) -> None:
    """Leave the proxy's CPU to the worker alone: parent and controller move to the other one."""
    worker, *others = list(measure.tree(peer.pid))[1:]
    del worker
    for pid in (peer.pid, *others):
        with suppress(OSError):
            os.sched_setaffinity(pid, {measure.LOAD_CPU})


def swaps(folder: Path, backend: int, seconds: int) -> dict[str, Any]:
    """10,000 routes: the latency without and with a new generation each second."""
    print("\nswap: a generation of 10,000 routes each second under load")
    peer = Fastproxy(folder)
    arguments = ["1000", "10", "12", "0", "0", "s"]
    try:
        peer.start(backend, hosts=1000, paths=10)
        separate(peer)
        measure.run_wrk(peer.port, peer.pid, 1, 16, arguments)
        still = measure.run_wrk(peer.port, peer.pid, seconds, 16, arguments)
        with swapping(peer, backend, 1.0) as done:
            moving = measure.run_wrk(peer.port, peer.pid, seconds, 16, arguments)
        last = f"swap{(len(done) - 1) % 2}.example"
        time.sleep(2)
        arrived = measure.answers(peer.port, last, "/p0/s").startswith(b"HTTP/1.1 200")
    finally:
        peer.stop()
    ratio = moving.p99_us / still.p99_us
    found = {
        "generations": len(done),
        "last_generation_arrived": arrived,
        "p99_us_without": round(still.p99_us),
        "p99_us_with": round(moving.p99_us),
        "p99_ratio": round(ratio, 3),
        "failed": moving.errors + moving.bad_status,
    }
    verdict = "reached" if ratio < GOAL_P99 and not found["failed"] and arrived else "MISSED"
    print(
        f"  {len(done)} generations; p99 {still.p99_us:.0f} us without, {moving.p99_us:.0f} us "
        f"with: {ratio:.2f} x, {found['failed']} failed requests; last generation "
        f"{'arrived' if arrived else 'DID NOT ARRIVE'}; goal < {GOAL_P99} x {verdict}",
        flush=True,
    )
    return found
