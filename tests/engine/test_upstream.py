"""Endpoints through real sockets: pools, stale connections, `[retry]`, dead and slow endpoints."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.running import dead_port
from tests.support.scripted import OK, Client, Origin, Peer, proxied, request, until


def stale(peer: Peer) -> bool | None:
    """A fresh connection answers; a kept one is reset when the second request arrives."""
    if peer.served:
        peer.reset()
        return False
    peer.read_request()
    peer.send(OK.removesuffix(b"ok") if peer.head.method == "HEAD" else OK)
    return None


def silent(peer: Peer) -> bool:
    peer.read_request()
    time.sleep(2)
    return False


def close_after(peer: Peer) -> bool:
    """Answers as if the connection stayed, and closes it."""
    peer.read_request()
    peer.send(OK)
    return False


def partly(peer: Peer) -> bool:
    """On a kept connection: the first bytes of a response, then the end."""
    if peer.served:
        peer.send(b"HTTP/1.1 200")
        return False
    peer.read_request()
    peer.send(OK)
    return True


def stubborn(peer: Peer) -> None:
    """Never reads the body until the client has given up."""
    time.sleep(2)


SCRIPTS = {
    "/stale/stale": stale,
    "/shop/silent": silent,
    "/shop/closing": close_after,
    "/stale/partly": partly,
    "/shop/stubborn": stubborn,
}


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    origin = Origin(dict(SCRIPTS))
    yield origin
    origin.close()


@pytest.fixture(scope="module")
def fragile() -> Iterator[Origin]:
    """Its own pool: every connection serves exactly one request."""
    origin = Origin(dict(SCRIPTS))
    yield origin
    origin.close()


@pytest.fixture(scope="module")
def six() -> Iterator[Origin]:
    origin = Origin(address="::1")
    yield origin
    origin.close()


@pytest.fixture(scope="module")
def port(
    tmp_path_factory: pytest.TempPathFactory, origin: Origin, fragile: Origin, six: Origin
) -> Iterator[int]:
    services = {
        "shop": [("127.0.0.1", origin.port)],
        "stale": [("127.0.0.1", fragile.port)],
        "six": [('"::1"', six.port)],
        "dead": [("127.0.0.1", dead_port())],
        "half": [("127.0.0.1", origin.port), ("127.0.0.1", dead_port())],
    }
    settings = """
[limits]
upstreamIdleTimeout = "700ms"
[forwardingTimeouts]
responseHeaderTimeout = "800ms"
"""
    folder = tmp_path_factory.mktemp("upstream")
    with proxied(folder, services, settings) as proxy:
        yield proxy.address[1]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_stale_connection_is_invisible_to_safe_methods(port: int, method: str) -> None:
    for _ in range(5):
        with Client(port) as client:
            assert client.ask("/stale/stale", method=method).status == 200
            assert client.ask("/stale/stale", method=method).status == 200


@pytest.mark.parametrize("path", ["/stale/stale", "/stale/partly"])
def test_a_post_is_never_sent_twice(port: int, fragile: Origin, path: str) -> None:
    for number in range(20):
        with Client(port) as client:
            assert client.ask(path, method="GET").status == 200
            target = f"{path}?post={number}"
            answer = client.ask(target, method="POST", body=b"x")
            assert answer.status in (200, 502)
            assert fragile.targets().count(target) == 1


def test_nothing_is_repeated_after_a_byte_of_the_response(port: int, fragile: Origin) -> None:
    with Client(port) as client:
        assert client.ask("/stale/partly").status == 200
        fragile.seen.clear()
        assert client.ask("/stale/partly?again").status == 502
        assert fragile.targets() == ["/stale/partly?again"]


def test_connections_that_are_closed_behind_our_back(port: int, origin: Origin) -> None:
    """10 gets and posts in a row on connections closed after each answer: no failure at all,
    because the end is seen before the next request is sent."""
    with Client(port) as client:
        for number in range(10):
            method = "POST" if number % 2 else "GET"
            assert client.ask("/shop/closing", method=method).status == 200
            time.sleep(0.02)


def test_a_response_that_does_not_come(port: int) -> None:
    start = time.monotonic()
    with Client(port) as client:
        answer = client.ask("/shop/silent")
    assert (answer.status, answer.body) == (504, b"Gateway Timeout")
    assert 0.7 < time.monotonic() - start < 6


def test_idle_connections_end(port: int, six: Origin) -> None:
    with Client(port) as client:
        assert client.ask("/six/x", body=b"1").status == 200
    before = six.connections
    with Client(port) as client:
        assert client.ask("/six/x").status == 200
    assert six.connections == before
    until(lambda: six.open == 0)
    with Client(port) as client:
        assert client.ask("/six/x").status == 200
    assert six.connections == before + 1


def test_endpoints_over_ipv6(port: int, six: Origin) -> None:
    with Client(port) as client:
        answer = client.ask("/six/x", method="POST", body=b"hello")
        assert (answer.status, answer.body) == (200, b"hello")
    assert six.seen[-1].values("Host") == ["a.test"]


def test_a_dead_endpoint_without_retry(port: int) -> None:
    with Client(port) as client:
        answer = client.ask("/dead/x")
        assert (answer.status, answer.body) == (502, b"Bad Gateway")
        answers = sorted(client.ask("/half/x").status for _ in range(10))
        assert answers == [200] * 5 + [502] * 5


def test_a_dead_endpoint_does_not_end_a_kept_client_connection(port: int) -> None:
    with Client(port) as client:
        assert client.ask("/dead/x", method="POST", body=b"x" * 1000).status == 502
        assert client.ask("/shop/x").status == 200


def test_a_client_that_leaves_while_the_endpoint_takes_nothing(port: int, origin: Origin) -> None:
    with Client(port) as client:
        client.send(request("/shop/stubborn", method="POST", body=b"x" * 3_000_000)[:2_000_000])
    with Client(port) as client:
        assert client.ask("/shop/x").status == 200


# --- [retry] ---


def services_with_dead_ones(origin: Origin) -> dict[str, list[tuple[str, int]]]:
    dead = [("127.0.0.1", dead_port()) for _ in range(3)]
    live = ("127.0.0.1", origin.port)
    return {
        "one": [live],
        "mixed": [*dead, live],
        "dead": dead,
        "silent": [live, live],
    }


@pytest.fixture(scope="module")
def retrying(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("retry")
    origin.scripts["/silent/reset"] = lambda peer: peer.reset() or False
    settings = "[retry]\n[forwardingTimeouts]\nresponseHeaderTimeout = '500ms'\n"
    with proxied(folder, services_with_dead_ones(origin), settings) as proxy:
        yield proxy.address[1]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("size", [0, 10, 500_000])
def test_every_endpoint_is_tried(retrying: int, origin: Origin, method: str, size: int) -> None:
    body = bytes(range(256)) * (size // 256) if size > 10 else b"x" * size
    for _ in range(8):
        with Client(retrying) as client:
            answer = client.ask("/mixed/x", method=method, body=body)
            assert (answer.status, answer.body) == (200, body)


def test_a_chunked_body_is_tried_again(retrying: int) -> None:
    for _ in range(6):
        with Client(retrying) as client:
            client.send(request("/mixed/x", "Transfer-Encoding: chunked", method="POST"))
            client.send(b"5\r\nhello\r\n")
            time.sleep(0.02)
            client.send(b"6\r\n world\r\n0\r\n\r\n")
            assert client.response("POST").body == b"hello world"


def test_all_dead(retrying: int) -> None:
    with Client(retrying) as client:
        assert client.ask("/dead/x").status == 502
        assert client.ask("/one/x").status == 200


def test_what_was_sent_is_not_retried(retrying: int, origin: Origin) -> None:
    with Client(retrying) as client:
        assert client.ask("/silent/reset?once", method="POST", body=b"x").status == 502
    assert origin.targets().count("/silent/reset?once") == 1


# attempts, how many of 12 requests are answered when one of four endpoints lives
ATTEMPTS = [(1, 3), (2, 6), (3, 6), (4, 12), (9, 12)]


@pytest.mark.parametrize(("attempts", "answered"), ATTEMPTS)
def test_as_many_attempts_as_configured(
    tmp_path: Path, origin: Origin, attempts: int, answered: int
) -> None:
    """Endpoints take turns, whoever asks: every fourth attempt meets the live one."""
    services = services_with_dead_ones(origin)
    with (
        proxied(tmp_path, services, f"[retry]\nattempts = {attempts}\n") as proxy,
        Client(proxy.address[1]) as client,
    ):
        answers = [client.ask("/mixed/x").status for _ in range(12)]
    assert answers.count(200) == answered
    assert answers.count(502) == 12 - answered


# --- the pool ---


def test_no_more_idle_connections_than_allowed(tmp_path: Path) -> None:
    gate = threading.Barrier(6)

    def together(peer: Peer) -> None:
        peer.read_request()
        gate.wait(10)
        peer.send(OK)

    origin = Origin({"/shop/together": together})
    settings = "maxIdleConnsPerHost = 3\n"
    with proxied(tmp_path, {"shop": [("127.0.0.1", origin.port)]}, main=settings) as proxy:
        clients = [Client(proxy.address[1]) for _ in range(6)]
        for client in clients:
            client.send(request("/shop/together"))
        assert [client.response().status for client in clients] == [200] * 6
        until(lambda: origin.open == 3)
        assert origin.connections in (6, 7)  # and one that looked whether the route is there
        for client in clients:
            client.socket.close()
    origin.close()


def fill(listener: socket.socket) -> list[socket.socket]:
    """Connect until the accept queue takes no more: a busy kernel may look at several at once."""
    full: list[socket.socket] = []
    with suppress(TimeoutError):
        while len(full) < 20:
            full.append(socket.socket())
            full[-1].settimeout(0.3)
            full[-1].connect(listener.getsockname())
    return full


def test_an_endpoint_that_does_not_accept(tmp_path: Path) -> None:
    """A full accept queue: no answer to the SYN, so the time to connect is what ends it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        full = fill(listener)
        settings = '[forwardingTimeouts]\ndialTimeout = "500ms"\n'
        live = Origin()
        services = {
            "shop": [("127.0.0.1", live.port)],
            "full": [("127.0.0.1", listener.getsockname()[1])],
        }
        with proxied(tmp_path, services, settings) as proxy, Client(proxy.address[1]) as client:
            start = time.monotonic()
            answer = client.ask("/full/x")
            assert (answer.status, answer.body) == (504, b"Gateway Timeout")
            # The time runs from the worker's turn, which may have begun before the request came.
            assert 0.25 < time.monotonic() - start < 6
        services["mixed"] = [*services["full"], *services["shop"]]
        folder = tmp_path / "retry"
        folder.mkdir()
        retry = f"[retry]\n{settings}"
        with proxied(folder, services, retry) as proxy, Client(proxy.address[1]) as client:
            for method in ("GET", "POST"):
                answers = [client.ask("/mixed/x", method=method).status for _ in range(2)]
                assert answers == [200, 200]
            assert client.ask("/full/x").status == 504
        live.close()
        for filler in full:
            filler.close()
