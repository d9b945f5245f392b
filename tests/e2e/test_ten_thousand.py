"""Ten thousand clients that never finish their head (http-safety.md 7)."""

from __future__ import annotations

import resource
import selectors
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.many import many_clients
from tests.support.scripted import Client, Origin, proxied

pytestmark = pytest.mark.alone

HEAD_TIMEOUT = 10.0
CLIENTS = 10_000
HALF_A_HEAD = b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Slow: " + b"x" * 200
SETTINGS = f"""
[limits]
headTimeout = "{HEAD_TIMEOUT:g}s"
maxConnections = {CLIENTS + 1000}
"""


@pytest.fixture
def clients() -> Iterator[list[socket.socket]]:
    with many_clients(CLIENTS) as opened:
        yield opened


def resident(pid: int) -> int:
    """Bytes of memory which the processes below `pid` hold in all."""
    total = 0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
        total += pages * resource.getpagesize()
    return total


@pytest.mark.timeout(180)
def test_each_is_cut_and_nobody_else_notices(tmp_path: Path, clients: list[socket.socket]) -> None:
    origin = Origin({})
    with proxied(tmp_path, {"shop": [("127.0.0.1", origin.port)]}, SETTINGS) as proxy:
        good = Client(proxy.address[1])
        assert good.ask("/shop/x").status == 200
        before = resident(proxy.pid)
        first = time.monotonic()
        for number in range(CLIENTS):
            client = socket.create_connection(proxy.address, 30)
            client.sendall(HALF_A_HEAD)
            clients.append(client)
            if number % 500 == 0:
                assert good.ask("/shop/x").status == 200
        last = time.monotonic()
        if last - first < HEAD_TIMEOUT - 1:  # on a very slow machine the first are gone already
            assert resident(proxy.pid) - before <= 20 * 1024 * CLIENTS
        ends = {client: 0.0 for client in clients}
        with selectors.DefaultSelector() as selector:
            for client in clients:
                client.setblocking(False)
                selector.register(client, selectors.EVENT_READ)
            while selector.get_map() and time.monotonic() < last + HEAD_TIMEOUT + 30:
                for key, _ in selector.select(0.2):
                    client = key.fileobj
                    assert isinstance(client, socket.socket)
                    try:
                        data = client.recv(4096)
                    except ConnectionResetError:
                        data = b""
                    assert data == b"" or data.startswith(b"HTTP/1.1 408 "), data
                    if not data:
                        ends[client] = time.monotonic()
                        selector.unregister(client)
                assert good.ask("/shop/x").status == 200
        assert all(ends.values()), f"{sum(not end for end in ends.values())} are still open"
        assert max(ends.values()) < last + HEAD_TIMEOUT + 5
        good.socket.close()
    origin.close()
