"""Where the CNAME chain of a host ends (`hostResolver.cnameFlattening`).

Idea: a CNAME is asked for, then that of its target, at most `depth` times, as by Traefik 1.7. Where
that stops is the alias of the host, another name under which `Host` rules may know it.

Clients choose the names, so everything has an end: 32 questions at a time, 1,024 names that are
looked up or wait for it, 5 seconds for each. A name whose lookup fails, and one too many, is its
own alias: the request is matched as it came.

Where no name server answers nobody waits once that is known: requests are matched as they came
until one answers again. It is known by a question whose name clients do not choose: a name of
theirs may well be one whose own servers are silent.

An answer is used for the shortest TTL of the chain, at least 1 second and at most 300; that there
is no CNAME for as long as the name server says; a failure for 10 seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from fastproxy.names.resolver import LONGEST, SHORTEST, Resolver, Unresolved

log = logging.getLogger(__name__)

AT_ONCE = 32  # questions under way
MOST_WAITING = 1024  # names
PATIENCE = 5.0  # seconds from the first request for a name until it is served as it came
ABSENT_AGE = 30.0  # seconds, when the server does not say how long there will be no CNAME
FAILURE_AGE = 10.0
LONGEST_LABEL = 63
PROBE = "."  # asked for where no answer comes; any answer to it will do
PROBE_SECONDS = 2.0
PROBE_PAUSE = 1.0


class Chains:
    def __init__(self, resolver: Resolver, depth: int) -> None:
        self._resolver = resolver
        self._depth = depth
        self._room = asyncio.Semaphore(AT_ONCE)
        self._asked: dict[str, asyncio.Task[tuple[str, float]]] = {}
        self._failing = False  # to log the first failure of a row only
        self._silent = False  # no name server answers
        self._limits: set[asyncio.Timeout] = set()  # of the lookups under way
        self._probe: asyncio.Task[None] | None = None
        with contextlib.suppress(Exception):  # what is wrong shows with the first question
            resolver.servers()  # loads modules, for which no request should wait

    def may_ask(self, name: str) -> bool:
        """Say whether `end` would ask: not for what is no name, nor when too many wait, nor where
        nobody answers."""
        if self._silent:
            return False
        labels = name.split(".")
        if not all(0 < len(label) <= LONGEST_LABEL for label in labels):
            return False
        return name in self._asked or len(self._asked) < MOST_WAITING

    async def end(self, name: str) -> tuple[str, float]:
        """Return the alias of a lower-case name, and for how many seconds it is one."""
        task = self._asked.get(name)
        if task is None:
            task = self._asked[name] = self._resolver.loop.create_task(self._end_in_time(name))
            task.add_done_callback(lambda _: self._asked.pop(name, None))
        return await asyncio.shield(task)  # others wait for it when one client goes away

    async def _end_in_time(self, name: str) -> tuple[str, float]:
        limit = asyncio.timeout(PATIENCE)
        try:
            async with limit:
                self._limits.add(limit)
                async with self._room:
                    found = await self._follow(name)
        except TimeoutError:
            problem = "no name server answers" if self._silent else "no answer in time"
            self._doubt()
        except Unresolved as error:
            problem = str(error)
        else:
            self._failing = False
            return found
        finally:
            self._limits.discard(limit)
        if not self._failing:
            self._failing = True
            log.error("cannot look up the CNAME of %s: %s", name, problem)
        return name, FAILURE_AGE

    def _doubt(self) -> None:
        """A lookup got no answer: find out whether others would."""
        if self._probe is None or self._probe.done():
            self._probe = self._resolver.loop.create_task(self._ask_until_answered())

    async def _ask_until_answered(self) -> None:
        while not await self._answers():
            self._silent = True
            for limit in list(self._limits):
                if not limit.expired():
                    limit.reschedule(self._resolver.loop.time())  # they wait in vain
            await asyncio.sleep(PROBE_PAUSE)
        self._silent = False

    async def _answers(self) -> bool:
        """Whether some name server says anything, be it that it knows nothing."""
        from dns.exception import Timeout

        try:
            servers = self._resolver.servers()
            await servers.resolve(PROBE, "NS", search=False, lifetime=PROBE_SECONDS)
        except (Timeout, OSError):
            return False
        except Exception:
            # Whatever else it is, it came at once, so nobody waits for it in vain; and a probe that
            # ends here would leave every lookup refused for ever.
            return True
        return True

    async def _follow(self, name: str) -> tuple[str, float]:
        at, age = name, LONGEST
        for _ in range(self._depth):
            target, seconds = await self._target(at)
            if target is None:
                if at == name:
                    age = min(age, seconds)
                break
            at, age = target, min(age, seconds)
        return at, max(age, SHORTEST)

    async def _target(self, name: str) -> tuple[str | None, float]:
        """Return what a name is a CNAME of, None for nothing, and for how many seconds."""
        from dns.exception import Timeout
        from dns.resolver import NXDOMAIN

        try:
            answer = await self._resolver.servers().resolve(
                name + ".", "CNAME", search=False, raise_on_no_answer=False
            )
        except NXDOMAIN:
            return None, ABSENT_AGE
        except Timeout:
            raise TimeoutError from None
        except Exception as error:  # nonsense from a name server must not end the request
            raise Unresolved(str(error) or type(error).__name__) from error
        if answer.rrset is None:
            age = answer.chaining_result.minimum_ttl
            return None, float(age) if answer.response.authority else ABSENT_AGE
        target = answer.rrset[0].target.to_text(omit_final_dot=True).lower()
        return target, float(answer.rrset.ttl)

    def close(self) -> None:
        for task in list(self._asked.values()):
            task.cancel()
        if self._probe is not None:
            self._probe.cancel()
