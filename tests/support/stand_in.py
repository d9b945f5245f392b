"""fastproxy's processes around a data plane and a controller made for tests.

`python -m tests.support.stand_in SETTINGS CONTROL` runs the real parent and the real worker code.
The data plane answers HTTP/1.0-style on asyncio with a JSON description of itself. The controller
publishes what arrives (a pickled `Desired`) on the Unix socket CONTROL, and answers `True` or
`False`; a tuple of a name and endpoints calls `set_endpoints`; "orphan" starts a grandchild that
lives for a moment. With a third argument the workers are the real ones, with the real engine.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import pickle
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastproxy.cli.run import forget_worker
from fastproxy.counters.region import create_region
from fastproxy.model.configuration import Endpoint
from fastproxy.observer import process as observer
from fastproxy.processes import parent, worker
from fastproxy.publish.compiler import Entry
from fastproxy.publish.publisher import Publisher, open_publisher
from fastproxy.settings import file as settings_file
from fastproxy.settings.options import Settings
from fastproxy.system import logs
from fastproxy.system.channel import Channel, read_memory
from fastproxy.tables.change import Change
from tests.support.table_block import read_block

PR_SET_CHILD_SUBREAPER = 36
REFUSED_NAME = "refuse me"  # a route of this name makes the data plane refuse the generation
DEADLY_NAME = "kill me"  # a route of this name kills the worker while it prepares


class StandIn:
    """A data plane that does nothing but tell what it was given."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.generation = 0
        self.routes: list[str] = []
        self.backends: dict[int, Any] = {}
        self.filters: dict[int, Any] = {}
        self.calls: list[str] = []
        self.healthy, self.ready = True, False
        self.active = 0
        self.ticket_keys: tuple[bytes, ...] = ()
        self._servers: list[tuple[socket.socket, asyncio.Task[None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._prepared: tuple[int, list[str], Change] | None = None

    def listen(self, descriptor: int, entry_point: int) -> None:
        self.calls.append("listen")
        listener = socket.socket(fileno=os.dup(descriptor))
        listener.setblocking(False)
        self._servers.append((listener, asyncio.ensure_future(self._accept(listener))))

    def prepare(self, generation: int, block: int, change: Change) -> None:
        routes = [record.name for record in read_block(read_memory(block)).routes]
        if REFUSED_NAME in routes:
            raise ValueError("damaged")
        if DEADLY_NAME in routes:
            os._exit(9)
        self.calls.append(f"prepare {generation}")
        self._prepared = (generation, routes, change)

    def activate(self, generation: int) -> None:
        assert self._prepared is not None
        self.calls.append(f"activate {generation}")
        self.generation, self.routes, change = self._prepared
        assert self.generation == generation
        for slot in change.removed_backends:
            del self.backends[slot]
        for slot in change.removed_filters:
            del self.filters[slot]
        self.backends.update(change.backends)
        self.filters.update(change.filters)

    def discard(self, generation: int) -> None:
        self.calls.append(f"discard {generation}")
        self._prepared = None

    def set_endpoints(self, slot: int, endpoints: tuple[Endpoint, ...]) -> None:
        self.calls.append(f"endpoints {slot}")
        old = self.backends[slot]
        self.backends[slot] = type(old)(old.name, old.method, endpoints, old.statistics_slot)

    def set_ticket_keys(self, keys: Sequence[bytes]) -> None:
        self.ticket_keys = tuple(keys)

    def answer_ping(self, healthy: bool, ready: bool) -> None:
        self.healthy, self.ready = healthy, ready

    def stop_accepting(self) -> None:
        for listener, task in self._servers:
            task.cancel()
            listener.close()

    def drain(self) -> None:
        self.calls.append("drain")

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            self.active += 1
            task = asyncio.ensure_future(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                data = await loop.sock_recv(connection, 4096)
                if not data:
                    return
                head += data
            path = head.split()[1].decode()
            status, body = self._answer(path)
            if path.startswith("/slow/"):
                await asyncio.sleep(float(path.removeprefix("/slow/")))
            answer = (
                f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            await loop.sock_sendall(connection, answer.encode() + body)
        finally:
            connection.close()
            self.active -= 1

    def _answer(self, path: str) -> tuple[int, bytes]:
        if path == "/ping":
            return (200 if self.healthy else 503), b""
        if path == "/ready":
            return (200 if self.ready else 503), b""
        values = {
            "pid": os.getpid(),
            "worker": self.number,
            "generation": self.generation,
            "routes": self.routes,
            "endpoints": {b.name: [e.url for e in b.endpoints] for b in self.backends.values()},
        }
        return (200 if self.generation else 404), json.dumps(values).encode()


def build_matcher(entries: Sequence[Entry]) -> bytes:
    return struct.pack("<Q", len(entries))


def run_worker(place: parent.Place) -> None:
    stuck = Path(os.environ.get("STAND_IN_STUCK", "/nonexistent"))
    while stuck.exists():
        time.sleep(0.05)
    worker.run_with(place, lambda loop, place: StandIn(place.number), lambda config: config)


def open_stand_in(channel: int, settings: Settings, shared: int) -> Publisher:
    return Publisher(Channel(socket.socket(fileno=channel)), settings, (), build_matcher)


def run_controller(control: str, publisher: Publisher) -> None:
    Path(control).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(control)
        server.listen()
        while True:
            client, _ = server.accept()
            with client:
                command = pickle.loads(client.recv(1 << 20))
                if command == "orphan":
                    answer = True
                    if os.fork() == 0:
                        time.sleep(0.5)
                        os._exit(0)
                elif isinstance(command, tuple):
                    publisher.set_endpoints(*command)
                    answer = True
                else:
                    answer = publisher.publish(command)
                client.send(pickle.dumps((answer, publisher.generation, os.getpid())))


def main(settings_path: str, control: str, real: str = "") -> int:
    # Orphans below us become our children, as if we were process 1.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    settings = settings_file.load(Path(settings_path)).settings
    logs.configure(settings)
    parent.START = float(os.environ.get("STAND_IN_START", parent.START))
    assert threading.active_count() == 1
    opened = open_publisher if real else open_stand_in
    programs = parent.Programs(
        worker.run if real else run_worker,
        lambda *place: run_controller(control, opened(*place)),
        observer.run if real else None,
        forget_worker if real else lambda shared, number: None,
    )
    running = parent.Parent(settings, programs, create_region())
    ports = {name: point.port for name, point in running.settings.entry_points.items()}
    print(json.dumps(ports), flush=True)
    return running.run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
