"""Why an exchange ended as it did: each flag of a record, forced once.

Those of the leak finder's ways stand in test_ends.py.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.records import Recording, flags_of, recording
from tests.support.running import dead_port
from tests.support.scripted import Client, Origin, Peer, until
from tests.support.tls import AUTHORITY, server_context
from tests.support.whole import ingress, origin, service

SETTINGS = """
defaultEntryPoints = ["http"]

[retry]
attempts = 2

[forwardingTimeouts]
responseHeaderTimeout = "2s"

[limits]
headTimeout = "1s"
bodyTimeout = "1s"
requestBody = 100000

[entryPoints.http]
address = "127.0.0.1:0"

[entryPoints.https]
address = "127.0.0.1:0"
[entryPoints.https.tls]
"""
ONE_AN_HOUR = "{extractorfunc: client.ip, rateset: {hour: {period: 1h, average: 1, burst: 1}}}"
AGAIN = "{retryexpression: ResponseCode() >= 500 && Attempts() <= 2}"
SMALL = "{maxrequestbodybytes: 5, maxresponsebodybytes: 5}"


def silent(peer: Peer) -> bool:
    peer.read_request()
    peer.socket.recv(1)
    return False


def slow(peer: Peer) -> None:
    """Holds its connection for a while, but answers."""
    peer.read_request()
    time.sleep(0.2)
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def large(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nlarger")


def switch(peer: Peer) -> bool:
    peer.read_request()
    peer.send(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n")
    return False


def endless(peer: Peer) -> bool:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    with suppress(OSError):
        peer.socket.recv(1)
    return False


def cut(peer: Peer) -> bool:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    return False


def failing(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")


SCRIPTS = {
    "/failing": failing,
    "/cut": cut,
    "/silent": silent, "/slow": slow, "/large": large, "/switch": switch, "/endless": endless,
}  # fmt: skip


def objects(good: int, untrusted: int) -> list[dict[str, Any]]:
    breaker = service("breaker", dead_port())
    breaker[0]["metadata"]["annotations"] = {
        "ingress.kubernetes.io/circuit-breaker-expression": "NetworkErrorRatio() > 0.1"
    }
    limited = service("limited", good)
    limited[0]["metadata"]["annotations"] = {
        "ingress.kubernetes.io/max-conn-amount": "1",
        "ingress.kubernetes.io/max-conn-extractor-func": "client.ip",
    }
    buffered = service("buffered", good)
    buffered[0]["metadata"]["annotations"] = {"ingress.kubernetes.io/buffering": SMALL}
    again = service("again", good)
    again[0]["metadata"]["annotations"] = {"ingress.kubernetes.io/buffering": AGAIN}
    return [
        *breaker,
        *again,
        ingress("again", "again.test", "again"),
        *limited,
        *buffered,
        *service("good", good),
        *service("dead", dead_port()),
        *service("untrusted", untrusted),
        ingress("good", "good.test", "good"),
        ingress("dead", "dead.test", "dead"),
        ingress("breaker", "breaker.test", "breaker"),
        ingress("limited", "limited.test", "limited"),
        ingress("buffered", "buffered.test", "buffered"),
        ingress("untrusted", "untrusted.test", "untrusted", protocol="https"),
        ingress("rate", "rate.test", "good", rate_limit=ONE_AN_HOUR),
        ingress("white", "white.test", "good", whitelist_source_range="10.0.0.0/8"),
        ingress("redirect", "redirect.test", "good", ssl_redirect="true"),
        ingress("hosts", "hosts.test", "good", allowed_hosts="other.test"),
    ]


@pytest.fixture(scope="module")
def records() -> Iterator[Recording]:
    with (
        origin(server_context(AUTHORITY.issue_cert("other.test"))) as untrusted,
        closing(Origin(dict(SCRIPTS))) as good,
        recording(SETTINGS, objects(good.port, untrusted)) as made,
    ):
        yield made


@dataclass
class Way:
    """One connection, and what is sent on it."""

    records: Recording
    client: Client

    def ask(self, host: str, path: str = "/x", *lines: str, body: bytes = b"") -> int:
        method = "POST" if body else "GET"
        if body:
            lines = (*lines, f"Content-Length: {len(body)}")
        head = "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}.test", *lines, "", ""])
        self.client.send(head.encode() + body)
        return self.client.response(method).status


def twice(way: Way) -> int:
    assert way.ask("rate") == 200
    return way.ask("rate")


def beside(way: Way) -> int:
    with Client(way.records.plane.port) as other:
        other.send(b"GET /slow HTTP/1.1\r\nHost: limited.test\r\n\r\n")
        time.sleep(0.05)
        status = way.ask("limited")
        assert other.response().status == 200
    return status


def until_it_trips(way: Way) -> int:
    until(lambda: way.ask("breaker") == 503, 20)
    return 503


def half_a_head(way: Way) -> int:
    way.client.send(b"GET / HT")
    return way.client.response().status


def half_a_body(way: Way) -> int:
    way.client.send(b"POST /x HTTP/1.1\r\nHost: good.test\r\nContent-Length: 9\r\n\r\nhalf")
    return way.client.response("POST").status


def upgraded(way: Way) -> int:
    way.client.send(
        b"GET /switch HTTP/1.1\r\nHost: good.test\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n"
    )
    assert way.client.drain().startswith(b"HTTP/1.1 101")
    return 101


WAYS: dict[str, tuple[Callable[[Way], int], int, str]] = {
    "complete": (lambda way: way.ask("good"), 200, ""),
    "rate": (twice, 429, "RL"),
    "connections": (beside, 429, "CL"),
    "breaker": (until_it_trips, 503, "UO"),
    "white list": (lambda way: way.ask("white"), 403, "WL"),
    "redirect": (lambda way: way.ask("redirect"), 301, "RD"),
    "hosts": (lambda way: way.ask("hosts"), 500, "AH"),
    "a request too large": (lambda way: way.ask("buffered", body=b"larger"), 413, "BL"),
    "a response too large": (lambda way: way.ask("buffered", "/large"), 500, "BL"),
    "body limit": (lambda way: way.ask("good", body=bytes(100_001)), 413, "DPE"),
    "retries": (lambda way: way.ask("dead"), 502, "UF URX"),
    "silence": (lambda way: way.ask("good", "/silent"), 504, "UT"),
    "certificate": (lambda way: way.ask("untrusted"), 500, "UX URX"),
    "half a head": (half_a_head, 408, "DT"),
    "half a body": (half_a_body, 408, "DT"),
    "filter": (lambda way: way.ask("failing"), 500, "IE"),
    "the endpoint ends the tunnel": (upgraded, 101, "TU"),
}


@pytest.mark.parametrize("name", WAYS, ids=str)
def test_why_it_ended(records: Recording, name: str) -> None:
    run, status, flags = WAYS[name]
    records.settled()
    with Client(records.plane.port) as client:
        assert run(Way(records, client)) == status
    found = [(row["status"], flags_of(row)) for row in records.settled()]
    assert (status, flags) in found


def test_attempts_are_counted(records: Recording) -> None:
    with Client(records.plane.port) as client:
        assert Way(records, client).ask("dead") == 502
    (row,) = records.settled()
    assert row["retries"] == 1
    ((url, flags, status, duration),) = row["attempts"]
    assert (url, flags_of({"flags": flags}), status) == (row["endpoint"], "UF", 0)
    assert 0 <= duration < 10**9


def test_attempts_which_the_retry_expression_refused(records: Recording) -> None:
    """The last answer is the record's own."""
    with Client(records.plane.port) as client:
        assert Way(records, client).ask("again", "/failing") == 500
    (row,) = records.settled()
    assert (row["status"], row["origin_status"], flags_of(row)) == (500, 500, "")
    assert [(flags, status) for _, flags, status, _ in row["attempts"]] == [(0, 500), (0, 500)]


def test_what_is_under_way_when_the_engine_ends() -> None:
    with closing(Origin(dict(SCRIPTS))) as good:
        with recording(SETTINGS, objects(good.port, good.port)) as made:
            client = socket.create_connection(("127.0.0.1", made.plane.port))
            client.sendall(b"GET /endless HTTP/1.1\r\nHost: good.test\r\n\r\n")
            while not client.recv(65536).endswith(b"hello"):
                pass
        assert client.recv(65536) == b""
        client.close()
    assert [(row["status"], flags_of(row)) for row in made.taken()] == [(200, "SD")]
