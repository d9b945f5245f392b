"""Addresses of names (ExternalName services), resolved off the data path.

`watch` calls back with the addresses of a name, now and whenever they change. /etc/hosts and
/etc/resolv.conf (search list, ndots, several servers) are honoured and read again when they change.

* An answer is used for its TTL, at least 1 second and at most 300; the addresses of the hosts file
  for 30 seconds.
* A name that cannot be resolved keeps the addresses it had; it is asked for again after 1, 2, 4 ...
  30 seconds. The first failure of a name without addresses calls back with none.
* A and AAAA are asked for together; one answer is enough. Addresses without a route from here come
  last (RFC 6724, rule 1), then IPv4 before IPv6, as most clusters have working IPv4.
* Another order of the same addresses is no change: which one is used is decided by what works.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver as Queries

log = logging.getLogger(__name__)

SHORTEST = 1.0  # seconds an answer is used at least
LONGEST = 300.0
HOSTS_AGE = 30.0  # seconds
MOST_PATIENT = 30.0  # seconds between attempts after failures
AT_ONCE = 32  # names being asked for at the same time

Changed = Callable[[Sequence[str]], None]
Stamp = tuple[int, int]


class Unresolved(Exception):
    """A name has no address now; the text says why."""


class Watch:
    """One interest in a name; `cancel` ends it."""

    def __init__(self, followed: Followed, changed: Changed) -> None:
        self._followed = followed
        self.changed = changed

    def cancel(self) -> None:
        self._followed.leave(self)


class Followed:
    """One name being kept up to date for all who watch it."""

    def __init__(self, resolver: Resolver, name: str) -> None:
        self.name = name
        self.addresses: tuple[str, ...] | None = None  # None before the first lookup has ended
        self._resolver = resolver
        self._watches: set[Watch] = set()
        self._task = resolver.loop.create_task(self._follow())

    def join(self, changed: Changed) -> Watch:
        watch = Watch(self, changed)
        self._watches.add(watch)
        if self.addresses is not None:
            changed(self.addresses)
        return watch

    def leave(self, watch: Watch) -> None:
        self._watches.discard(watch)
        if not self._watches:
            self.end()

    def end(self) -> None:
        self._resolver.names.pop(self.name, None)
        self._task.cancel()

    async def _follow(self) -> None:
        failures = 0
        while True:
            try:
                found, pause = await self._resolver.lookup(self.name)
            except Unresolved as error:
                if failures == 0:
                    log.error("cannot resolve %s: %s", self.name, error)
                pause = min(2.0**failures, MOST_PATIENT)
                failures = min(failures + 1, 10)
                found = self.addresses or ()
            else:
                failures = 0
            if self.addresses is None or set(found) != set(self.addresses):
                self.addresses = found
                for watch in list(self._watches):
                    watch.changed(found)
            await asyncio.sleep(pause)


class Resolver:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        resolv_conf: str = "/etc/resolv.conf",
        hosts: str = "/etc/hosts",
        port: int = 53,
    ) -> None:
        self.loop = loop
        self.names: dict[str, Followed] = {}
        self._resolv_conf = Path(resolv_conf)
        self._hosts = Path(hosts)
        self._port = port
        self._queries: Queries | None = None
        self._queries_stamp: Stamp | None = None
        self._table: dict[str, tuple[str, ...]] = {}
        self._table_stamp: Stamp | None = None
        self._room = asyncio.Semaphore(AT_ONCE)

    def watch(self, name: str, changed: Changed) -> Watch:
        """Keep `changed` told of the addresses of `name` until the watch is cancelled."""
        name = name.lower()
        followed = self.names.get(name)
        if followed is None:
            followed = self.names[name] = Followed(self, name)
        return followed.join(changed)

    async def lookup(self, name: str) -> tuple[tuple[str, ...], float]:
        """Return addresses and for how many seconds they may be used; raises Unresolved."""
        local = self._in_hosts(name)
        if local:
            return in_order(local), HOSTS_AGE
        async with self._room:
            return await self._ask(name)

    def _in_hosts(self, name: str) -> tuple[str, ...]:
        stamp = stamp_of(self._hosts)
        if stamp != self._table_stamp:
            self._table_stamp = stamp
            self._table = read_hosts(self._hosts)
        bare = name.removesuffix(".")
        found = self._table.get(bare, ())
        if not found and (bare == "localhost" or bare.endswith(".localhost")):
            return ("127.0.0.1", "::1")  # RFC 6761, 6.3
        return found

    def servers(self) -> Queries:
        """Return what asks the name servers of resolv.conf, read again when the file changes."""
        from dns.asyncresolver import Resolver as Queries

        stamp = stamp_of(self._resolv_conf)
        if self._queries is None or stamp != self._queries_stamp:
            queries = Queries(configure=False)
            if stamp is not None:
                queries.read_resolv_conf(str(self._resolv_conf))
            if not queries.nameservers:
                queries.nameservers = ["127.0.0.1"]  # as resolv.conf(5) says
            queries.port = self._port
            self._queries, self._queries_stamp = queries, stamp
        return self._queries

    async def _ask(self, name: str) -> tuple[tuple[str, ...], float]:
        answers = await asyncio.gather(
            self._records(name, "A"), self._records(name, "AAAA"), return_exceptions=True
        )
        found: list[str] = []
        ages: list[float] = []
        problems: list[str] = []
        for answer in answers:
            if isinstance(answer, Unresolved):
                problems.append(str(answer))
            elif isinstance(answer, BaseException):
                raise answer
            elif answer[0]:
                found.extend(answer[0])
                ages.append(answer[1])
        if not found:
            raise Unresolved("; ".join(dict.fromkeys(problems)) or "the name has no addresses")
        return in_order(found), min(max(min(ages), SHORTEST), LONGEST)

    async def _records(self, name: str, kind: str) -> tuple[list[str], float]:
        try:
            answer = await self.servers().resolve(name, kind, search=True, raise_on_no_answer=False)
        except Exception as error:  # nonsense from a name server must not end the watch
            raise Unresolved(str(error) or type(error).__name__) from error
        rows = [] if answer.rrset is None else [row.to_text() for row in answer.rrset]
        return rows, float(answer.chaining_result.minimum_ttl)

    def close(self) -> None:
        for followed in list(self.names.values()):
            followed.end()


def stamp_of(path: Path) -> Stamp | None:
    """Return what changes when a file does; None without the file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def read_hosts(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the addresses by lower-case name, as hosts(5) lists them; broken lines are skipped."""
    table: dict[str, tuple[str, ...]] = {}
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return table
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        try:
            ipaddress.ip_address(address)
        except ValueError:
            continue
        for name in names:
            key = name.lower().removesuffix(".")
            table[key] = (*table.get(key, ()), address)
    return table


def in_order(addresses: Sequence[str]) -> tuple[str, ...]:
    """Return each address once: reachable ones first, then IPv4, then as they came."""
    return tuple(sorted(dict.fromkeys(addresses), key=lambda a: (not has_route(a), ":" in a)))


def has_route(address: str) -> bool:
    """Say whether the kernel knows a way to an address. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 53))
    except OSError:
        return False
    return True
