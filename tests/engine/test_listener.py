"""Accepting: what waits in the queue of a worker is served, whoever else has queued there.

The limit of connections and of descriptors stand in tests/e2e/test_connection_limits.py,
worker and parent dying over a queue in tests/e2e/test_processes.py.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fastproxy.model.configuration import Backend, Desired, Endpoint, Route
from fastproxy.model.matchers import PathPrefix
from tests.support.processes import Running, stand_in
from tests.support.scripted import Client, Origin

SETTINGS = """
workers = 1
[entryPoints.traefik]
address = "127.0.0.1:0"
[entryPoints.http]
address = "127.0.0.1:0"
{more}
[lifeCycle]
graceTimeOut = "10s"
"""
REQUEST = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@contextmanager
def proxied(folder: Path, more: str = "") -> Iterator[tuple[Running, int]]:
    """A proxy with one worker before an origin that echoes; and its worker's id."""
    origin = Origin()
    route = Route("a", ("http",), (PathPrefix(("/",)),), 1, "a")
    backend = Backend("a", (Endpoint("http", "127.0.0.1", origin.port),))
    with stand_in(folder, SETTINGS.format(more=more), real=True) as running:
        running.command(Desired((route,), (backend,)))
        assert running.get("/x")[0] == 200
        (worker,) = (pid for pid in running.children if listens(pid))
        yield running, worker
    origin.close()


def listens(pid: int) -> bool:
    links = (str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())
    return any("eventpoll" in link for link in links)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def ended(connection: socket.socket) -> None:
    connection.close()


def half(connection: socket.socket) -> None:
    connection.sendall(REQUEST[:10])
    connection.close()


LEAVING = [reset, ended, half]


@pytest.mark.parametrize("stopping", [False, True], ids=["running", "stopping"])
def test_others_in_the_queue_have_left(tmp_path: Path, stopping: bool) -> None:
    """Between every two that wait, one has gone before it was accepted. With SIGTERM the queue is
    emptied once more, because closing the socket would reset what stands in it."""
    with proxied(tmp_path) as (running, worker), ExitStack() as stack:
        os.kill(worker, signal.SIGSTOP)
        staying = []
        for number in range(40):
            address = ("127.0.0.1", running.ports["http"])
            gone = socket.create_connection(address, 10)
            staying.append(stack.enter_context(socket.create_connection(address, 10)))
            staying[-1].sendall(REQUEST)
            LEAVING[number % 3](gone)
        if stopping:
            os.kill(running.pid, signal.SIGTERM)
        os.kill(worker, signal.SIGCONT)
        assert [connection.recv(100)[:12] for connection in staying] == [b"HTTP/1.1 200"] * 40
        if stopping:
            assert running.process.wait(15) == 0


def test_a_burst_longer_than_one_batch(tmp_path: Path) -> None:
    """More connections at once than are accepted in one turn (32)."""
    with proxied(tmp_path) as (running, worker), ExitStack() as stack:
        os.kill(worker, signal.SIGSTOP)
        address = ("127.0.0.1", running.ports["http"])
        many = [stack.enter_context(socket.create_connection(address, 10)) for _ in range(150)]
        for connection in many:
            connection.sendall(REQUEST)
        os.kill(worker, signal.SIGCONT)
        assert all(connection.recv(100).startswith(b"HTTP/1.1 200") for connection in many)


def test_deferred_accept(tmp_path: Path) -> None:
    """A connection is the kernel's until it has sent something: it counts for no limit before."""
    more = "deferAccept = true\n[limits]\nmaxConnections = 3\n"
    with proxied(tmp_path, more) as (running, _), ExitStack() as stack:
        port = running.ports["http"]
        silent = [stack.enter_context(Client(port)) for _ in range(10)]
        for _ in range(5):
            assert running.get("/x")[0] == 200
        for client in silent[:5]:
            assert client.ask("/x", "Connection: close").status == 200
        assert running.get("/x")[0] == 200
