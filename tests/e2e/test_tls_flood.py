"""Clients that send a ClientHello and leave: nobody else may pay for them.

An answer to a ClientHello costs ten requests; see fastproxy/engine/client/handshake.pyx.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.counts import record, times
from tests.support.sanitized import SANITIZED
from tests.support.tls import client_context, client_hello
from tests.support.whole import Running, ask, serving_one_site

pytestmark = pytest.mark.alone

SECONDS = times(4, 14)  # of the flood
NEW = times(12, 40)  # clients of TLS meanwhile, a tenth of a second apart
SLOWEST = 20.0 if SANITIZED else 5.0  # seconds until a new client has its answer
SETTINGS = """
defaultEntryPoints = ["http", "https"]
workers = 1
logLevel = "INFO"

[entryPoints.http]
address = "127.0.0.1:{http}"

[entryPoints.https]
address = "127.0.0.1:{https}"
[entryPoints.https.tls]
"""
# port, ClientHello in hexadecimal, seconds: fifty at a time connect, speak and leave
FLOOD = """
import socket, sys, time
count, end = 0, time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    opened = []
    for _ in range(50):
        try:
            opened.append(socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5))
            opened[-1].sendall(bytes.fromhex(sys.argv[2]))
        except OSError:
            pass
    for client in opened:
        client.close()
    count += len(opened)
print(count)
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with serving_one_site(tmp_path, SETTINGS) as made:
        yield made


def seconds_to_be_answered(port: int) -> float:
    """How long a new client of TLS waits for an answer; OSError if it gets none."""
    began = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        client_context().wrap_socket(plain, server_hostname="a.test") as client,
    ):
        assert ask(client, "a.test")[0] == 200
    return time.monotonic() - began


def requests_within(client: socket.socket, seconds: float) -> int:
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        assert ask(client, "a.test")[0] == 200
        count += 1
    return count


@pytest.mark.long
@pytest.mark.timeout(120)
def test_clients_that_have_left_cost_others_little(running: Running) -> None:
    hello = client_hello("a.test").hex()
    with socket.create_connection(("127.0.0.1", running.ports["http"]), 30) as kept:
        quiet = requests_within(kept, 1)
        flood = subprocess.Popen(
            [sys.executable, "-c", FLOOD, str(running.ports["https"]), hello, str(SECONDS)],
            stdout=subprocess.PIPE,
            text=True,
        )
        time.sleep(1)
        with ThreadPoolExecutor(NEW) as threads:
            waiting = []
            for _ in range(NEW):
                waiting.append(threads.submit(seconds_to_be_answered, running.ports["https"]))
                time.sleep(0.1)
            flooded = requests_within(kept, 1)
            taken = [future.result() for future in waiting]
        hellos = int(flood.communicate(timeout=60)[0])
    record(
        "flood of ClientHellos",
        hellos_per_second=hellos // SECONDS,
        new_clients=len(taken),
        slowest_new_client_seconds=round(max(taken), 2),
        kept_alive_requests_of_quiet_percent=100 * flooded // quiet,
    )
    assert hellos > 100
    assert max(taken) < SLOWEST
