"""Send a case's bytes in one of three ways, and collect what comes back."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.safety.corpus import Case
from tests.safety.messages import Incomplete, Message, read_response
from tests.safety.origin import FENCE, send

PATIENCE = 2.5  # seconds; only a failing case waits this long
PROBE = f"GET {FENCE} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode()


@dataclass
class Outcome:
    responses: list[Message] = field(default_factory=list)
    rest: bytes = b""  # what followed the last complete response
    ending: str = "open"  # or "fin", "rst"
    kept: bool = False
    notes: list[str] = field(default_factory=list)


class Client:
    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, PATIENCE)
        self.data = b""
        self.ending = "open"

    def send(self, data: bytes, split: str, chooser: random.Random) -> None:
        """Give up silently when the proxy has closed: what it said before is what counts."""
        with contextlib.suppress(OSError):
            send(self.socket, data, split, chooser)

    def more(self, deadline: float) -> bool:
        """Read once. False when nothing can follow or nothing came in time."""
        if self.ending != "open":
            return False
        self.socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self.socket.recv(1 << 18)
        except TimeoutError:
            return False
        except OSError:
            self.ending = "rst"
            return True
        self.data += data
        if not data:
            self.ending = "fin"
        return True

    def response(self, method: str) -> Message | None:
        """The next complete response, or None when it does not become complete."""
        deadline = time.monotonic() + PATIENCE
        while True:
            if self.data:
                try:
                    found = read_response(self.data, method=method, closed=self.ending == "fin")
                except Incomplete:
                    pass
                else:
                    self.data = self.data[found.size :]
                    return found
            if not self.more(deadline):
                return None

    def wait_for_end(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.more(deadline):
            pass


def run(
    case: Case,
    address: tuple[str, int],
    split: str,
    seed: int,
    settle: Callable[[], None] = lambda: None,
) -> Outcome:
    """`settle` waits until the origin has sent everything it wants to."""
    chooser = random.Random(seed)
    client = Client(address)
    outcome = Outcome()
    with client.socket:
        client.send(case.send, split, chooser)
        if case.half_close:
            client.socket.shutdown(socket.SHUT_WR)
        converse(client, case, outcome, split, chooser)
        if case.then in ("closed", "reset"):
            client.wait_for_end()
        elif case.then == "kept":
            if case.answers:
                settle()
            client.send(PROBE, "whole", chooser)
            probe = client.response("GET")
            outcome.kept = probe is not None and probe.status == 200 and probe.body == b"ok"
        outcome.ending, outcome.rest = client.ending, client.data
    return outcome


def converse(
    client: Client, case: Case, outcome: Outcome, split: str, chooser: random.Random
) -> None:
    """Collect as many responses as the case expects; interim ones count only when expected."""
    expected = list(case.statuses)
    more = case.more
    while expected:
        if case.then == "reset" and len(expected) == 1:
            client.wait_for_end()
        found = client.response(case.method)
        if found is None:
            return
        if found.status < 200 and found.status not in expected[0]:
            outcome.notes.append(f"interim {found.status}")
            continue
        outcome.responses.append(found)
        expected.pop(0)
        if more:
            client.send(more, split, chooser)
            more = b""
