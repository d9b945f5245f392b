"""The whole program on manifests: real parent, controller, workers, engine; faults under load."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy.model.configuration import Backend, Desired, Endpoint, Route
from fastproxy.model.matchers import Host, PathPrefix
from tests.support.counts import record, times
from tests.support.load import Client, Load, NamedBackend
from tests.support.processes import children_of, get, is_alive, stand_in, wait_until
from tests.support.running import backend_manifest, ingress_manifest
from tests.support.sanitized import SANITIZED
from tests.support.whole_program import SETTINGS, Proxy, started

# Seconds. The aims are 1 and 5, reached on an idle machine (each test prints or bounds what it
# took); here several times that, because test machines are busy.
REPLACED = 4.0
CONVERGED = 12.0


@pytest.fixture
def second() -> Iterator[NamedBackend]:
    it = NamedBackend("two")
    yield it
    it.close()


def test_from_manifest_to_backend(proxy: Proxy) -> None:
    assert Client(proxy.port).request() == (200, b"one")
    assert Client(proxy.port, "other.test").request()[0] == 404
    assert get(proxy.ping_port, "/ping") == (200, b"OK")


def test_routes_follow_the_manifests(proxy: Proxy, second: NamedBackend) -> None:
    proxy.write("two.yaml", backend_manifest("two", [second.port]) + "---"
                + ingress_manifest("two", [("b.test", "/", "two")]))  # fmt: skip
    wait_until(lambda: Client(proxy.port, "b.test").request() == (200, b"two"), "the new route")
    (proxy.manifests / "two.yaml").unlink()
    wait_until(lambda: Client(proxy.port, "b.test").request()[0] == 404, "the end of the route")


def test_not_ready_before_the_first_sync(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path, SETTINGS)
    try:
        wait_until(lambda: get(proxy.ping_port, "/ping")[0] == 200, "ping")
        wait_until(proxy.is_ready, "readiness with an empty directory")
        assert Client(proxy.port).request()[0] == 404
    finally:
        proxy.close()


def test_swaps_and_moving_endpoints_under_load(
    proxy: Proxy, backend: NamedBackend, second: NamedBackend
) -> None:
    load = Load(proxy.port)
    for number in range(6):
        one = second if number % 2 else backend
        proxy.write("service.yaml", backend_manifest("shop", [one.port]))
        rules = [("a.test", "/", "shop"), (f"n{number}.test", "/", "shop")]
        proxy.write("ingress.yaml", ingress_manifest("shop", rules))
        new = Client(proxy.port, f"n{number}.test")
        wait_until(lambda new=new, one=one: new.request()[1] == one.name.encode(), "the swap")
    load.stop()
    assert load.lost == []
    assert set(load.answers) == {(200, b"one"), (200, b"two")}


def test_controller_killed_under_load(proxy: Proxy, second: NamedBackend) -> None:
    load = Load(proxy.port)
    load.wait_for_more(50)
    killed = time.monotonic()
    os.kill(proxy.process_of("controller"), signal.SIGKILL)
    proxy.write("two.yaml", backend_manifest("two", [second.port]) + "---"
                + ingress_manifest("two", [("b.test", "/", "two")]))  # fmt: skip
    wait_until(lambda: Client(proxy.port, "b.test").request() == (200, b"two"), "convergence")
    assert time.monotonic() - killed < CONVERGED
    load.wait_for_more(50)
    load.stop()
    assert load.lost == []
    assert set(load.answers) == {(200, b"one")}


@pytest.mark.long
@pytest.mark.timeout(600)
def test_worker_killed_under_load(proxy: Proxy) -> None:
    """Lost is at most what was in flight on that worker; what queued for it is served."""
    clients, kills = 4, times(5, 50)
    load = Load(proxy.port, clients)
    load.wait_for_more(50)
    queued_in_all, lost, slowest = 0, 0, 0.0
    for number in range(kills):
        name = f"worker {number % 2}"
        pid = proxy.process_of(name)
        os.kill(pid, signal.SIGSTOP)
        queued = [socket.create_connection(("127.0.0.1", proxy.port), 10) for _ in range(10)]
        for connection in queued:  # about half of them wait for the stopped worker
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda name=name, pid=pid: proxy.process_of(name) != pid, "a new worker", REPLACED
        )
        slowest = max(slowest, time.monotonic() - killed)
        for connection in queued:
            with connection:
                # The stopped worker may have had it accepted; then it was in flight, and is lost.
                served = received(connection).startswith(b"HTTP/1.1 200")
                queued_in_all += 1
                lost += not served
        load.wait_for_more(60)
        time.sleep(times(0, 1))  # who dies within a second of its start is restarted more slowly
    load.stop()
    record("worker killed", kills=kills, lost=len(load.lost), sent_again=load.sent_again,
           in_flight_at_most=kills * clients, answered=load.total,
           queued=queued_in_all, queued_lost=lost, slowest_replacement=slowest)  # fmt: skip
    assert set(load.answers) == {(200, b"one")}
    assert len(load.lost) + load.sent_again <= kills * clients
    assert lost == 0
    assert proxy.is_ready()


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(100)
    except ConnectionResetError:
        return b""


def test_connections_queued_at_a_dead_worker_are_served(
    tmp_path: Path, backend: NamedBackend
) -> None:
    proxy = started(tmp_path, backend, SETTINGS.replace("workers = 2", "workers = 1"))
    try:
        victim = proxy.process_of("worker 0")
        os.kill(victim, signal.SIGSTOP)
        queued = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(40)]
        for connection in queued:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        first = queued[0].recv(100)
        took = time.monotonic() - killed
        print(f"replaced after {took:.3f} s")
        assert first.startswith(b"HTTP/1.1 200")
        assert took < REPLACED
        assert all(c.recv(100).startswith(b"HTTP/1.1 200") for c in queued[1:])
    finally:
        proxy.close()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_sigterm_under_load(tmp_path: Path, backend: NamedBackend) -> None:
    drains, answered, lost = times(1, 20), 0, 0
    for _ in range(drains):
        proxy = started(tmp_path, backend, SETTINGS + 'requestAcceptGraceTimeout = "300ms"\n')
        try:
            load = Load(proxy.port, may_refuse=True)
            load.wait_for_more(50)
            slow = socket.create_connection(("127.0.0.1", proxy.port), 15)
            slow.sendall(b"GET /slow/1 HTTP/1.1\r\nHost: a.test\r\n\r\n")
            time.sleep(0.1)
            proxy.process.send_signal(signal.SIGTERM)
            wait_until(lambda proxy=proxy: get(proxy.ping_port, "/ready")[0] == 503, "/ready fails")
            assert Client(proxy.port).request() == (200, b"one")  # still accepting
            assert slow.recv(100).startswith(b"HTTP/1.1 200")
            assert proxy.process.wait(15) == 0
            load.stop()
            assert set(load.answers) == {(200, b"one")}
            answered, lost = answered + load.total, lost + len(load.lost)
        finally:
            proxy.close()
    record("SIGTERM under load", drains=drains, answered=answered, lost=lost)
    assert lost == 0


@pytest.mark.long
@pytest.mark.timeout(600)
def test_sigterm_while_connections_arrive(tmp_path: Path, backend: NamedBackend) -> None:
    """Each request on its own connection, and no time of grace: none is reset in a queue."""
    routes = (Route("a", ("http",), (Host(("a.test",)), PathPrefix(("/",))), 1, "a"),)
    backends = (Backend("a", (Endpoint("http", "127.0.0.1", backend.port),)),)
    drains, answered, lost = times(3, 20), 0, 0
    for _ in range(drains):
        with stand_in(tmp_path, SETTINGS, real=True) as running:
            running.command(Desired(routes, backends))
            load = Load(running.ports["http"], 6, pause=0, may_refuse=True, keep_alive=False)
            load.wait_for_more(100)
            assert running.stop() == 0
            load.stop()
            answered, lost = answered + load.total, lost + len(load.lost)
    record("SIGTERM while connections arrive", drains=drains, answered=answered, lost=lost)
    assert lost == 0


def test_an_idle_connection_does_not_delay_the_end(tmp_path: Path, backend: NamedBackend) -> None:
    proxy = started(tmp_path, backend, SETTINGS.replace('"5s"', '"30s"'))
    try:
        with socket.create_connection(("127.0.0.1", proxy.port)) as idle:
            idle.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert idle.recv(4096).startswith(b"HTTP/1.1 200")
            proxy.process.send_signal(signal.SIGTERM)
            assert proxy.process.wait(20) == 0
            assert idle.recv(1) == b""
    finally:
        proxy.close()


def test_what_is_unfinished_is_cut_at_the_grace_time(tmp_path: Path, backend: NamedBackend) -> None:
    proxy = started(tmp_path, backend, SETTINGS.replace('"5s"', '"500ms"'))
    try:
        slow = socket.create_connection(("127.0.0.1", proxy.port))
        slow.sendall(b"GET /slow/20 HTTP/1.1\r\nHost: a.test\r\n\r\n")
        time.sleep(0.2)
        began = time.monotonic()
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(15) == 0
        assert 0.4 < time.monotonic() - began < 5
        assert slow.recv(100) == b""
    finally:
        proxy.close()


def test_a_damaged_generation_changes_nothing(proxy: Proxy) -> None:
    """A manifest that cannot be read is a finding; the rest lives on."""
    proxy.write("broken.yaml", "kind: [")
    proxy.write("two.yaml", ingress_manifest("two", [("b.test", "/", "shop")]))
    wait_until(lambda: Client(proxy.port, "b.test").request()[0] == 200, "the other file")
    assert Client(proxy.port).request() == (200, b"one")


def test_nobody_survives_the_parent(proxy: Proxy) -> None:
    children = children_of(proxy.process.pid)
    assert len(children) == 3
    proxy.process.kill()
    for pid in children:
        wait_until(lambda pid=pid: not is_alive(pid), f"end of {pid}")


def resident(pids: list[int]) -> dict[int, int]:
    """Bytes each process has in memory."""
    found = {}
    for pid in pids:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        found[pid] = pages * os.sysconf("SC_PAGESIZE")
    return found


def of_a_hundred(latencies: list[float]) -> float:
    """The latency of which 99 of 100 stay below."""
    return sorted(latencies)[len(latencies) * 99 // 100]


@pytest.mark.alone
@pytest.mark.long
@pytest.mark.timeout(600)
def test_generations_under_load(tmp_path: Path, backend: NamedBackend) -> None:
    """Straight from a publisher. Blocks of swaps take turns with as much time without any."""
    endpoints = (Endpoint("http", "127.0.0.1", backend.port),)
    warm, block, swaps = 50, 50, times(100, 1000)
    pace = times(0, 40)  # milliseconds between swaps; 0 = as fast as workers acknowledge
    # So fast, swaps and clients fight for the processors of a test machine.
    most = times(100, 1) * 1.5

    def desired(number: int) -> Desired:
        names = ["a", f"n{number}", f"n{number + 1}"]
        routes = [
            Route(name, ("http",), (Host((f"{name}.test",)), PathPrefix(("/",))), 1, name)
            for name in names
        ]
        return Desired(tuple(routes), tuple(Backend(name, endpoints) for name in names))

    with stand_in(tmp_path, SETTINGS, real=True) as running:
        running.command(desired(0))
        load = Load(running.ports["http"])
        load.wait_for_more(20)

        def swap(first: int, count: int) -> float:
            began = time.monotonic()
            for number in range(first, first + count):
                assert running.command(desired(number))[:2] == (True, number + 1)
                time.sleep(max(0.0, began + pace * (number - first + 1) / 1000 - time.monotonic()))
            return time.monotonic() - began

        swap(1, warm)
        before = resident(running.children)
        quiet: list[float] = []
        busy: list[float] = []
        for first in range(warm + 1, warm + 1 + swaps, block):
            load.latencies.clear()
            took = swap(first, block)
            busy += load.latencies
            load.latencies.clear()
            time.sleep(took)
            quiet += load.latencies
        after = resident(running.children)
        newest = warm + swaps + 1
        assert Client(running.ports["http"], f"n{newest}.test").request() == (200, b"one")
        assert Client(running.ports["http"], f"n{newest - 2}.test").request()[0] == 404
        load.wait_for_more(20)
        load.stop()
    with_swaps, without = of_a_hundred(busy), of_a_hundred(quiet)
    growth = max(after[pid] / before[pid] for pid in before)
    record("swaps", swaps=swaps, answered=load.total, lost=len(load.lost), growth=growth,
           p99_without_ms=without * 1000, p99_with_ms=with_swaps * 1000,
           p99_ratio=with_swaps / without)  # fmt: skip
    assert load.lost == []
    assert set(load.answers) == {(200, b"one")}
    assert after.keys() == before.keys()  # nobody was replaced
    assert growth <= 1.05 or SANITIZED  # which keeps freed memory for a while
    assert with_swaps <= without * most
