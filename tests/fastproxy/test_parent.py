"""The real parent and worker processes around a stand-in data plane."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy.model.configuration import Backend, Desired, Endpoint, Route
from fastproxy.model.matchers import Host
from tests.support.processes import Running, ask, children_of, get, is_alive, stand_in, wait_until
from tests.support.stand_in import DEADLY_NAME, REFUSED_NAME

SETTINGS = """
workers = 2
[entryPoints.http]
address = "127.0.0.1:0"
[entryPoints.traefik]
address = "127.0.0.1:0"
[lifeCycle]
graceTimeOut = "5s"
"""


def desired(*names: str, urls: int = 1) -> Desired:
    endpoints = tuple(Endpoint("http", f"10.0.0.{i}", 80) for i in range(1, urls + 1))
    routes = tuple(Route(name, ("http",), (Host(("a",)),), 1, "shop") for name in names)
    return Desired(routes, (Backend("shop", endpoints),))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with stand_in(tmp_path, SETTINGS) as it:
        wait_until(lambda: len(it.children) == 3, "three children")
        yield it


def test_before_the_first_generation(running: Running) -> None:
    assert running.get()[0] == 404
    assert running.get("/ping", "traefik")[0] == 200
    assert running.get("/ready", "traefik")[0] == 503


def test_a_generation_becomes_live_in_every_worker(running: Running) -> None:
    assert running.command(desired("a", "b"))[:2] == (True, 1)
    assert [(w["worker"], w["generation"], w["routes"]) for w in running.describe()] == [
        (0, 1, ["a", "b"]),
        (1, 1, ["a", "b"]),
    ]
    assert running.get("/ready", "traefik")[0] == 200


def test_a_refused_generation_changes_nothing_anywhere(running: Running) -> None:
    running.command(desired("a"))
    assert running.command(desired("a", REFUSED_NAME))[:2] == (False, 1)
    assert [w["routes"] for w in running.describe()] == [["a"], ["a"]]
    assert running.command(desired("a", "c"))[:2] == (True, 2)
    assert [w["routes"] for w in running.describe()] == [["a", "c"], ["a", "c"]]


def test_a_generation_that_kills_workers_is_refused(running: Running) -> None:
    running.command(desired("a"))
    assert running.command(desired("a", DEADLY_NAME))[0] is False
    wait_until(lambda: len(running.describe()) == 2, "both workers again")
    assert [w["routes"] for w in running.describe()] == [["a"], ["a"]]


def test_endpoints_change_without_a_generation(running: Running) -> None:
    running.command(desired("a"))
    running.command(("shop", (Endpoint("http", "10.9.9.9", 81),)))
    assert running.command(desired("a", urls=2))[:2] == (True, 1)
    expected = ["http://10.0.0.1:80", "http://10.0.0.2:80"]

    def live() -> bool:  # workers do not acknowledge endpoints
        return [w["endpoints"]["shop"] for w in running.describe()] == [expected, expected]

    wait_until(live, "the new endpoints")


def test_a_killed_worker_is_replaced_with_the_live_state(running: Running) -> None:
    running.command(desired("a"))
    running.command(desired("a", "b"))
    running.command(("shop", (Endpoint("http", "10.9.9.9", 81),)))
    victim = running.describe()[0]["pid"]
    started = time.monotonic()
    os.kill(victim, signal.SIGKILL)

    def replaced() -> bool:
        return any(w["worker"] == 0 and w["pid"] != victim for w in running.describe())

    wait_until(replaced, "a new worker 0")
    print(f"replaced after {time.monotonic() - started:.3f} s")
    assert [w["routes"] for w in running.describe()] == [["a", "b"]] * 2

    def moved() -> bool:
        return [w["endpoints"]["shop"] for w in running.describe()] == [["http://10.9.9.9:81"]] * 2

    wait_until(moved, "the moved endpoints")
    assert running.get("/ready", "traefik")[0] == 200


def test_connections_queued_at_a_dead_worker_are_served(tmp_path: Path) -> None:
    """The one worker is stopped, so that connections queue, and then killed."""
    with stand_in(tmp_path, SETTINGS.replace("workers = 2", "workers = 1")) as running:
        running.command(desired("a"))
        victim = running.describe(1)[0]["pid"]
        os.kill(victim, signal.SIGSTOP)
        clients = [
            socket.create_connection(("127.0.0.1", running.ports["http"])) for _ in range(40)
        ]
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        answers = [ask(client) for client in clients]
        took = time.monotonic() - killed
        assert [status for status, _ in answers] == [200] * 40
        assert {json.loads(body)["pid"] for _, body in answers}.isdisjoint({victim})
        print(f"replaced after {took:.3f} s")
        assert took < 4.0  # 1.0 on an idle machine


def test_workers_outlive_the_controller_which_continues_the_generations(running: Running) -> None:
    running.command(desired("a", "b"))
    _, _, first = running.command(desired("b", "c"))
    workers = [w["pid"] for w in running.describe()]
    os.kill(first, signal.SIGKILL)
    assert running.get()[0] == 200
    accepted, generation, second = running.command(desired("b", "c"))
    assert (accepted, generation) == (True, 2)  # nothing to publish: it continues what is live
    assert second != first
    assert running.command(desired("c", "d"))[:2] == (True, 3)
    assert [w["routes"] for w in running.describe()] == [["c", "d"]] * 2
    assert [w["pid"] for w in running.describe()] == workers


def test_a_long_history_is_cut_and_replayed(running: Running) -> None:
    for count in range(1, 151):
        running.command(("shop", ()) if count % 3 == 0 else desired("a", f"r{count}"))
    assert len(list(Path(f"/proc/{running.pid}/fd").iterdir())) < 250
    running.command(desired("last", urls=3))
    for worker in running.describe():
        os.kill(worker["pid"], signal.SIGKILL)
    time.sleep(0.1)
    wait_until(lambda: len(running.describe()) == 2, "both workers again")
    for worker in running.describe():
        assert worker["routes"] == ["last"]
        assert len(worker["endpoints"]["shop"]) == 3


def test_sigterm_finishes_requests_and_refuses_new_connections(running: Running) -> None:
    running.command(desired("a"))
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(running.get("/slow/3")[0]))
    thread.start()
    time.sleep(0.3)
    os.kill(running.pid, signal.SIGTERM)

    def refused() -> bool:
        try:  # at first a SYN is ignored, then refused
            get(running.ports["http"], timeout=0.3)
        except OSError:
            return True
        return False

    wait_until(refused, "refused connections")
    assert is_alive(running.pid)
    thread.join()
    assert answers == [200]
    assert running.process.wait(5) == 0


def test_sigterm_keeps_accepting_for_the_grace_time(tmp_path: Path) -> None:
    with stand_in(tmp_path, SETTINGS + 'requestAcceptGraceTimeout = "700ms"\n') as running:
        running.command(desired("a"))
        os.kill(running.pid, signal.SIGTERM)
        wait_until(lambda: running.get("/ping", "traefik")[0] == 503, "ping fails")
        assert running.get("/ready", "traefik")[0] == 503
        assert running.get()[0] == 200
        assert running.process.wait(5) == 0


def test_what_does_not_finish_is_cut_at_the_grace_time(tmp_path: Path) -> None:
    settings = SETTINGS.replace('"5s"', '"300ms"')
    with stand_in(tmp_path, settings) as running:
        running.command(desired("a"))
        client = socket.create_connection(("127.0.0.1", running.ports["http"]))
        client.sendall(b"GET /slow/30 HTTP/1.1\r\n\r\n")
        time.sleep(0.2)
        started = time.monotonic()
        assert running.stop() == 0
        assert 0.2 < time.monotonic() - started < 6
        assert client.recv(100) == b""


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with stand_in(tmp_path, SETTINGS.replace('"5s"', '"60s"')) as running:
        running.command(desired("a"))
        client = socket.create_connection(("127.0.0.1", running.ports["http"]))
        client.sendall(b"GET /slow/60 HTTP/1.1\r\n\r\n")
        time.sleep(0.2)
        os.kill(running.pid, signal.SIGTERM)
        time.sleep(0.2)
        assert running.process.poll() is None
        assert running.stop() == 0  # which waits for 15 s at most


def test_nobody_survives_the_parent(running: Running) -> None:
    running.command(desired("a"))
    children = running.children
    os.kill(running.pid, signal.SIGKILL)
    for pid in children:
        wait_until(lambda pid=pid: not is_alive(pid), f"end of {pid}")


def test_other_signals_end_nobody(running: Running) -> None:
    running.command(desired("a"))
    before = running.children
    for number in (signal.SIGHUP, signal.SIGUSR1):
        os.kill(running.pid, number)
    time.sleep(0.2)
    assert running.get()[0] == 200
    assert running.children == before


def test_a_worker_that_dies_during_a_preparation_has_no_vote(running: Running) -> None:
    running.command(desired("a"))
    victim = running.describe()[1]["pid"]
    os.kill(victim, signal.SIGSTOP)
    thread = threading.Thread(target=lambda: running.command(desired("a", "b")))
    thread.start()
    time.sleep(0.2)
    assert thread.is_alive()

    def generation() -> int | None:
        try:  # half of the connections queue at the stopped worker
            return int(json.loads(get(running.ports["http"], timeout=0.3)[1])["generation"])
        except OSError:
            return None

    assert wait_until(generation, "an answer") == 1  # nobody has switched meanwhile
    os.kill(victim, signal.SIGKILL)
    thread.join()
    assert [w["routes"] for w in running.describe()] == [["a", "b"]] * 2


def test_worker_starting_while_controller_is_away(running: Running) -> None:
    _, _, controller = running.command(desired("a"))
    victim = running.describe()[0]["pid"]
    os.kill(controller, signal.SIGKILL)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in [w["pid"] for w in running.describe()], "replacement")
    assert [w["routes"] for w in running.describe()] == [["a"], ["a"]]


def test_orphans_are_reaped(running: Running) -> None:
    _, _, controller = running.command("orphan")
    (orphan,) = children_of(controller)
    os.kill(controller, signal.SIGKILL)
    wait_until(lambda: orphan in running.children, "adoption by the parent")
    wait_until(lambda: not Path(f"/proc/{orphan}").exists(), "no zombie")
    assert running.get()[0] == 404


def test_a_worker_that_never_serves_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = tmp_path / "stuck"
    monkeypatch.setenv("STAND_IN_STUCK", str(stuck))
    monkeypatch.setenv("STAND_IN_START", "1")
    with stand_in(tmp_path, SETTINGS) as running:
        running.command(desired("a"))
        victim = running.describe()[0]["pid"]
        before = set(running.children)
        stuck.touch()
        os.kill(victim, signal.SIGKILL)
        (late,) = wait_until(lambda: set(running.children) - before, "a stuck worker")
        wait_until(lambda: not is_alive(late), "the end of its patience")
        stuck.unlink()
        assert running.command(desired("a", "b"))[:2] == (True, 2)
        assert [w["routes"] for w in running.describe()] == [["a", "b"]] * 2
