"""Pooled connections that their endpoint closes just when they are used again (http-safety.md 7).

Both ends agree on a moment after each answer; around it the client sends its next request and the
endpoint closes the connection on which it would arrive. The endpoint notes every request it gets to
see, also those it finds behind its own close, so a POST that was sent twice cannot hide.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.counts import record, times
from tests.support.listening import Listening
from tests.support.scripted import OK, PATIENCE, Client, proxied

PAIRS = 4  # clients, each with an endpoint of its own, so that each has a pool of one connection
AROUND = 0.0005  # seconds before or after the moment
HOW = ("close", "reset", "linger", "keep")


def readable(connection: socket.socket, wait: float) -> bool:
    """Whether something comes within `wait` seconds, whatever number the descriptor has."""
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(max(wait, 0) * 1000))


class Fickle(Listening):
    """An endpoint that answers, and closes at the moment the client has been told."""

    def __init__(self, seed: int) -> None:
        self.seen: Counter[str] = Counter()  # targets, however little came of them
        self.behind = 0  # requests found behind our own close
        self.closed: Counter[str] = Counter()
        self.moment = 0.0
        self._random = random.Random(seed)
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        while self._take(connection):
            how = self._random.choice(HOW)
            self.moment = time.monotonic() + self._random.uniform(0.001, 0.003)
            wait = self.moment + self._random.uniform(-AROUND, AROUND) - time.monotonic()
            connection.sendall(OK)
            if how == "keep" or readable(connection, wait):
                continue
            self.closed[how] += 1
            if how == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif how == "linger":  # as nginx does: what comes is read and thrown away
                connection.shutdown(socket.SHUT_WR)
                self.behind += self._take(connection)
            return

    def _take(self, connection: socket.socket) -> bool:
        """Read a request, note it; False when there is none."""
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return False
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        method, target, _ = head.split(b" ", 2)
        self.seen[target.decode()] += 1
        while method == b"POST" and len(body) < 3:
            part = connection.recv(65536)
            if not part:
                break
            body += part
        return True


class Pair:
    """What one client saw: the statuses by method, and what failed otherwise."""

    def __init__(self, port: int, name: str, origin: Fickle, rounds: int) -> None:
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.posted: dict[str, int] = {}
        self.lost: list[str] = []
        self.thread = threading.Thread(target=self._run, args=(port, name, origin, rounds))
        self.thread.start()

    def _run(self, port: int, name: str, origin: Fickle, rounds: int) -> None:
        chance = random.Random(rounds)
        with Client(port) as client:
            for number in range(rounds):
                method = "POST" if number % 2 else "GET"
                target = f"/{name}/{number}"
                at = origin.moment + chance.uniform(-AROUND, AROUND)
                time.sleep(max(0.0, at - time.monotonic()))
                try:
                    answer = client.ask(
                        target, method=method, body=b"abc" if method == "POST" else b""
                    )
                except OSError as error:
                    self.lost.append(f"{method} {target}: {error!r}")
                    return
                self.statuses[method, answer.status] += 1
                if method == "POST":
                    self.posted[target] = answer.status


@pytest.fixture
def origins() -> Iterator[dict[str, Fickle]]:
    made = {f"pair{number}": Fickle(number) for number in range(PAIRS)}
    yield made
    for origin in made.values():
        origin.close()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_connections_closed_when_they_are_used_again(
    tmp_path: Path, origins: dict[str, Fickle]
) -> None:
    closes = times(300, 10_000)
    services = {name: [("127.0.0.1", origin.port)] for name, origin in origins.items()}
    pairs: list[Pair] = []
    statuses: Counter[tuple[str, int]] = Counter()
    twice: list[str] = []
    total = 0
    with proxied(tmp_path, services) as proxy:
        while sum(origin.closed.total() for origin in origins.values()) < closes:
            pairs = [
                Pair(proxy.address[1], f"{name}/{total}", origin, 200)
                for name, origin in origins.items()
            ]
            for pair in pairs:
                pair.thread.join(PATIENCE * 4)
            total += 1
            assert [line for pair in pairs for line in pair.lost] == []
            seen = sum((origin.seen for origin in origins.values()), Counter())
            for pair in pairs:
                statuses += pair.statuses
                for target, status in pair.posted.items():
                    assert status == 502 or seen[target] == 1
                    twice += [target] * (seen[target] > 1)
            for origin in origins.values():
                origin.seen.clear()
    behind = sum(origin.behind for origin in origins.values())
    made = sum(origin.closed.total() for origin in origins.values())
    record("stale connections", closes=made, hits=statuses["POST", 502], behind=behind,
           get_200=statuses["GET", 200], post_200=statuses["POST", 200],
           duplicated_posts=len(twice))  # fmt: skip
    assert twice == []
    assert set(statuses) <= {("GET", 200), ("POST", 200), ("POST", 502)}
    assert statuses["POST", 502] or behind  # the moment was met at least once
