"""Backends and clients that misbehave, seen through the whole program (http-safety.md 6, 7)."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.listening import Listening, read_head
from tests.support.load import Client, NamedBackend
from tests.support.processes import get, wait_until
from tests.support.running import backend_manifest, dead_port, ingress_manifest
from tests.support.whole_program import SETTINGS, Proxy, started

FAULTS = """
[forwardingTimeouts]
responseHeaderTimeout = "1s"
dialTimeout = "1s"
[limits]
headTimeout = "1s"
bodyTimeout = "1s"
"""
LARGE = 1 << 30


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
    block, sent = bytes(1 << 20), 0
    while sent < LARGE:
        connection.sendall(block)
        sent += len(block)


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):  # until the proxy gives up
        pass


BEHAVIOURS: dict[str, Callable[[socket.socket], None]] = {
    "reset": reset,
    "close": lambda connection: None,
    "garbage": lambda connection: connection.sendall(b"\x16\x03\x01garbage\r\n\r\n"),
    "silent": silent,
    "half-head": lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "short": lambda connection: connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort"
    ),
    "short-reset": lambda connection: (
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort"),
        time.sleep(0.1),
        reset(connection),
    )[0],
    "short-chunks": lambda connection: connection.sendall(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"
    ),
    "endless": endless,
}


class Misbehaving(Listening):
    """A backend that reads a head and then does what the first element of the path says."""

    def serve(self, connection: socket.socket) -> None:
        head, _ = read_head(connection)
        if not head:
            return
        name = head.split()[1].decode().split("/")[2]
        BEHAVIOURS[name](connection)


@pytest.fixture(scope="module")
def backend() -> Iterator[Misbehaving]:
    it = Misbehaving()
    yield it
    it.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, backend: Misbehaving) -> Iterator[Proxy]:
    """One proxy for the module: no fault may harm what comes after it."""
    good = NamedBackend("one")
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = [socket.socket() for _ in range(4)]
    for connection in waiting:  # the queue of `full` overflows: further SYNs are dropped
        connection.setblocking(False)
        connection.connect_ex(full.getsockname())
    it = started(tmp_path_factory.mktemp("proxy"), good, SETTINGS + FAULTS)
    parts = {"bad": backend.port, "refused": dead_port(), "full": full.getsockname()[1]}
    text = "---".join(backend_manifest(name, [port]) for name, port in parts.items())
    rules = [("a.test", f"/{name}", name) for name in parts]
    it.write("faults.yaml", text + "---" + ingress_manifest("faults", rules))
    wait_until(lambda: get_host(it, "/refused")[0] == 502, "the routes")
    yield it
    it.close()
    for connection in (full, *waiting):
        connection.close()
    good.close()


def request(path: str, *more: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: a.test", "Connection: close", *more]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def exchange(proxy: Proxy, data: bytes) -> tuple[bytes, bool]:
    """Return everything the client got, and whether the end was a reset."""
    received = b""
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as connection:
        connection.sendall(data)
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionResetError:
            return received, True
    return received, False


def get_host(proxy: Proxy, path: str) -> tuple[int, bytes]:
    data, _ = exchange(proxy, request(path))
    return int(data[9:12]), data.partition(b"\r\n\r\n")[2]


ANSWERS = [
    ("/refused", 502, b"Bad Gateway"),
    ("/full", 504, b"Gateway Timeout"),
    ("/bad/reset", 502, b"Bad Gateway"),
    ("/bad/close", 502, b"Bad Gateway"),
    ("/bad/half-head", 502, b"Bad Gateway"),
    ("/bad/silent", 504, b"Gateway Timeout"),
    ("/bad/garbage", 502, b"Bad Gateway"),
]


@pytest.mark.parametrize(("path", "status", "body"), ANSWERS)
def test_a_backend_without_an_answer(proxy: Proxy, path: str, status: int, body: bytes) -> None:
    assert get_host(proxy, path) == (status, body)
    assert get_host(proxy, "/") == (200, b"one")


@pytest.mark.parametrize("name", ["short", "short-reset", "short-chunks"])
def test_a_truncated_response_never_looks_whole(proxy: Proxy, name: str) -> None:
    data, was_reset = exchange(proxy, request(f"/bad/{name}"))
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    if b"content-length: 1000" in head.lower():
        assert len(body) < 1000
    else:
        assert not data.endswith(b"0\r\n\r\n")
    assert was_reset or len(body) < 1000
    assert get_host(proxy, "/") == (200, b"one")


def resident(pid: int) -> int:
    """Return the private memory of a process in bytes."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(
        int(line.split()[1]) * 1024
        for line in text.splitlines()
        if line.startswith(("Private_Dirty:", "Private_Clean:"))
    )


def test_a_slow_client_does_not_make_the_proxy_collect(proxy: Proxy) -> None:
    pids = [proxy.process_of(f"worker {number}") for number in range(2)]
    get_host(proxy, "/")
    before = sum(map(resident, pids))
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(request("/bad/endless"))
        received, deadline = 0, time.monotonic() + 1.5
        while time.monotonic() < deadline:
            received += len(client.recv(65536))
            time.sleep(0.02)
        assert 0 < received < LARGE
        grown = sum(map(resident, pids)) - before
    print(f"{received >> 10} KiB received, {grown >> 10} KiB more memory")
    assert grown < 2 << 20


def test_a_fast_client_gets_all_of_it(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), 30) as client:
        client.sendall(request("/bad/endless"))
        received = 0
        while part := client.recv(1 << 20):
            received += len(part)
    assert received > LARGE


SLOW = [
    (b"", "nothing"),
    (b"GET / HTTP/1.1\r\nHost: a.te", "half a head"),
    (
        b"POST /bad/silent HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhalf",
        "half a body",
    ),
]


@pytest.mark.parametrize(("data", "what"), SLOW, ids=[what for _, what in SLOW])
def test_many_slow_clients(proxy: Proxy, data: bytes, what: str) -> None:
    """Each is cut at its deadline of 1 s; meanwhile others are served."""
    clients = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(200)]
    opened = time.monotonic()
    for client in clients:
        client.sendall(data)
    good = Client(proxy.port)
    while time.monotonic() < opened + 0.5:
        assert good.request() == (200, b"one")
    for client in clients:
        client.settimeout(5)
        answer = b""
        with suppress(ConnectionResetError):
            while part := client.recv(4096):
                answer += part
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408"), answer
        client.close()
    assert time.monotonic() - opened < 10
    assert good.request() == (200, b"one")


def test_a_full_table_of_descriptors_passes(tmp_path: Path) -> None:
    """Accepting pauses; those who wait are served when somebody leaves."""
    one = NamedBackend("one")
    settings = SETTINGS.replace("workers = 2", "workers = 1")
    few_descriptors = ("sh", "-c", 'ulimit -n 120; exec "$@"', "sh")
    proxy = Proxy(tmp_path, settings, starter=few_descriptors)
    try:
        proxy.write("service.yaml", backend_manifest("shop", [one.port]))
        proxy.write("ingress.yaml", ingress_manifest("shop", [("a.test", "/", "shop")]))
        wait_until(lambda: get_host(proxy, "/")[0] == 200, "the route")
        worker = proxy.process_of("worker 0")
        clients = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(300)]
        clients[-1].sendall(request("/"))
        clients[-1].settimeout(1)
        with pytest.raises(TimeoutError):
            clients[-1].recv(100)
        for client in clients[:-1]:
            client.close()
        clients[-1].settimeout(10)
        assert clients[-1].recv(100).startswith(b"HTTP/1.1 200")
        clients[-1].close()
        assert get_host(proxy, "/") == (200, b"one")
        assert get(proxy.ping_port, "/ping")[0] == 200
        assert proxy.process_of("worker 0") == worker
    finally:
        proxy.close()
        one.close()
