"""Children that hang instead of die: workers that are stopped, loop in Python or sleep in C, all of
them at once, and the controller; what queued for them is served by their successors."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.counts import record, times
from tests.support.hanging import IN_C, IN_PYTHON
from tests.support.load import Client, NamedBackend
from tests.support.processes import children_of, get, wait_until
from tests.support.running import ingress_manifest
from tests.support.whole_program import Proxy, started

pytestmark = pytest.mark.alone

REPLACED = 20.0  # seconds; the aim is 5, reached on an idle machine
STARTER = [sys.executable, "-m", "tests.support.hanging"]


@pytest.fixture
def proxy(tmp_path: Path, backend: NamedBackend) -> Iterator[Proxy]:
    proxy = started(tmp_path, backend, starter=STARTER)
    yield proxy
    for pid in children_of(proxy.process.pid):
        os.kill(pid, signal.SIGCONT)
    proxy.close()


HOW = {"stopped": signal.SIGSTOP, "in Python": IN_PYTHON, "in C": IN_C}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_worker_that_hangs_is_replaced_and_what_queued_is_served(proxy: Proxy) -> None:
    rounds, slowest, queued_in_all, lost = times(1, 10), 0.0, 0, 0
    for number in range(rounds):
        for how, signal_number in HOW.items():
            name = f"worker {number % 2}"
            pid = proxy.process_of(name)
            os.kill(pid, signal_number)
            hung = time.monotonic()
            time.sleep(0.3)  # what it had accepted already is lost with it
            queued = [socket.create_connection(("127.0.0.1", proxy.port), 60) for _ in range(20)]
            for connection in queued:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            wait_until(lambda name=name, pid=pid: proxy.process_of(name) != pid, f"{how}", REPLACED)
            for connection in queued:
                with connection:
                    queued_in_all += 1
                    lost += not connection.recv(100).startswith(b"HTTP/1.1 200")
            slowest = max(slowest, time.monotonic() - hung)
            time.sleep(1.1)  # who dies within a second of its start is restarted more slowly
    record("a worker hangs", rounds=rounds, ways=len(HOW), queued=queued_in_all,
           queued_lost=lost, slowest_until_served=slowest)  # fmt: skip
    assert lost == 0
    assert slowest < REPLACED


def test_all_workers_and_the_controller_may_hang_at_once(
    proxy: Proxy, backend: NamedBackend
) -> None:
    children = children_of(proxy.process.pid)
    assert len(children) == 3
    for pid in children:
        os.kill(pid, signal.SIGSTOP)
    proxy.write("new.yaml", ingress_manifest("new", [("new.test", "/", "shop")]))
    wait_until(lambda: not {*children} & {*children_of(proxy.process.pid)}, "others", REPLACED)
    wait_until(lambda: Client(proxy.port, "new.test").request() == (200, b"one"), "it", REPLACED)
    assert get(proxy.ping_port, "/ready")[0] == 200
    assert proxy.log.read_text().count("it has been stopped for") == 3


def test_a_parent_that_was_stopped_kills_nobody(proxy: Proxy) -> None:
    """Ctrl-Z, a suspended laptop, a paused container: all wake at the same time."""
    children = children_of(proxy.process.pid)
    for everybody in ([proxy.process.pid], [proxy.process.pid, *children]):
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(4.0)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        time.sleep(1.0)
        assert children_of(proxy.process.pid) == children
        assert Client(proxy.port).request() == (200, b"one")


def test_an_idle_and_a_loaded_worker_are_left_alone(proxy: Proxy) -> None:
    """Processes that take all processors make them late, not hang."""
    children = children_of(proxy.process.pid)
    code = "while True: pass"
    hogs = [
        subprocess.Popen([sys.executable, "-c", code]) for _ in range(4 * (os.cpu_count() or 1))
    ]
    try:
        time.sleep(times(5, 30))
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    assert children_of(proxy.process.pid) == children
