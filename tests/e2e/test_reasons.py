"""A request that could not be served says why in the log: route, endpoint and reason, once.

Every reason is made by a real endpoint. How lines are counted over time stands in
tests/fastproxy/test_complaints.py.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import trustme

from fastproxy.system.complaints import Why
from tests.safety.messages import Incomplete, Malformed
from tests.support.listening import Listening
from tests.support.running import Proxy, backend_manifest, dead_port, free_port, ingress_manifest
from tests.support.scripted import Client, Origin, Peer, request, until

ASKED = 5  # times each
T = "traefik.ingress.kubernetes.io/"
SETTINGS = """
defaultEntryPoints = ["http"]
workers = 1
providersThrottleDuration = "20ms"
[traefikLog]
format = "json"
[forwardingTimeouts]
dialTimeout = "500ms"
responseHeaderTimeout = "500ms"
[limits]
upstreamTLSHandshakeTimeout = "500ms"
websocketHandshakeTimeout = "300ms"
upstreamHeadBlock = 65536
[entryPoints.http]
address = "127.0.0.1:{port}"
[entryPoints.traefik]
address = "127.0.0.1:{ping}"
"""


NOTHING: Mapping[str, str] = MappingProxyType({})


class Row(NamedTuple):
    name: str
    why: Why
    status: int  # 0: the response is cut
    reason: str  # expression; PORT stands for the endpoint's
    endpoint: Callable[[ExitStack], int] = lambda stack: 0  # its port; 0: none
    annotations: Mapping[str, str] = NOTHING
    service: str = "http"  # name of the port
    lines: tuple[str, ...] = ()


def refusing(stack: ExitStack) -> int:
    return dead_port()


def answering(script: Callable[[Peer], bool | None]) -> Callable[[ExitStack], int]:
    def start(stack: ExitStack) -> int:
        origin = Origin({"/": script, "/auth": script})
        stack.callback(origin.close)
        return origin.port

    return start


def deaf(stack: ExitStack) -> int:
    """Listens with a full queue: nobody gets through, nobody is refused."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    port: int = listener.getsockname()[1]
    for _ in range(4):
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
    return port


class Shaking(Listening):
    """An endpoint whose TLS is of no use; without a context it says `words` in place of it."""

    def __init__(self, context: ssl.SSLContext | None, words: bytes = b"") -> None:
        self.context = context
        self.words = words
        super().__init__("127.0.0.1", 0)

    def serve(self, connection: socket.socket) -> None:
        if self.context is None:
            connection.recv(65536)
            connection.sendall(self.words)
            connection.settimeout(5)
            with suppress(OSError):
                connection.recv(1)
            return
        with suppress(OSError), self.context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1)


def shaking(
    make: Callable[[], ssl.SSLContext] | None, words: bytes = b""
) -> Callable[[ExitStack], int]:
    def start(stack: ExitStack) -> int:
        endpoint = Shaking(make() if make else None, words)
        stack.callback(endpoint.close)
        return endpoint.port

    return start


def untrusted() -> ssl.SSLContext:
    return context_of(trustme.CA().issue_cert("127.0.0.1"))


def expired() -> ssl.SSLContext:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    return context_of(AUTHORITY.issue_cert("127.0.0.1", not_after=yesterday))


def another_name() -> ssl.SSLContext:
    return context_of(AUTHORITY.issue_cert("another.test"))


def context_of(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


AUTHORITY = trustme.CA()


def closing(peer: Peer) -> bool:
    peer.read_request()
    return False


def resetting(peer: Peer) -> bool:
    peer.read_request()
    peer.reset()
    return False


def silent(peer: Peer) -> bool:
    peer.read_head()
    peer.socket.settimeout(5)
    with suppress(TimeoutError):
        peer.socket.recv(1)
    return False


def sending(data: bytes) -> Callable[[Peer], bool]:
    def send(peer: Peer) -> bool:
        peer.read_request()
        peer.send(data)
        return False

    return send


LONG = b"HTTP/1.1 200 OK\r\n" + b"A: " + b"a" * 600_000 + b"\r\n\r\n"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
           "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")  # fmt: skip
TO = r"http://127\.0\.0\.1:PORT"
TLS = r"TLS handshake with https://127\.0\.0\.1:PORT"
FORWARD = {T + "auth-type": "forward", T + "auth-url": "http://127.0.0.1:PORT/auth"}

ROWS = (
    Row("refused", Why.CONNECT, 502, rf"connect\(\) to {TO} failed \(111: Connection refused\)",
        refusing),
    Row("deaf", Why.CONNECT_TIMEOUT, 504, rf"connect\(\) to {TO} timed out", deaf),
    Row("closed", Why.CLOSED, 502, rf"{TO} closed the connection before its response",
        answering(closing)),
    Row("reset", Why.RESET, 502, rf"recv\(\) from {TO} failed .*\(104: Connection reset by peer\)",
        answering(resetting)),
    Row("silent", Why.RESPONSE_TIMEOUT, 504, rf"no response of {TO} in time", answering(silent)),
    Row("upgrade", Why.UPGRADE_TIMEOUT, 504, rf"no response of {TO} to a WebSocket",
        answering(silent), lines=UPGRADE),
    Row("garbage", Why.MALFORMED, 502, rf"the response of {TO} is malformed",
        answering(sending(b"nonsense\r\n\r\n"))),
    Row("long", Why.TOO_LONG, 502, rf"the head of the response of {TO} is longer than",
        answering(sending(LONG))),
    Row("cut", Why.TRUNCATED, 0, rf"the response of {TO} ended in the middle",
        answering(sending(CUT))),
    Row("empty", Why.NO_ENDPOINT, 503, "the backend has no endpoint"),
    Row("untrusted", Why.TLS, 500, rf"{TLS} failed \(certificate verify failed: .*issuer",
        shaking(untrusted), service="https"),
    Row("expired", Why.TLS, 500,
        rf"{TLS} failed \(certificate verify failed: certificate has expired\)",
        shaking(expired), service="https"),
    Row("named", Why.TLS, 500, rf"{TLS} failed \(certificate verify failed: .*mismatch",
        shaking(another_name), service="https"),
    Row("plain", Why.TLS, 500, rf"{TLS} failed \(not TLS",
        shaking(None, b"HTTP/1.1 400 Bad Request\r\n\r\n"), service="https"),
    Row("mute", Why.TLS_TIMEOUT, 504, rf"{TLS} timed out", shaking(None), service="https"),
    Row("broken", Why.BREAKER, 503, "the circuit breaker is open", refusing,
        {T + "circuit-breaker-expression": "NetworkErrorRatio() > 0.1"}),
    Row("auth", Why.CONNECT, 500, rf"connect\(\) to {TO} failed \(111: Connection refused\)",
        refusing, FORWARD),
    Row("slow-auth", Why.RESPONSE_TIMEOUT, 500, rf"no response of {TO} in time",
        answering(silent), FORWARD),
)  # fmt: skip


class Running(NamedTuple):
    proxy: Proxy
    port: int
    ports: dict[str, int]

    def lines(self) -> list[dict[str, Any]]:
        found = []
        for line in self.proxy.log.read_text().splitlines():
            values = json.loads(line)
            found.append(values)
        return found

    def about(self, name: str) -> list[dict[str, Any]]:
        return [v for v in self.lines() if v.get("route", "").startswith(f"{name}.test")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("reasons")
    (folder / "manifests").mkdir()
    authority = folder / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(authority))
    ports = {}
    with ExitStack() as stack:
        for row in ROWS:
            port = ports[row.name] = row.endpoint(stack)
            service = backend_manifest(row.name, [port] if port else [])
            service = service.replace("name: http,", f"name: {row.service},")
            annotations = {k: v.replace("PORT", str(port)) for k, v in row.annotations.items()}
            if row.why is Why.BREAKER:  # it belongs on the Service
                named = f"name: {row.name}, namespace: default"
                service = service.replace(
                    named, f"{named}, annotations: {json.dumps(annotations)}", 1
                )
                annotations = {}
            rules = [(f"{row.name}.test", "/", row.name)]
            text = f"{service}---{ingress_manifest(row.name, rules, json.dumps(annotations))}"
            (folder / "manifests" / f"{row.name}.yaml").write_text(text)
        (folder / "manifests" / "a.yaml").write_text(
            backend_manifest("fence", [dead_port()])
            + "---"
            + ingress_manifest("fence", [("a.test", "/", "fence"), ("counted.test", "/", "fence")])
        )
        port = free_port()
        settings = f'rootCAs = ["{authority}"]\n' + SETTINGS.format(port=port, ping=free_port())
        proxy = Proxy(folder, folder / "manifests", settings, port)
        with proxy:
            yield Running(proxy, port, ports)


def status_of(running: Running, asked: bytes) -> int:
    """0 when the response is not whole."""
    with Client(running.port) as client:
        client.send(asked)
        try:
            return client.response().status
        except (Incomplete, Malformed, OSError):
            return 0


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_the_reason_is_told_once(running: Running, row: Row) -> None:
    asked = request("/", *row.lines).replace(b"a.test", f"{row.name}.test".encode())
    if row.why is Why.BREAKER:  # it opens with the failures it sees
        until(lambda: status_of(running, asked) == row.status)
    for _ in range(ASKED):
        assert status_of(running, asked) == row.status
    pattern = row.reason.replace("PORT", str(running.ports[row.name]))
    until(lambda: any(re.search(pattern, values["msg"]) for values in running.about(row.name)))
    found = [values for values in running.about(row.name) if re.search(pattern, values["msg"])]
    assert len(found) == 1, found
    values = found[0]
    assert values["msg"].startswith(f"{row.status} route " if row.status else "route ")
    assert values["backend"].startswith(f"{row.name}.test")
    assert values.get("status", 0) == row.status
    assert values["role"] == "worker 0"
    assert ("endpoint" in values) == (row.why not in (Why.NO_ENDPOINT, Why.BREAKER))
    if "endpoint" in values:
        assert values["endpoint"].endswith(f":{running.ports[row.name]}")
    assert len(running.about(row.name)) == (2 if row.why is Why.BREAKER else 1)


def test_the_others_are_counted(running: Running) -> None:
    """A line with the number follows after ten seconds, and before the process ends."""
    asked = request("/").replace(b"a.test", b"counted.test")
    with Client(running.port) as client:
        for _ in range(200):
            client.send(asked)
            assert client.response().status == 502
    until(lambda: any("suppressed" in v for v in running.about("counted")), 20)
    first, second = running.about("counted")
    assert "suppressed" not in first
    assert second["suppressed"] == 199
    assert second["msg"] == f"{first['msg']}; {second['suppressed']} more in 10 s"


def test_every_reason_of_an_endpoint_is_in_the_table() -> None:
    """What is left out here: it takes a full machine, or is shown where it belongs."""
    elsewhere = {
        Why.UNKNOWN, Why.SOCKET, Why.NAME, Why.NAME_TIMEOUT, Why.STALL, Why.NO_WEIGHT, Why.FULL,
        Why.PAUSED, Why.NO_URL, Why.AUTH_TIMEOUT, Why.AUTH_TOO_LONG,
    }  # fmt: skip
    assert {row.why for row in ROWS} == set(Why) - elsewhere


def test_the_same_as_text(tmp_path: Path) -> None:
    port, dead = free_port(), dead_port()
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "a.yaml").write_text(
        backend_manifest("shop", [dead])
        + "---"
        + ingress_manifest("shop", [("a.test", "/", "shop")])
    )
    settings = SETTINGS.replace('format = "json"', "").format(port=port, ping=free_port())
    with Proxy(tmp_path, tmp_path / "manifests", settings, port) as proxy:
        expected = (
            f'level=error msg="502 route a.test/: connect() to http://127.0.0.1:{dead} failed'
            ' (111: Connection refused)" role="worker 0"'
        )
        until(lambda: expected in proxy.log.read_text())
