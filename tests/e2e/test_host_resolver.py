"""`hostResolver.cnameFlattening`: CNAME -> host rule -> request, with a real name server."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.feature_rows import Answer, Ask, Field, Row, running
from tests.support.name_server import NameServer

SETTINGS = """
[hostResolver]
cnameFlattening = true
resolvConf = "{conf}"
resolvDepth = 3
"""
PREFIXED = {"request-modifier": "AddPrefix: /added"}
BUFFERED = {"buffering": "{maxrequestbodybytes: 100000}"}
PAGES = {"error-pages": "a: {status: ['500-599'], backend: row0.test/, query: /page}"}
ROWS = (
    Row("shop"),
    Row("edited", PREFIXED, BUFFERED),
    Row("preferred", {"priority": "1000"}, path="/sub"),
    Row("paged", {**PREFIXED, **PAGES}, BUFFERED),
)


@pytest.fixture(scope="module")
def server() -> Iterator[NameServer]:
    try:
        server = NameServer(53)
    except PermissionError:
        pytest.skip("port 53 may not be taken here")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, server: NameServer) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("hosts")
    conf = server.resolv_conf(folder / "resolv.conf")
    yield from running(folder, ROWS, settings=SETTINGS.format(conf=conf))


@pytest.fixture(autouse=True)
def well_again(server: NameServer) -> Iterator[None]:
    yield
    server.failing = server.silent = False


def get(proxy: Field, host: str, target: str = "/") -> Answer:
    proxy.backend.seen.clear()
    return proxy.ask(Ask(target), host)


def chain(server: NameServer, *names: str, ttl: int = 60) -> None:
    for name, target in itertools.pairwise(names):
        server.put(name, "CNAME", [target + "."], ttl)


CHAINS: list[tuple[str, tuple[str, ...], int]] = [
    ("the host itself", ("row0.test",), 200),
    ("one step", ("one.test", "row0.test"), 200),
    ("upper case", ("ONE.test", "Row0.TEST"), 200),
    ("as deep as allowed", ("d1.test", "d2.test", "d3.test", "row0.test"), 200),
    ("too deep", ("e1.test", "e2.test", "e3.test", "e4.test", "row0.test"), 404),
    ("the middle of a chain", ("m1.test", "row0.test", "elsewhere.test"), 404),
    ("a loop", ("l1.test", "l2.test", "l1.test"), 404),
    ("elsewhere", ("f1.test", "f2.test"), 404),
    ("no such name", ("unknown.test",), 404),
]


@pytest.mark.parametrize("title, names, status", CHAINS)
def test_chains(
    proxy: Field, server: NameServer, title: str, names: tuple[str, ...], status: int
) -> None:
    chain(server, *names)
    try:
        assert get(proxy, names[0]).status == status
        for seen in proxy.backend.seen:
            assert seen.headers["Host"] == names[0]  # only the choice of the route knows of it
        asked = len(server.questions)
        assert get(proxy, names[0].lower() + ":80").status == status
        assert len(server.questions) == asked  # it is remembered, also that there is none
    finally:
        for name in names:
            server.put(name, "CNAME", [])


def test_routes_of_both_names_compete_by_priority(proxy: Field, server: NameServer) -> None:
    """row1.test is known itself; the route of its alias row2.test has the higher priority."""
    chain(server, "row1.test", "row2.test")
    try:
        for target, expected in (("/a", "/added/a"), ("/sub/a", "/sub/a")):
            assert get(proxy, "row1.test", target).status == 200
            assert proxy.backend.seen[0].target == expected
    finally:
        server.put("row1.test", "CNAME", [])


def test_addresses_are_not_looked_up(proxy: Field, server: NameServer) -> None:
    asked = len(server.questions)
    for host in ("127.0.0.1", "[::1]:80", "192.0.2.7:8080"):
        assert get(proxy, host).status == 404
    assert len(server.questions) == asked


def test_an_alias_changes_when_its_ttl_has_passed(proxy: Field, server: NameServer) -> None:
    chain(server, "moving.test", "elsewhere.test", ttl=1)
    assert get(proxy, "moving.test").status == 404
    chain(server, "moving.test", "row0.test", ttl=1)
    until(lambda: get(proxy, "moving.test").status == 200)
    server.failing = True  # then the host stands for itself
    until(lambda: get(proxy, "moving.test").status == 404)


def until(question: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_dead_server_delays_and_does_not_refuse(proxy: Field, server: NameServer) -> None:
    """Every host is asked for; what cannot be looked up is served by its own name."""
    server.silent = True
    started = time.monotonic()
    answers: list[int] = []
    hosts = ["row3.test", *(f"dead{number}.test" for number in range(60))]
    threads = [
        threading.Thread(target=lambda host=host: answers.append(get(proxy, host).status))
        for host in hosts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(answers) == [200, *[404] * 60]
    assert time.monotonic() - started < 20  # not 60 times as long
    server.silent = False
    started = time.monotonic()
    assert get(proxy, "fresh.test").status == 404
    assert time.monotonic() - started < 4  # it is not waited for


class Client:
    def __init__(self, proxy: Field) -> None:
        self.socket = socket.create_connection(("127.0.0.1", proxy.ports["http"]), 10)

    def send(self, *parts: str) -> None:
        self.socket.sendall("".join(parts).encode())

    def answers(self, count: int) -> str:
        data = b""
        while data.count(b"HTTP/1.1 ") < count or not data.endswith(b"server 0"):
            more = self.socket.recv(65536)
            assert more, data
            data += more
        return data.decode()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def test_bodies_and_pipelines_wait_with_their_request(proxy: Field, server: NameServer) -> None:
    """Half of the body comes while the name is looked up, the rest later; then a next request."""
    chain(server, "waits1.test", "row0.test")
    chain(server, "waits2.test", "row0.test")
    proxy.backend.seen.clear()
    client = Client(proxy)
    client.send("POST /p HTTP/1.1\r\nHost: waits1.test\r\nContent-Length: 10\r\n\r\nhello")
    time.sleep(0.3)
    client.send("world", "GET /q HTTP/1.1\r\nHost: waits2.test\r\n\r\n")
    client.send("GET /r HTTP/1.1\r\nHost: row0.test\r\n\r\n")
    client.answers(3)
    client.socket.close()
    seen = [(one.target, one.body, one.headers["Host"]) for one in proxy.backend.seen]
    assert seen == [
        ("/p", b"helloworld", "waits1.test"),
        ("/q", b"", "waits2.test"),
        ("/r", b"", "row0.test"),
    ]


@pytest.mark.parametrize("host, alias", [("edits.test", "row1.test"), ("pages.test", "row3.test")])
def test_what_operations_made_survives_a_second_wait(
    proxy: Field, server: NameServer, host: str, alias: str
) -> None:
    """The name is looked up, then a prefix is added, then the body is waited for, while other
    requests use the worker's memory."""
    chain(server, host, alias)
    proxy.backend.seen.clear()
    client = Client(proxy)
    client.send(
        f"POST /mine?a=1 HTTP/1.1\r\nHost: {host}\r\nX-Mine: 1\r\nContent-Length: 10\r\n\r\n"
    )
    client.send("hello")
    time.sleep(0.3)
    for number in range(5):
        other = f"/{'other' * 20}{number}"
        assert proxy.ask(Ask(other, headers=(("X-Other", "x" * 200),)), "row1.test").status == 200
    proxy.backend.seen.clear()
    client.send("world")
    client.answers(1)
    client.socket.close()
    [seen] = proxy.backend.seen
    assert (seen.target, seen.body) == ("/added/mine?a=1", b"helloworld")
    assert seen.headers["X-Mine"] == "1" and seen.headers["X-Other"] is None


def test_clients_that_leave_while_the_name_is_looked_up(proxy: Field, server: NameServer) -> None:
    server.silent = True
    proxy.backend.seen.clear()
    for number in range(20):
        client = Client(proxy)
        client.send(f"GET /left HTTP/1.1\r\nHost: leaves{number % 3}.test\r\n\r\n")
        time.sleep(0.01)
        client.reset()
    server.silent = False
    assert get(proxy, "row0.test").status == 200
    assert [seen.target for seen in proxy.backend.seen] == ["/"]


def test_a_flood_of_invented_hosts_disturbs_nobody(proxy: Field, server: NameServer) -> None:
    """The name server gets few questions at a time, known hosts are served meanwhile."""
    chain(server, "known.test", "row0.test")
    assert get(proxy, "known.test").status == 200
    server.silent = True
    asked = len(server.questions)
    clients = [Client(proxy) for _ in range(300)]
    for number, client in enumerate(clients):
        client.send(f"GET / HTTP/1.1\r\nHost: invented{number}.test\r\n\r\n")
    time.sleep(0.5)
    started = time.monotonic()
    assert get(proxy, "known.test").status == 200
    assert time.monotonic() - started < 4  # it waits for nobody
    assert len({name for name, _ in server.questions[asked:]}) <= 32
    for client in clients:
        client.socket.settimeout(20)
        assert client.socket.recv(65536).startswith(b"HTTP/1.1 404 ")
        client.socket.close()
    assert time.monotonic() - started < 25


@pytest.mark.alone
def test_nobody_waits_once_it_is_known_that_no_name_server_answers(
    proxy: Field, server: NameServer
) -> None:
    """Hosts without alias are served as they came, at once; and then again as the alias says."""
    shop = proxy.host(ROWS[0])
    server.put("back.example.test", "CNAME", [f"{shop}."], 5)
    server.silent = True
    took = 0.0
    for number in range(4):  # the first may wait as long as a lookup and a question for the root
        started = time.monotonic()
        assert get(proxy, f"silent{number}.example.test").status == 404
        took = time.monotonic() - started
        time.sleep(0 if number else 2.5)
    assert took < 0.5
    started = time.monotonic()
    assert get(proxy, shop).status == 200
    assert time.monotonic() - started < 0.5
    server.silent = False
    deadline = time.monotonic() + 20
    while get(proxy, "back.example.test").status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
