"""Buffered bodies larger than memory: they stand in files, and wait there for slow peers."""

from __future__ import annotations

import hashlib
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.feature_rows import Ask, Field, Row, answering, running

MEGABYTE = 1 << 20
BODY = random.Random(1).randbytes(48 * MEGABYTE)
SPILL = Row(
    "spill", {}, {"buffering": "{memrequestbodybytes: 1048576, memresponsebodybytes: 1048576}"}
)
MEMORY = Row("memory", {}, {"buffering": "{}"})


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    yield from running(tmp_path_factory.mktemp("spill"), [SPILL, MEMORY])


def private_memory(proxy: Field) -> int:
    """Bytes of anonymous memory of the largest child (worker or controller)."""
    sizes = []
    for child in proxy.proxy.children():
        status = Path(f"/proc/{child}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
        sizes.append(int(line.split()[1]) * 1024)
    return max(sizes)


def open_files(proxy: Field) -> int:
    children = proxy.proxy.children()
    return sum(len(list(Path(f"/proc/{child}/fd").iterdir())) for child in children)


@pytest.mark.parametrize("row", [SPILL, MEMORY], ids=str)
def test_large_bodies_come_through_whole_both_ways(proxy: Field, row: Row) -> None:
    answer = proxy.ask(Ask("/", "POST", (answering(echo=True),), BODY), proxy.host(row))
    assert answer.status == 200
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(BODY).digest()


def test_a_slow_client_costs_no_memory(proxy: Field) -> None:
    """Two clients read nothing of their 48 MB for a while: the bytes wait on disk."""
    host, before, files = proxy.host(SPILL), private_memory(proxy), open_files(proxy)
    clients = []
    for _ in range(2):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.connect(("127.0.0.1", proxy.ports["http"]))
        client.settimeout(20)
        name, value = answering(echo=True)
        client.sendall(
            f"POST / HTTP/1.1\r\nHost: {host}\r\n{name}: {value}\r\nConnection: close\r\n"
            f"Content-Length: {len(BODY)}\r\n\r\n".encode()
        )
        client.sendall(BODY)
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
        clients.append(client)
    time.sleep(0.5)
    assert private_memory(proxy) - before < 24 * MEGABYTE
    for client in clients:
        size = 0
        while data := client.recv(MEGABYTE):
            size += len(data)
        assert size > len(BODY) - 4096
        client.close()
    time.sleep(0.3)
    assert open_files(proxy) <= files + 2  # pooled connections; no file is left open


def test_a_client_that_leaves_takes_its_files_along(proxy: Field) -> None:
    host, files = proxy.host(SPILL), open_files(proxy)
    for _ in range(3):
        client = socket.create_connection(("127.0.0.1", proxy.ports["http"]), 10)
        name, value = answering(echo=True)
        client.sendall(
            f"POST / HTTP/1.1\r\nHost: {host}\r\n{name}: {value}\r\n"
            f"Content-Length: {len(BODY)}\r\n\r\n".encode()
        )
        client.sendall(BODY[: 8 * MEGABYTE])
        client.close()
    time.sleep(1)
    assert open_files(proxy) <= files + 2
    assert proxy.ask(Ask("/"), host).status == 200
