"""A few bytes must not cost much: at most 8 times as much memory as was sent, and at most 100 times
the processor time of a plain request (http-safety.md 4 "Amplification")."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.running import Proxy
from tests.support.sanitized import SANITIZED
from tests.support.scripted import Client, Origin, Peer, proxied, request, until

CLIENTS = 100


class Held:
    """Reads nothing of a body until the test ends."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def __call__(self, peer: Peer) -> bool:
        self.release.wait(60)
        return False


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    held = Held()
    origin = Origin({"/shop/held": held})
    folder = tmp_path_factory.mktemp("amplification")
    services = {"shop": [("127.0.0.1", origin.port)]}
    with proxied(folder, services, main='logLevel = "INFO"') as proxy:
        yield proxy
        held.release.set()
    origin.close()


def worker(proxy: Proxy) -> int:
    return int(re.findall(r"worker 0 runs as process (\d+)", proxy.log.read_text())[-1])


def processor_time(pid: int) -> float:
    """Seconds since the process began (the clock of another process, clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def memory(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    lines = [line.split() for line in text.splitlines()]
    return sum(int(line[1]) << 10 for line in lines if line[0].startswith("Private_"))


START = b"GET /shop/x HTTP/1.1\r\nHost: a.test\r\n"
UNFINISHED = {
    "a long head": START + b"X-A: b\r\n" * 100 + b"Y: " + b"c" * 8000,
    "a long target": b"GET /" + b"a" * 8000,
    "many short fields": START + b"A:\r\n" * 120,
    "a body nobody reads": request("/shop/held", "Content-Length: 1000000", method="POST")
    + b"x" * 60_000,
    "small chunks nobody reads": request("/shop/held", "Transfer-Encoding: chunked", method="POST")
    + b"1\r\nx\r\n" * 8000,
    "requests behind a held one": request("/shop/held") + request("/shop/x") * 1000,
}


@pytest.mark.skipif(SANITIZED, reason="the sanitizer surrounds each block of memory with more")
@pytest.mark.parametrize("what", UNFINISHED)
def test_memory(proxy: Proxy, what: str) -> None:
    pid = worker(proxy)
    before = memory(pid)
    clients, sent = [], 0
    for _ in range(CLIENTS):
        client = socket.create_connection(("127.0.0.1", proxy.address[1]))
        client.setblocking(False)
        with suppress(BlockingIOError):
            sent += client.send(UNFINISHED[what])
        clients.append(client)
    settled(pid)
    grown = memory(pid) - before
    for client in clients:
        client.close()
    print(f"{what}: {sent} bytes sent, {grown} bytes held")
    assert grown <= 8 * sent


def settled(pid: int) -> None:
    """Wait until the worker has nothing to do."""

    def idle() -> bool:
        before = processor_time(pid)
        time.sleep(0.2)
        return processor_time(pid) - before < 0.002

    until(idle)


COSTLY = {
    "fields": request("/shop/x", *(f"X-{number}: {'b' * 200}" for number in range(120))),
    "tokens": request("/shop/x", "Connection: " + ", ".join(f"x{n}" for n in range(3000))),
    "path of dots": request("/shop/" + "a/../" * 1500 + "x"),
    "path of escapes": request("/shop/" + "%61" * 2600),
    "forwarded": request("/shop/x", "X-Forwarded-For: " + "10.0.0.1, " * 2500 + "10.0.0.2"),
    "cookies": request("/shop/x", "Cookie: " + "a=b; " * 5000),
    "refused at the end": request("/shop/x", "A: " + "b" * 20_000, "Bad Name: x"),
}


@pytest.mark.parametrize("what", COSTLY)
def test_processor_time(proxy: Proxy, what: str) -> None:
    pid, port = worker(proxy), proxy.address[1]

    def cost(data: bytes, count: int) -> float:
        start = processor_time(pid)
        for _ in range(count):
            with Client(port) as client:
                client.send(data)
                client.response()
        return (processor_time(pid) - start) / count

    plain = cost(request("/shop/x"), 200)
    costly = cost(COSTLY[what], 100)
    print(f"{what}: {costly * 1e6:.0f} us, plain {plain * 1e6:.0f} us")
    assert costly <= 100 * plain
