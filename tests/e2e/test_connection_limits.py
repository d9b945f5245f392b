"""Every connection is in use: who gives way, who waits, and who is answered all the same.

What happens to messages between the processes meanwhile stands in tests/fastproxy/test_publish.py
(cut one by one); here the table of descriptors is really full.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.support.counts import record, times
from tests.support.load import NamedBackend
from tests.support.processes import get, wait_until
from tests.support.running import Proxy, backend_manifest, free_port, ingress_manifest
from tests.support.scripted import OK, Client, Origin, Peer, proxied, request, until
from tests.support.whole_program import SETTINGS as WHOLE
from tests.support.whole_program import Proxy as Whole

LIMIT = 6
SETTINGS = """
[entryPoints.traefik]
address = "127.0.0.1:{ping}"
[ping]
entryPoint = "{entry_point}"
[limits]
maxConnections = {limit}
{more}
"""


class Holding:
    """An origin whose answers to /shop/held wait until they are let go."""

    def __init__(self) -> None:
        self.go = False
        self.origin = Origin({"/shop/held": self._hold})

    def _hold(self, peer: Peer) -> None:
        peer.read_request()
        until(lambda: self.go, 60)
        peer.send(OK)


@contextmanager
def full_of(
    folder: Path, entry_point: str = "traefik", more: str = "", busy: int = 0
) -> Iterator[tuple[Proxy, int, list[Client]]]:
    """A proxy with as many connections as it may have: the port of /ping, and the clients, of which
    the first `busy` wait for an answer and the others are idle, the oldest first."""
    holding = Holding()
    ping = free_port()
    settings = SETTINGS.format(ping=ping, entry_point=entry_point, limit=LIMIT, more=more)
    with (
        closing(holding.origin),
        proxied(folder, {"shop": [("127.0.0.1", holding.origin.port)]}, settings) as proxy,
        ExitStack() as stack,
    ):
        port = proxy.address[1]
        clients = []
        for number in range(LIMIT):
            clients.append(stack.enter_context(Client(port)))
            if number < busy:
                clients[-1].send(request("/shop/held"))
                until(lambda n=number: holding.origin.targets().count("/shop/held") == n + 1)
            else:
                assert clients[-1].ask("/shop/x").status == 200
        yield proxy, ping if entry_point == "traefik" else port, clients
        holding.go = True


def listens(pid: int) -> bool:
    links = (str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())
    return any("eventpoll" in link for link in links)


def ask(port: int, path: str) -> int:
    with Client(port) as client:
        return client.ask(path).status


def is_open(client: Client) -> bool:
    client.socket.setblocking(False)
    try:
        return client.socket.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    finally:
        client.socket.settimeout(15)


def test_the_longest_idle_gives_way(tmp_path: Path) -> None:
    with full_of(tmp_path) as (proxy, _, clients):
        assert clients[0].ask("/shop/x").status == 200  # now the second is the oldest
        with ExitStack() as stack:
            new = [stack.enter_context(Client(proxy.address[1])) for _ in range(3)]
            assert [client.ask("/shop/x").status for client in new] == [200] * 3
            assert [is_open(client) for client in clients] == [
                True,
                False,
                False,
                False,
                True,
                True,
            ]
            assert clients[0].ask("/shop/x").status == 200


def test_who_is_being_served_does_not_give_way(tmp_path: Path) -> None:
    with (
        full_of(tmp_path, busy=LIMIT - 1) as (proxy, _, clients),
        Client(proxy.address[1]) as one,
        Client(proxy.address[1]) as two,
    ):
        one.send(request("/shop/held"))
        two.send(request("/shop/x"))
        two.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            two.more()
        assert [is_open(client) for client in clients] == [True] * (LIMIT - 1) + [False]
        clients[0].socket.close()
        two.socket.settimeout(15)
        assert two.response().status == 200


def test_pipelined_requests_are_answered_before_anybody_gives_way(tmp_path: Path) -> None:
    """What has arrived on an idle connection is looked at first, whatever else has arrived."""
    with full_of(tmp_path) as (proxy, _, clients), ExitStack() as stack:
        (worker,) = (pid for pid in proxy.children() if listens(pid))
        os.kill(worker, signal.SIGSTOP)
        new = [stack.enter_context(Client(proxy.address[1])) for _ in range(LIMIT)]
        for client in new:
            client.send(request("/shop/x"))
        for client in clients:
            client.send(request("/shop/x") * 3)
        os.kill(worker, signal.SIGCONT)
        answered = [[client.response().status for _ in range(3)] for client in clients]
        assert answered == [[200] * 3] * LIMIT
        assert [client.response().status for client in new] == [200] * LIMIT


PROBED = [("traefik", 0), ("traefik", LIMIT), ("http", 0), ("http", LIMIT)]


@pytest.mark.parametrize(("entry_point", "busy"), PROBED)
def test_probes_are_answered_at_the_limit(tmp_path: Path, entry_point: str, busy: int) -> None:
    """On an entry point of their own and on one with traffic, among idle clients and busy ones."""
    with full_of(tmp_path, entry_point, busy=busy) as (_, ping, clients):
        began = time.monotonic()
        for path in ("/ping", "/ready") * 20:
            assert ask(ping, path) == 200
        assert time.monotonic() - began < 10
        assert [is_open(client) for client in clients[:busy]] == [True] * busy


def test_only_probes_are_answered_beyond_the_limit(tmp_path: Path) -> None:
    """And nobody keeps others from it, by saying nothing or by being many."""
    with full_of(tmp_path, "http", busy=LIMIT) as (proxy, ping, clients), ExitStack() as stack:
        silent = [stack.enter_context(Client(ping)) for _ in range(40)]
        with Client(ping) as client:
            answer = client.ask("/shop/x")
            assert (answer.status, client.ends()) == (503, True)
        with Client(ping) as client:
            assert (client.ask("/ping").status, client.ends()) == (200, True)
        assert sum(is_open(client) for client in silent) <= 16
        until(lambda: "503 all connections are in use (limits.max" in proxy.log.read_text())
        assert [is_open(client) for client in clients] == [True] * LIMIT
        # As soon as there is room again such a connection is as good as any other.
        late = [stack.enter_context(Client(ping)) for _ in range(2)]
        for client in clients[:2]:
            client.socket.close()
        until(lambda: ask(ping, "/shop/x") == 200)
        assert [client.ask("/shop/x").status for client in late] == [200, 200]


SILENT = [("", b""), ("", b"G"), ("[entryPoints.http.proxyProtocol]\ninsecure = true", b"")]


@pytest.mark.parametrize(("more", "said"), SILENT, ids=["nothing", "a byte", "no PROXY header"])
def test_who_has_never_said_anything_gives_way(tmp_path: Path, more: str, said: bytes) -> None:
    """After a second; somebody in the middle of a head has until its deadline."""
    origin = Origin()
    settings = f'{more}\n[limits]\nmaxConnections = {LIMIT}\nheadTimeout = "60s"\n'
    with (
        closing(origin),
        proxied(tmp_path, {"shop": [("127.0.0.1", origin.port)]}, settings) as proxy,
        ExitStack() as stack,
    ):
        began = time.monotonic()
        for _ in range(LIMIT):
            stack.enter_context(Client(proxy.address[1])).send(said)
        new = stack.enter_context(Client(proxy.address[1]))
        new.send(request("/shop/x"))
        new.socket.settimeout(2.5 if said else 15)
        if said:
            with pytest.raises(TimeoutError):
                new.more()
        else:
            assert new.response().status == 200
            assert time.monotonic() - began > 0.8


def test_idle_without_a_limit_of_time_gives_way_as_well(tmp_path: Path) -> None:
    more = '[respondingTimeouts]\nidleTimeout = "0s"\n'
    with full_of(tmp_path, more=more) as (proxy, _, clients):
        assert ask(proxy.address[1], "/shop/x") == 200
        assert not is_open(clients[0])


# --- descriptors ---


def limited(folder: Path, descriptors: int, backend: NamedBackend) -> Whole:
    """A proxy whose processes may have so many descriptors."""
    starter = ("sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh")
    proxy = Whole(folder, WHOLE.replace("workers = 2", "workers = 1"), starter=starter)
    proxy.write("service.yaml", backend_manifest("shop", [backend.port]))
    proxy.write("ingress.yaml", ingress_manifest("shop", [("a.test", "/", "shop")]))
    wait_until(lambda: one(proxy) == b"one", "the route")
    return proxy


def one(proxy: Whole, host: str = "a.test") -> bytes:
    """The body of an answer on a connection of its own; b"" without an answer."""
    try:
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as connection:
            head = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            connection.sendall(head.encode())
            data = b""
            while part := connection.recv(65536):
                data += part
    except OSError:
        return b""
    return data.partition(b"\r\n\r\n")[2]


def open_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


ULIMITS = [120, 200, 400]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("descriptors", ULIMITS)
@pytest.mark.parametrize("asking", [False, True], ids=["silent", "asking"])
def test_changes_arrive_while_descriptors_are_out(
    tmp_path: Path, descriptors: int, asking: bool
) -> None:
    """Endpoints move and Ingresses come while more clients than there is room for hold on."""
    rounds = times(1, 10)
    old, new = NamedBackend("one"), NamedBackend("two")
    proxy = limited(tmp_path, descriptors, old)
    worker = proxy.process_of("worker 0")
    slowest, most = 0.0, 0
    try:
        for number in range(rounds):
            crowd = [
                socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(2 * descriptors)
            ]
            for connection in crowd:
                if asking:
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            time.sleep(0.3)
            most = max(most, open_descriptors(worker))
            name = f"n{number}.test"
            backend = old if number % 2 else new
            began = time.monotonic()
            proxy.write("service.yaml", backend_manifest("shop", [backend.port]))
            time.sleep(0.3)
            proxy.write(f"{number}.yaml", ingress_manifest(f"n{number}", [(name, "/", "shop")]))
            time.sleep(0.5)
            assert get(proxy.ping_port, "/ping")[0] == 200
            for connection in crowd:
                connection.close()
            expected = backend.name.encode()
            wait_until(lambda e=expected, n=name: one(proxy, n) == e, "the new Ingress")
            slowest = max(slowest, time.monotonic() - began)
            assert {one(proxy) for _ in range(10)} == {expected}
        record(f"descriptors out, {descriptors}, {'asking' if asking else 'silent'}",
               rounds=rounds, slowest_change=round(slowest, 2), most_open=most)  # fmt: skip
        assert most < descriptors
        assert proxy.process_of("worker 0") == worker
        assert "is killed" not in proxy.log.read_text()
    finally:
        proxy.close()
        old.close()
        new.close()


def test_the_log_says_how_many_connections_there_may_be(tmp_path: Path) -> None:
    backend = NamedBackend("one")
    proxy = limited(tmp_path, 200, backend)
    try:
        line = re.search(
            r'level=warning msg="each of 1 workers takes (\d+) connections of clients instead of'
            r" the 10000 of limits.maxConnections, because only 200 descriptors may be open",
            proxy.log.read_text(),
        )
        assert line is not None
        count = int(line[1])
        busy = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(count + 5)]
        for connection in busy:
            connection.sendall(b"GET /slow/1 HTTP/1.1\r\nHost: a.test\r\n\r\n")
        time.sleep(0.5)
        served = 0
        for connection in busy[:count]:
            connection.settimeout(10)
            served += connection.recv(100).startswith(b"HTTP/1.1 200")
            connection.close()
        assert served == count
    finally:
        proxy.close()
        backend.close()


def test_idle_endpoint_connections_give_way(tmp_path: Path) -> None:
    """Many endpoints, each with an idle connection: a new one is made in place of the oldest."""
    backends = [NamedBackend("one") for _ in range(60)]
    proxy = limited(tmp_path, 170, backends[0])
    try:
        ports = [backend.port for backend in backends]
        proxy.write("service.yaml", backend_manifest("shop", ports))
        time.sleep(1)
        worker = proxy.process_of("worker 0")
        for _ in range(3):
            for _ in backends:
                assert one(proxy) == b"one"
        assert open_descriptors(worker) < 165
        assert "failed" not in proxy.log.read_text()
    finally:
        proxy.close()
        for backend in backends:
            backend.close()
