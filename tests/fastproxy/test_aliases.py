"""Where CNAME chains end, against a real DNS server on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from fastproxy.names import cname_chains
from fastproxy.names.cname_chains import Chains
from fastproxy.names.resolver import Resolver
from tests.support.name_server import NameServer

FAILED = cname_chains.FAILURE_AGE
ABSENT = cname_chains.ABSENT_AGE


@pytest.fixture
def server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.stop()


def run(
    folder: Path, server: NameServer, story: Callable[[Chains], Awaitable[None]], depth: int = 5
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        conf = server.resolv_conf(folder / "resolv.conf")
        resolver = Resolver(loop, str(conf), port=server.port)
        chains = Chains(resolver, depth)
        try:
            await story(chains)
        finally:
            chains.close()
            resolver.close()

    asyncio.run(main())


CHAIN = {"a.test": ("b.test.", 9), "b.test": ("C.test.", 7), "c.test": ("d.test.", 8)}
ROWS = {
    "the end of the chain": (CHAIN, 5, ("d.test", 7.0)),
    "as far as the depth allows": (CHAIN, 2, ("c.test", 7.0)),
    "one": (CHAIN, 1, ("b.test", 9.0)),
    "none": (CHAIN, 0, ("a.test", cname_chains.LONGEST)),
    "a loop ends by depth": ({"a.test": ("b.test.", 9), "b.test": ("a.test.", 9)}, 5,
                             ("b.test", 9.0)),
    "itself": ({"a.test": ("a.test.", 9)}, 5, ("a.test", 9.0)),
    "no CNAME": ({"x.test": ("y.test.", 9)}, 5, ("a.test", ABSENT)),
    "TTL 0 is a second": ({"a.test": ("b.test.", 0)}, 5, ("b.test", 1.0)),
    "a day is five minutes": ({"a.test": ("b.test.", 86400)}, 5, ("b.test", 300.0)),
}  # fmt: skip


@pytest.mark.parametrize("records, depth, expected", ROWS.values(), ids=ROWS)
def test_chains(
    tmp_path: Path,
    server: NameServer,
    records: dict[str, tuple[str, int]],
    depth: int,
    expected: tuple[str, float],
) -> None:
    for name, (target, ttl) in records.items():
        server.put(name, "CNAME", [target], ttl)

    async def story(chains: Chains) -> None:
        assert await chains.end("a.test") == expected

    run(tmp_path, server, story, depth)


def test_a_name_with_addresses_only_has_no_alias(tmp_path: Path, server: NameServer) -> None:
    server.put("a.test", "A", ["192.0.2.1"])

    async def story(chains: Chains) -> None:
        assert await chains.end("a.test") == ("a.test", ABSENT)

    run(tmp_path, server, story)


def test_a_failure_is_logged_once_and_the_name_is_its_own_alias(
    tmp_path: Path, server: NameServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.failing = True

    async def story(chains: Chains) -> None:
        assert await chains.end("a.test") == ("a.test", FAILED)
        assert await chains.end("b.test") == ("b.test", FAILED)
        assert len(caplog.records) == 1
        server.failing = False
        server.put("a.test", "CNAME", ["b.test."], 5)
        assert await chains.end("a.test") == ("b.test", 5.0)

    run(tmp_path, server, story)


def test_a_dead_server_costs_no_more_than_the_patience(
    tmp_path: Path, server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for those that wait for their turn."""
    monkeypatch.setattr(cname_chains, "PATIENCE", 0.5)
    server.silent = True

    async def story(chains: Chains) -> None:
        names = [f"n{number}.test" for number in range(3 * cname_chains.AT_ONCE)]
        started = time.monotonic()
        tasks = [asyncio.ensure_future(chains.end(name)) for name in names]
        await asyncio.sleep(0.25)
        assert len({name for name, _ in server.questions}) <= cname_chains.AT_ONCE
        assert await asyncio.gather(*tasks) == [(name, FAILED) for name in names]
        assert time.monotonic() - started < 5

    run(tmp_path, server, story)


def test_a_flood_of_names_is_bounded(
    tmp_path: Path, server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So few that all have asked before the first is let go, also on a busy machine.
    monkeypatch.setattr(cname_chains, "MOST_WAITING", 4 * cname_chains.AT_ONCE)
    monkeypatch.setattr(cname_chains, "PATIENCE", 2.0)
    server.silent = True

    async def story(chains: Chains) -> None:
        tasks = []
        for number in range(2 * cname_chains.MOST_WAITING):
            name = f"n{number}.test"
            if chains.may_ask(name):
                tasks.append(asyncio.ensure_future(chains.end(name)))
                await asyncio.sleep(0)
        assert len(tasks) == cname_chains.MOST_WAITING
        assert chains.may_ask("n0.test")  # shares the lookup that is under way
        await asyncio.gather(*tasks)
        assert chains.may_ask("another.test")

    run(tmp_path, server, story)


def test_many_requests_for_a_name_ask_once_and_one_may_go_away(
    tmp_path: Path, server: NameServer
) -> None:
    server.put("a.test", "CNAME", ["b.test."], 5)

    async def story(chains: Chains) -> None:
        tasks = [asyncio.ensure_future(chains.end("a.test")) for _ in range(5)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        assert await asyncio.gather(*tasks[1:]) == [("b.test", 5.0)] * 4
        assert server.asked("a.test", "CNAME") == 1

    run(tmp_path, server, story)


@pytest.mark.parametrize("name", ["", ".", "a..b", "a" * 64 + ".test"])
def test_what_is_no_name_is_not_asked_for(tmp_path: Path, server: NameServer, name: str) -> None:
    async def story(chains: Chains) -> None:
        assert not chains.may_ask(name)

    run(tmp_path, server, story)


def test_nonsense_in_a_name_is_a_failure(tmp_path: Path, server: NameServer) -> None:
    async def story(chains: Chains) -> None:
        for name in ("\\", "a\\0.test", "é.test", ".".join(["a" * 60] * 5)):
            assert (await chains.end(name))[0] == name

    run(tmp_path, server, story)


@pytest.mark.alone
def test_nobody_waits_where_no_name_server_answers(
    tmp_path: Path, server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once that is known; and when one answers again, names are looked up again."""
    monkeypatch.setattr(cname_chains, "PATIENCE", 1.0)
    monkeypatch.setattr(cname_chains, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(cname_chains, "PROBE_PAUSE", 0.1)
    server.put("a.test", "CNAME", ["b.test."], 5)
    server.silent = True

    async def story(chains: Chains) -> None:
        first = asyncio.ensure_future(chains.end("a.test"))
        await asyncio.sleep(0.8)
        assert chains.may_ask("late.test")
        late = asyncio.ensure_future(chains.end("late.test"))
        assert await first == ("a.test", FAILED)
        started = time.monotonic()
        assert await late == ("late.test", FAILED)  # let go with the others, before its own second
        assert time.monotonic() - started < 0.6
        assert not chains.may_ask("c.test")
        server.silent = False
        deadline = time.monotonic() + 10
        while not chains.may_ask("c.test"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert await chains.end("a.test") == ("b.test", 5.0)

    run(tmp_path, server, story)


def test_one_silent_name_does_not_switch_off_the_others(
    tmp_path: Path, server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients choose names; those whose own servers are silent must not harm others."""
    monkeypatch.setattr(cname_chains, "PATIENCE", 0.3)
    server.put("a.test", "CNAME", ["b.test."], 5)
    server.deaf = {"evil.test"}

    async def story(chains: Chains) -> None:
        for _ in range(3):
            assert await chains.end("evil.test") == ("evil.test", FAILED)
            await asyncio.sleep(0.1)
            assert chains.may_ask("a.test")
            assert await chains.end("a.test") == ("b.test", 5.0)

    run(tmp_path, server, story)
