"""Names against a real DNS server on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fastproxy.names import resolver
from fastproxy.names.resolver import Resolver, Unresolved, in_order, read_hosts
from tests.support.name_server import NameServer

NAME = "api.example.test"


@pytest.fixture
def server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def all_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which addresses have a route depends on the machine; `test_order` looks at that."""
    monkeypatch.setattr(resolver, "has_route", lambda address: True)


class Bench:
    def __init__(self, folder: Path, server: NameServer, *lines: str, hosts: str = "") -> None:
        self.hosts = folder / "hosts"
        self.hosts.write_text(hosts)
        self._conf = server.resolv_conf(folder / "resolv.conf", *lines)
        self._port = server.port
        self.told: list[tuple[str, ...]] = []

    def run(self, story: Callable[[Resolver], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            names = Resolver(loop, str(self._conf), str(self.hosts), self._port)
            try:
                await story(names)
            finally:
                names.close()

        asyncio.run(main())

    def lookup(self, name: str) -> tuple[tuple[str, ...], float]:
        found: list[tuple[tuple[str, ...], float]] = []

        async def story(names: Resolver) -> None:
            found.append(await names.lookup(name))

        self.run(story)
        return found[0]

    def tell(self, addresses: Sequence[str]) -> None:
        self.told.append(tuple(addresses))


async def until(question: Callable[[], bool], seconds: float = 15.0) -> float:
    start = time.monotonic()
    while not question():
        assert time.monotonic() - start < seconds, "it did not happen"
        await asyncio.sleep(0.01)
    return time.monotonic() - start


# records, addresses, seconds
ANSWERS = [
    ([("A", ["192.0.2.1"], 60)], ("192.0.2.1",), 60),
    ([("AAAA", ["2001:db8::1"], 60)], ("2001:db8::1",), 60),
    ([("AAAA", ["2001:db8::1"], 60), ("A", ["192.0.2.1"], 20)], ("192.0.2.1", "2001:db8::1"), 20),
    ([("A", ["192.0.2.2", "192.0.2.1"], 60)], ("192.0.2.2", "192.0.2.1"), 60),
    ([("A", ["192.0.2.1"], 0)], ("192.0.2.1",), 1),
    ([("A", ["192.0.2.1"], 86400)], ("192.0.2.1",), 300),
]


@pytest.mark.parametrize(("records", "addresses", "seconds"), ANSWERS)
def test_answers(
    records: Any, addresses: tuple[str, ...], seconds: int, tmp_path: Path, server: NameServer
) -> None:
    for kind, values, ttl in records:
        server.put(NAME, kind, values, ttl)
    found, age = Bench(tmp_path, server).lookup(NAME)
    assert sorted(found) == sorted(addresses)  # the server sends records in any order
    assert age == seconds


def test_the_shortest_time_of_a_chain_counts(tmp_path: Path, server: NameServer) -> None:
    server.put(NAME, "CNAME", ["b.example.test."], 7)
    server.put("b.example.test", "A", ["192.0.2.1"], 60)
    assert Bench(tmp_path, server).lookup(NAME) == (("192.0.2.1",), 7)


def test_the_search_list(tmp_path: Path, server: NameServer) -> None:
    server.put("db.shop.svc.test", "A", ["192.0.2.9"])
    bench = Bench(tmp_path, server, "search first.test svc.test", "options ndots:2")
    assert bench.lookup("db.shop")[0] == ("192.0.2.9",)
    with pytest.raises(Unresolved):
        bench.lookup("db.shop.")


HOSTS = [
    ("192.0.2.7 other api.example.test # comment\n", NAME, ("192.0.2.7",)),
    ("192.0.2.7 API.example.test\n192.0.2.8 api.example.test", NAME, ("192.0.2.7", "192.0.2.8")),
    ("nonsense api.example.test\n# 192.0.2.1 api.example.test", NAME, ("192.0.2.1",)),
    ("", "localhost", ("127.0.0.1", "::1")),
    ("", "a.localhost.", ("127.0.0.1", "::1")),
    ("127.0.0.2 localhost", "localhost", ("127.0.0.2",)),
]


@pytest.mark.parametrize(("hosts", "name", "addresses"), HOSTS)
def test_the_hosts_file_comes_first(
    hosts: str, name: str, addresses: tuple[str, ...], tmp_path: Path, server: NameServer
) -> None:
    server.put(NAME, "A", ["192.0.2.1"])
    assert Bench(tmp_path, server, hosts=hosts).lookup(name)[0] == addresses


def test_a_changed_hosts_file_is_read_again(tmp_path: Path, server: NameServer) -> None:
    server.put(NAME, "A", ["192.0.2.1"])
    bench = Bench(tmp_path, server)

    async def story(names: Resolver) -> None:
        assert (await names.lookup(NAME))[0] == ("192.0.2.1",)
        bench.hosts.write_text(f"192.0.2.5 {NAME}\n")
        assert (await names.lookup(NAME))[0] == ("192.0.2.5",)

    bench.run(story)


def test_no_hosts_file(tmp_path: Path) -> None:
    assert read_hosts(tmp_path / "none") == {}


def test_the_answer_expires_and_others_come(tmp_path: Path, server: NameServer) -> None:
    server.put(NAME, "A", ["192.0.2.1"], 1)
    bench = Bench(tmp_path, server)

    async def story(names: Resolver) -> None:
        names.watch(NAME, bench.tell)
        await until(lambda: bench.told == [("192.0.2.1",)])
        server.put(NAME, "A", ["192.0.2.2"], 60)
        assert await until(lambda: len(bench.told) == 2) > 0.5
        asked = server.asked(NAME)
        await asyncio.sleep(1.3)
        assert server.asked(NAME) == asked  # 60 seconds are not over

    bench.run(story)
    assert bench.told == [("192.0.2.1",), ("192.0.2.2",)]


def test_another_order_is_no_change(tmp_path: Path, server: NameServer) -> None:
    server.put(NAME, "A", ["192.0.2.1", "192.0.2.2"], 1)
    bench = Bench(tmp_path, server)

    async def story(names: Resolver) -> None:
        names.watch(NAME, bench.tell)
        await until(lambda: bool(bench.told))
        server.put(NAME, "A", ["192.0.2.2", "192.0.2.1"], 1)
        await until(lambda: server.asked(NAME) >= 3)

    bench.run(story)  # the server sends records in any order by itself, too
    assert [sorted(addresses) for addresses in bench.told] == [["192.0.2.1", "192.0.2.2"]]


def test_failures_keep_the_addresses(tmp_path: Path, server: NameServer) -> None:
    server.put(NAME, "A", ["192.0.2.1"], 1)
    bench = Bench(tmp_path, server)

    async def story(names: Resolver) -> None:
        names.watch(NAME, bench.tell)
        await until(lambda: bool(bench.told))
        server.failing = True
        asked = server.asked(NAME)
        await until(lambda: server.asked(NAME) >= asked + 2)
        server.failing = False
        server.put(NAME, "A", ["192.0.2.3"], 1)
        await until(lambda: len(bench.told) == 2, 8)

    bench.run(story)
    assert bench.told == [("192.0.2.1",), ("192.0.2.3",)]


def test_an_unknown_name_is_told_once_and_asked_again(tmp_path: Path, server: NameServer) -> None:
    bench = Bench(tmp_path, server)

    async def story(names: Resolver) -> None:
        names.watch(NAME, bench.tell)
        await until(lambda: bench.told == [()])
        server.put(NAME, "A", ["192.0.2.1"])
        await until(lambda: len(bench.told) == 2)

    bench.run(story)
    assert bench.told == [(), ("192.0.2.1",)]


def test_one_family_is_enough(tmp_path: Path, server: NameServer) -> None:
    server.put(NAME, "A", ["192.0.2.1"])
    server.put(NAME, "AAAA", [])
    assert Bench(tmp_path, server).lookup(NAME)[0] == ("192.0.2.1",)


def test_watches_share_a_name(tmp_path: Path, server: NameServer) -> None:
    server.put(NAME, "A", ["192.0.2.1"], 1)
    bench = Bench(tmp_path, server)
    others: list[Sequence[str]] = []

    async def story(names: Resolver) -> None:
        first = names.watch(NAME, bench.tell)
        await until(lambda: bool(bench.told))
        second = names.watch(NAME.upper(), others.append)
        assert others == [("192.0.2.1",)]
        assert server.asked(NAME) == 1
        first.cancel()
        server.put(NAME, "A", ["192.0.2.2"], 1)
        await until(lambda: len(others) == 2)
        second.cancel()
        assert not names.names
        asked = server.asked(NAME)
        await asyncio.sleep(1.3)
        assert server.asked(NAME) == asked

    bench.run(story)
    assert bench.told == [("192.0.2.1",)]


def test_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "has_route", lambda address: address != "192.0.2.1")
    given = ["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.2"]
    assert in_order(given) == ("192.0.2.2", "2001:db8::1", "192.0.2.1")
