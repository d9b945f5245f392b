"""Large bodies, which the engine moves inside the kernel: every byte, to the right end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import pytest

from tests.support.listening import Listening, read_head
from tests.support.running import Proxy, backend_manifest, free_port, ingress_manifest

SETTINGS = """
defaultEntryPoints = ["http"]
workers = 1
[lifeCycle]
graceTimeOut = "1s"
[entryPoints.http]
address = "127.0.0.1:{port}"
[entryPoints.ping]
address = "127.0.0.1:{ping}"
[ping]
entryPoint = "ping"
"""
BLOCK = 1 << 20


@lru_cache(maxsize=8)
def content(seed: int, size: int) -> bytes:
    """Bytes that differ between seeds everywhere."""
    return random.Random(seed).randbytes(min(size, BLOCK)) * (size // BLOCK + 1)


class Origin(Listening):
    """Answers `/SEED/SIZE/PIECE`: SIZE bytes of that seed, written PIECE bytes at a time.

    A piece of 0 means: half of the body, then close. An upload to `/digest/MILLISECONDS` is read
    with pauses and answered by its digest; `/early` answers before it reads, `/leave` after half.
    """

    def serve(self, connection: socket.socket) -> None:
        head, data = read_head(connection)
        while head:
            path = head.split(b" ", 2)[1].decode()
            if path == "/fence":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            elif head.startswith(b"PUT "):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                if not self._take(connection, path, data, length):
                    return
                data = b""
            else:
                seed, size, piece = (int(value) for value in path.split("/")[1:])
                body = content(seed, size)[:size]
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                if piece == 0:
                    connection.sendall(body[: size // 2])
                    return
                for start in range(0, size, piece):
                    connection.sendall(body[start : start + piece])
            head, data = read_head(connection, data)

    def _take(self, client: socket.socket, path: str, data: bytes, length: int) -> bool:
        kind, _, pause = path[1:].partition("/")
        if kind == "early":
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
        digest, size = hashlib.sha256(data), len(data)
        while size < length:
            if kind == "leave" and size >= length // 2:
                return False
            part = client.recv(1 << 16 if pause else 1 << 20)
            if not part:
                return False
            digest.update(part)
            size += len(part)
            if pause:
                time.sleep(int(pause) / 1000)
        assert size == length
        answer = digest.hexdigest().encode()
        if kind == "digest":
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
        return kind == "digest"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("large")
    (folder / "manifests").mkdir()
    origin = Origin()
    documents = backend_manifest("main", [origin.port])
    documents += "---" + ingress_manifest("all", [("", "/", "main")])
    (folder / "manifests" / "all.yaml").write_text(documents)
    port = free_port()
    settings = SETTINGS.format(port=port, ping=free_port())
    with Proxy(folder, folder / "manifests", settings, port) as proxy:
        yield proxy
    origin.close()


@pytest.fixture
def address(proxy: Proxy) -> tuple[str, int]:
    return proxy.address


def ask(address: tuple[str, int], path: str, receive_buffer: int = 0) -> socket.socket:
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(30)
    client.connect(address)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
    return client


def receive(client: socket.socket, pause: float = 0.0) -> bytes:
    """The body of one response, as far as it comes."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.recv(65536)
    head, _, rest = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    parts, size = [rest], len(rest)
    while size < length:
        part = client.recv(1 << 18)
        if not part:
            break
        parts.append(part)
        size += len(part)
        if pause:
            time.sleep(pause)
    return b"".join(parts)


@pytest.mark.parametrize("piece", [1 << 20, 70_001, 4096])
@pytest.mark.parametrize("size", [65_535, 65_536, 66_560, 300_000, 1 << 20, (5 << 20) + 3])
def test_every_byte_arrives(address: tuple[str, int], size: int, piece: int) -> None:
    with ask(address, f"/{size}/{size}/{piece}") as client:
        assert receive(client) == content(size, size)[:size]
        # the connection is in order for the next request, and for a small one
        for again in (size, 10):
            client.sendall(f"GET /7/{again}/999999 HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
            assert receive(client) == content(7, again)[:again]


def test_slow_and_fast_clients_get_their_own_bytes(address: tuple[str, int]) -> None:
    def one(number: int) -> bool:
        seed, size = number, 3_000_000 + number
        slow = number % 3 == 0
        with ask(address, f"/{seed}/{size}/262144", 8192 if slow else 0) as client:
            body = receive(client, 0.002 if slow else 0.0)
        wanted = hashlib.sha256(content(seed, size)[:size]).digest()
        return hashlib.sha256(body).digest() == wanted

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(one, range(48)))


def test_clients_that_leave_harm_nobody(address: tuple[str, int]) -> None:
    ending = threading.Event()

    def leave() -> None:
        while not ending.is_set():
            with ask(address, "/1/8000000/1048576", 16384) as client:
                client.recv(random.choice([1, 50_000, 500_000]))
                if random.random() < 0.5:  # a reset instead of an end
                    linger = (1).to_bytes(4, "little") + bytes(4)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    threads = [threading.Thread(target=leave) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(20):
            with ask(address, f"/{number}/2000000/262144") as client:
                assert receive(client) == content(number, 2_000_000)[:2_000_000]
    finally:
        ending.set()
        for thread in threads:
            thread.join()


def test_a_truncated_body_is_not_completed(address: tuple[str, int]) -> None:
    with ask(address, "/3/4000000/0") as client:
        body = receive(client)
        assert len(body) <= 2_000_000
        assert body == content(3, 4_000_000)[: len(body)]
    with ask(address, "/4/100000/100000") as client:
        assert receive(client) == content(4, 100_000)[:100_000]


def put(client: socket.socket, path: str, body: bytes, piece: int = 1 << 20) -> None:
    head = f"PUT {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body[:100])
    for start in range(100, len(body), piece):
        client.sendall(body[start : start + piece])


def connected(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, 30)


@pytest.mark.parametrize("piece", [1 << 20, 70_001, 4096])
@pytest.mark.parametrize("size", [65_535, 65_636, 66_660, 300_000, 1 << 20, (5 << 20) + 3])
def test_every_byte_of_an_upload_arrives(address: tuple[str, int], size: int, piece: int) -> None:
    with connected(address) as client:
        for number, length in enumerate((size, size, 1000)):
            body = content(size + number, length)[:length]
            put(client, "/digest/", body, piece)
            assert receive(client) == hashlib.sha256(body).hexdigest().encode()
        # what follows an upload in the same piece is the next request
        head = f"PUT /digest/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: {size}\r\n\r\n".encode()
        client.sendall(
            head + body.ljust(size, b"x") + b"GET /7/10/10 HTTP/1.1\r\nHost: a.test\r\n\r\n"
        )
        client.shutdown(socket.SHUT_WR)
        answers = b"".join(iter(lambda: client.recv(65536), b""))
        assert hashlib.sha256(body.ljust(size, b"x")).hexdigest().encode() in answers
        assert answers.endswith(content(7, 10)[:10])


def test_slow_and_fast_endpoints_get_their_own_bytes(address: tuple[str, int]) -> None:
    def one(number: int) -> bool:
        size = 3_000_000 + number
        body = content(number, size)[:size]
        with connected(address) as client:
            put(client, f"/digest/{2 if number % 3 == 0 else ''}", body)
            return receive(client) == hashlib.sha256(body).hexdigest().encode()

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(one, range(48)))


def test_an_early_answer_to_an_upload(address: tuple[str, int]) -> None:
    body = content(9, 8_000_000)[:8_000_000]
    for _ in range(5):
        with connected(address) as client, contextlib.suppress(ConnectionError):
            sender = threading.Thread(target=lambda c=client: swallow(c, body))  # type: ignore[misc]
            sender.start()
            assert receive(client) == b"early"
            sender.join()
    with connected(address) as client:
        put(client, "/digest/", body)
        assert receive(client) == hashlib.sha256(body).hexdigest().encode()


def swallow(client: socket.socket, body: bytes) -> None:
    with contextlib.suppress(OSError):
        put(client, "/early", body)


def test_endpoints_that_leave_during_an_upload(address: tuple[str, int]) -> None:
    body = content(11, 6_000_000)[:6_000_000]
    for _ in range(5):
        with connected(address) as client, contextlib.suppress(ConnectionError):
            put(client, "/leave", body)
            assert client.recv(65536).startswith(b"HTTP/1.1 502 ")
    with connected(address) as client:
        put(client, "/digest/", body)
        assert receive(client) == hashlib.sha256(body).hexdigest().encode()


def test_clients_that_leave_during_an_upload_harm_nobody(address: tuple[str, int]) -> None:
    ending = threading.Event()
    body = content(12, 4_000_000)[:4_000_000]

    def leave() -> None:
        while not ending.is_set():
            with connected(address) as client:
                head = b"PUT /digest/1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4000000\r\n\r\n"
                client.sendall(head + body[: random.choice([1, 200_000, 2_000_000])])
            time.sleep(0.02)  # the origin has a thread for each

    threads = [threading.Thread(target=leave) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            with connected(address) as client:
                put(client, "/digest/", body)
                assert receive(client) == hashlib.sha256(body).hexdigest().encode()
    finally:
        ending.set()
        for thread in threads:
            thread.join()


def test_an_endpoint_that_reads_nothing_costs_little(proxy: Proxy) -> None:
    before = memory(proxy.pid)
    clients = [connected(proxy.address) for _ in range(5)]
    for client in clients:
        client.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            put(client, "/digest/100000", content(13, 30_000_000)[:30_000_000])
    assert memory(proxy.pid) - before < 20 << 20
    for client in clients:
        client.close()


def test_a_client_that_reads_nothing_costs_little(proxy: Proxy) -> None:
    before = memory(proxy.pid)
    clients = [ask(proxy.address, "/5/30000000/1048576", 4096) for _ in range(5)]
    time.sleep(1.0)
    assert memory(proxy.pid) - before < 20 << 20
    for client in clients:
        client.close()


def memory(root: int) -> int:
    """Resident bytes of a process and its children."""
    total = 0
    for pid in (root, *map(int, Path(f"/proc/{root}/task/{root}/children").read_text().split())):
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
        total += int(pages) * os.sysconf("SC_PAGE_SIZE")
    return total
