"""All kinds of clients for a while, over a configuration that never rests: what grows is a leak."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import linear_regression

import pytest

from tests.support.counts import LONG, record, times
from tests.support.processes import children_of
from tests.support.tls import AUTHORITY, client_context, client_hello, pem
from tests.support.users import JOE, USERS_SECRET
from tests.support.whole import Running, ask, ingress, origin, secret, service, serving

SECONDS = times(4, 300)
SETTINGS = """
defaultEntryPoints = ["http", "https"]
workers = 2
providersThrottleDuration = "100ms"

[entryPoints.http]
address = "127.0.0.1:{http}"
compress = true

[entryPoints.https]
address = "127.0.0.1:{https}"
[entryPoints.https.tls]
"""
BASIC = {"auth_type": "basic", "auth_secret": "users"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with origin() as one, origin() as two:
        objects = [
            *service("a", one),
            *service("b", two),
            secret("a", *pem(AUTHORITY.issue_cert("a.test"))),
            USERS_SECRET,
            ingress("a", "a.test", "a", "a"),
            ingress("basic", "basic.test", "a", **BASIC),
            ingress("changing", "changing.test", "b"),
        ]
        with serving(tmp_path, SETTINGS, objects, "http", "https") as made:
            made.origins = (one, two)  # type: ignore[attr-defined]
            yield made


def plain(running: Running, name: str = "http") -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.ports[name]), 15)


def keeps(running: Running) -> None:
    """Many requests on one TLS connection, bodies of all sizes."""
    with running.connect("a.test", context=client_context()) as client:
        for _ in range(20):
            size = f"X-Size: {random.randrange(100_000)}\r\n"
            assert ask(client, "a.test", size)[0] == 200


def comes_and_goes(running: Running) -> None:
    assert running.get("a.test", context=client_context())[0] == 200


def uses_filters(running: Running) -> None:
    with plain(running) as client:
        assert ask(client, "basic.test", JOE + "\r\n")[0] == 200
        assert ask(client, "basic.test")[0] == 401
        assert ask(client, "none.test")[0] == 404
        assert ask(client, "a.test")[0] == 200
        assert ask(client, "changing.test")[0] in (200, 404)


def leaves(running: Running) -> None:
    """Within a head, a body, a handshake, a wait for a filter."""
    for data, name in (
        (b"GET / HTTP/1.1\r\nHo", "http"),
        (b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Size: 3000000\r\n\r\n", "http"),
        (b"GET / HTTP/1.1\r\nHost: basic.test\r\n" + JOE.encode() + b"\r\n\r\n", "http"),
        (b"GARBAGE\r\n\r\n", "http"),
        (client_hello("a.test"), "https"),
        (client_hello("a.test")[:50], "https"),
    ):
        with plain(running, name) as client:
            client.sendall(data)
            time.sleep(random.uniform(0, 0.005))
            if random.random() < 0.5:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


CLIENTS: tuple[Callable[[Running], None], ...] = (keeps, comes_and_goes, uses_filters, leaves)


def change(running: Running, number: int) -> None:
    """A certificate, annotations, an endpoint, a route: one of them by turns."""
    one, two = running.origins  # type: ignore[attr-defined]
    turn, round_ = number % 4, number // 4
    if turn == 0:
        running.replace(secret("a", *pem(AUTHORITY.issue_cert("a.test", f"v{round_ % 7}.test"))))
    elif turn == 1:
        more = {"frame_deny": "true", "rate_limit": "{}"} if round_ % 2 else {}
        running.replace(ingress("a", "a.test", "a", "a", **more))
    elif turn == 2:
        _, slice_ = service("a", two if round_ % 2 else one)
        running.replace(slice_)
    else:
        running.objects = [d for d in running.objects if d["metadata"]["name"] != "changing"]
        if round_ % 2:
            running.objects.append(ingress("changing", "changing.test", "b"))
        running.write()


def held(pid: int) -> tuple[int, int]:
    """Private bytes and open descriptors of a process."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    private = sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))
    return private * 1024, len(list(Path(f"/proc/{pid}/fd").iterdir()))


class Soak:
    """The clients and the changes, each in a thread of its own, until `stop`."""

    def __init__(self, running: Running) -> None:
        self.failures: list[BaseException] = []
        self.done: dict[str, int] = {}
        self._ending = threading.Event()
        works = {client.__name__: lambda c=client: c(running) for client in CLIENTS}
        self._threads = [threading.Thread(target=self._run, args=item) for item in works.items()]
        self._threads.append(threading.Thread(target=self._churn, args=(running,)))
        for thread in self._threads:
            thread.start()

    def _run(self, name: str, work: Callable[[], None]) -> None:
        while not self._ending.is_set():
            try:
                work()
            except BaseException as failure:
                if name != "leaves":
                    self.failures.append(failure)
                    return
            self.done[name] = self.done.get(name, 0) + 1

    def _churn(self, running: Running) -> None:
        number = 0
        while not self._ending.wait(0.25):
            change(running, number)
            number += 1
            self.done["changes"] = number

    def stop(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_nothing_grows(running: Running) -> None:
    pids = children_of(running.proxy.pid)
    assert len(pids) == 3
    running.get("a.test")
    before = {pid: held(pid)[1] for pid in pids}
    soak = Soak(running)
    samples: dict[int, list[tuple[float, int]]] = {pid: [] for pid in pids}
    began = time.monotonic()
    now = 0.0
    while (now < SECONDS or len(samples[pids[0]]) < 6) and not soak.failures:
        now = time.monotonic() - began
        for pid in pids:
            samples[pid].append((now, held(pid)[0]))
        time.sleep(times(1, 2) / 2)
    soak.stop()
    assert soak.failures == []
    assert children_of(running.proxy.pid) == pids  # nobody was replaced
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(held(p)[1] > before[p] + 8 for p in pids):
        time.sleep(0.1)
    descriptors = {pid: held(pid)[1] - before[pid] for pid in pids}
    assert max(descriptors.values()) <= 8, descriptors  # connections kept to endpoints
    slopes = {}
    for name, pid in zip(("worker0", "worker1", "controller"), pids, strict=True):
        settled = samples[pid][len(samples[pid]) // 2 :]
        slope = linear_regression(*zip(*settled, strict=True)).slope * 3600
        slopes[f"{name}_mib_per_hour"] = round(slope / (1 << 20), 2)
        slopes[f"{name}_mib"] = round(settled[-1][1] / (1 << 20), 2)
    record("soak", seconds=SECONDS, **soak.done, most_new_descriptors=max(descriptors.values()),
           **slopes)  # fmt: skip
    if LONG:  # so short, a page more or less is a lot; what leaks slowly is for test_leaks.py
        assert max(slopes["worker0_mib_per_hour"], slopes["worker1_mib_per_hour"]) < 4
