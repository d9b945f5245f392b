"""Leak finder: each way through the engine, many times; the worker's memory must stop to grow.

A block of N repetitions is run until one passes without the growth of a leak. What a worker keeps
for the next time (pools, windows, sessions, caches) stops to grow; a leak does not.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fastproxy.features.buffering import Buffering
from fastproxy.features.headers import CustomRequestHeaders
from fastproxy.model.configuration import Backend, Desired, Endpoint, Route
from fastproxy.model.matchers import Host, PathPrefix
from tests.support.counts import record, times
from tests.support.processes import children_of, stand_in
from tests.support.running import dead_port
from tests.support.sanitized import SANITIZED
from tests.support.scripted import Client, Origin, Peer, until
from tests.support.tls import AUTHORITY, client_context, client_hello, loaded, pem, server_context
from tests.support.users import JOE, USERS_SECRET
from tests.support.whole import Running, ingress, origin, secret, service, serving

ROUNDS = times(100, 2000)  # repetitions in a block
BLOCKS = 12
LEAK = 16384 / ROUNDS  # bytes for each repetition: four pages in a block
REPLAYED = (
    "{memrequestbodybytes: 100000, memresponsebodybytes: 100000, "
    "retryexpression: ResponseCode() >= 500 && Attempts() <= 3}"
)
SETTINGS = """
defaultEntryPoints = ["http", "https"]
workers = 1
rootCAs = ["{folder}/roots.pem"]

[limits]
headerBlock = 16384

[entryPoints.http]
address = "127.0.0.1:{http}"
compress = true

[entryPoints.https]
address = "127.0.0.1:{https}"
[entryPoints.https.tls]
"""


def cut(peer: Peer) -> bool:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    return False


def big(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n")
    with suppress(OSError):
        peer.send(bytes(300_000))


def chunked(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(5):
        peer.send(b"200\r\n" + b"text" * 128 + b"\r\n")
    peer.send(b"0\r\nTrailer: x\r\n\r\n")


def switch(peer: Peer) -> bool:
    peer.read_request()
    peer.send(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\nhello")
    with suppress(OSError):
        while data := peer.socket.recv(65536):
            peer.send(data)
    return False


def reset(peer: Peer) -> bool:
    peer.read_request()
    peer.reset()
    return False


def garbage(peer: Peer) -> bool:
    peer.read_request()
    peer.send(b"\x16\x03\x01garbage\r\n\r\n")
    return False


def failing(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")


SCRIPTS = {
    "/cut": cut, "/big": big, "/chunked": chunked, "/switch": switch, "/reset": reset,
    "/garbage": garbage, "/failing": failing,
}  # fmt: skip


def private(pid: int) -> int:
    """Bytes of memory only this process has."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


@dataclass
class Field:
    running: Running
    worker: int
    client: Client  # one connection that stays

    def connect(self) -> Client:
        return Client(self.running.ports["http"])


def trusted(running: Running) -> bool:
    """The certificate is live, not the one shown without any."""
    try:
        running.connect("a.test", context=client_context()).close()
    except ssl.SSLError:
        return False
    return True


def objects(good: int, secure: int) -> list[dict[str, Any]]:
    """What the ways through the engine need: an origin with `SCRIPTS`, and one with TLS."""
    forward = {"auth_type": "forward", "auth_url": f"http://127.0.0.1:{good}/ok"}
    pages = "a: {status: ['500-599'], backend: a.test/, query: /page}"
    buffered = service("buffered", good)
    buffered[0]["metadata"]["annotations"] = {"ingress.kubernetes.io/buffering": REPLAYED}
    return [
        *service("good", good),
        *buffered,
        ingress("buffered", "buffered.test", "buffered"),
        *service("dead", dead_port()),
        *service("secure", secure),
        service("none", 1)[0],
        secret("a", *pem(AUTHORITY.issue_cert("a.test"))),
        USERS_SECRET,
        ingress("a", "a.test", "good", "a"),
        ingress("dead", "dead.test", "dead"),
        ingress("none", "none.test", "none"),
        ingress("secure", "secure.test", "secure", protocol="https"),
        ingress("basic", "basic.test", "good", auth_type="basic", auth_secret="users"),
        ingress("forward", "forward.test", "good", **forward),
        ingress("pages", "pages.test", "good", error_pages=pages),
        ingress("steps", "steps.test", "good", frame_deny="true", rewrite_target="/x",
                request_modifier="AddPrefix: /y"),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("leaks")
    (folder / "roots.pem").write_bytes(AUTHORITY.cert_pem.bytes())
    good = Origin(dict(SCRIPTS))
    with origin(server_context(AUTHORITY.issue_cert("127.0.0.1"))) as secure:
        made_of = objects(good.port, secure)
        with serving(folder, SETTINGS, made_of, "http", "https") as made:
            until(lambda: trusted(made), 30)
            pids = children_of(made.proxy.pid)
            names = {p: Path(f"/proc/{p}/fd") for p in pids}
            (worker,) = (
                p for p, fd in names.items()
                if any("eventpoll" in str(link.readlink()) for link in fd.iterdir())
            )  # fmt: skip
            with Client(made.ports["http"]) as client:
                yield Field(made, worker, client)
    good.close()


def message(path: str, *lines: str, host: str = "a.test", method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


def asks(
    data: bytes, status: int = 200, method: str = "GET", keep: bool = True
) -> Callable[[Field], None]:
    """A message and the status of its answer, on the connection that stays or on one of its own."""

    def run(field: Field) -> None:
        client = field.client if keep else field.connect()
        try:
            client.send(data)
            assert client.response(method).status == status
        finally:
            if not keep:
                client.socket.close()

    return run


def leaves(data: bytes, wait: bool = False, hard: bool = True) -> Callable[[Field], None]:
    """A client that goes when it has sent this, or when the first bytes come."""

    def run(field: Field) -> None:
        with field.connect() as client:
            client.send(data)
            if wait:
                client.more()
            if hard:
                client.socket.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )

    return run


def breaks(data: bytes) -> Callable[[Field], None]:
    """A response that never becomes whole."""

    def run(field: Field) -> None:
        with field.connect() as client:
            client.send(data)
            with suppress(OSError):
                while client.more():
                    pass
            assert client.data.startswith(b"HTTP/1.1 200")

    return run


def tunnels(field: Field) -> None:
    with field.connect() as client:
        client.send(message("/switch", "Connection: Upgrade", "Upgrade: foo"))
        until(lambda: b"hello" in client.data or not client.more())
        client.send(b"more")
        until(lambda: b"hellomore" in client.data or not client.more())
        client.socket.shutdown(socket.SHUT_WR)
        client.drain()


def over_tls(field: Field) -> None:
    context = client_context()
    with field.running.connect("a.test", context=context) as client:
        client.sendall(message("/x", "Connection: close"))
        while client.recv(65536):
            pass


def resumed(field: Field) -> None:
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with field.running.connect("a.test", context=context) as client:
        session = client.session
    with field.running.connect("a.test", context=context, session=session) as client:
        assert client.session_reused


def refused_by_the_client(field: Field) -> None:
    """The client does not trust the certificate of the default."""
    with suppress(ssl.SSLError):
        field.running.connect("other.test", context=client_context()).close()


def vanishes(data: bytes) -> Callable[[Field], None]:
    def run(field: Field) -> None:
        with socket.create_connection(("127.0.0.1", field.running.ports["https"])) as client:
            client.sendall(data)

    return run


PATHS: dict[str, Callable[[Field], None]] = {
    "GET": asks(message("/x")),
    "HEAD": asks(message("/x", method="HEAD"), method="HEAD"),
    "a connection for each": asks(message("/x"), keep=False),
    "POST": asks(message("/x", "Content-Length: 5", method="POST") + b"hello"),
    "POST in chunks, trailers": asks(
        message("/x", "Transfer-Encoding: chunked", "TE: trailers", "Connection: TE",
                method="POST") + b"5\r\nhello\r\n0\r\nA: b\r\n\r\n"),
    "a large upload": asks(message("/x", "Content-Length: 200000", method="POST") + bytes(200_000)),
    "a large response": asks(message("/big")),
    "chunks back": asks(message("/chunked")),
    "gzip": asks(message("/chunked", "Accept-Encoding: gzip")),
    "route-less": asks(message("/x", host="no.test"), 404),
    "no endpoint": asks(message("/x", host="none.test"), 503),
    "a dead endpoint": asks(message("/x", host="dead.test"), 502),
    "endpoint resets": asks(message("/reset"), 502),
    "endpoint talks nonsense": asks(message("/garbage"), 502),
    "a cut response": breaks(message("/cut")),
    "a bad request": asks(b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n", 400, keep=False),
    "a head too large": asks(message("/x", "X-A: " + "b" * 17000), 431, keep=False),
    "operations": asks(message("/x", host="steps.test")),
    "error pages": asks(message("/failing", host="pages.test"), 500),
    "basic auth": asks(message("/x", JOE, host="basic.test")),
    "basic auth refuses": asks(message("/x", host="basic.test"), 401),
    "forward auth": asks(message("/x", host="forward.test")),
    "forward auth of a POST": asks(
        message("/x", "Content-Length: 5", host="forward.test", method="POST") + b"hello"),
    "leaves within a head": leaves(b"GET / HT"),
    "leaves within a body": leaves(message("/x", "Content-Length: 500", method="POST") + b"x"),
    "leaves within a response": leaves(message("/big"), wait=True),
    "leaves while it waits": leaves(message("/x", host="forward.test")),
    "leaves while a body is collected": leaves(
        message("/x", "Content-Length: 500", host="forward.test", method="POST") + b"x"),
    "leaves with pipelined requests": leaves(message("/x") * 20),
    "buffered": asks(message("/big", host="buffered.test")),
    "buffered upload": asks(
        message("/x", "Content-Length: 200000", host="buffered.test", method="POST")
        + bytes(200_000)),
    "buffered upload in chunks, trailers": asks(
        message("/chunked", "Transfer-Encoding: chunked", host="buffered.test", method="POST")
        + (b"4000\r\n" + bytes(0x4000) + b"\r\n") * 5 + b"0\r\nA: b\r\n\r\n"),
    "sent again": asks(message("/failing", host="buffered.test"), 500),
    "sent again after resets": asks(message("/reset", host="buffered.test"), 502),
    "sent again with a body": asks(
        message("/failing", "Content-Length: 5", host="buffered.test", method="POST")
        + b"hello", 500),
    "leaves while buffering waits for it": leaves(
        message("/x", "Content-Length: 500000", host="buffered.test", method="POST")
        + bytes(200_000)),
    "tunnel": tunnels,
    "TLS": over_tls,
    "TLS resumed": resumed,
    "TLS to the endpoint": asks(message("/x", host="secure.test")),
    "TLS, refused by the client": refused_by_the_client,
    "TLS, the client vanishes": vanishes(client_hello("a.test")),
    "TLS, half a hello": vanishes(client_hello("a.test")[:100]),
    "TLS, nonsense": vanishes(b"GET / HTTP/1.0\r\n\r\n"),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.skipif(SANITIZED, reason="sanitizers keep freed memory")
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_memory_stops_growing(field: Field, path: str) -> None:
    run, grown = PATHS[path], []
    for _ in range(ROUNDS // 4):
        run(field)
    for _ in range(BLOCKS):
        before = private(field.worker)
        for _ in range(ROUNDS):
            run(field)
        grown.append((private(field.worker) - before) / ROUNDS)
        if grown[-1] < LEAK:
            break
    record(f"leak: {path}", rounds=ROUNDS, bytes_per_round=round(grown[-1], 1))
    assert grown[-1] < LEAK, f"bytes for each repetition, by block: {grown}"


CERTIFICATES = [replace(loaded("a.test", f"v{i}.test"), entry_points=("https",)) for i in range(3)]


def generation(number: int) -> Desired:
    name, port = f"n{number % 7}", 1 + number % 3
    configs = (CustomRequestHeaders((("X-A", name),)), Buffering(max_request=1000 + number % 5))
    matchers = (Host(("a.test", f"{name}.test")), PathPrefix(("/",)))
    routes = [
        Route(name, ("http", "https"), matchers, 1, name, configs),
        Route("always", ("http",), (PathPrefix(("/always",)),), 2, "always", configs[:1]),
    ]
    endpoints = tuple(Endpoint("http", "127.0.0.1", port + i) for i in range(1 + number % 4))
    backends = [Backend(name, endpoints), Backend("always", endpoints[:1])]
    return Desired(tuple(routes), tuple(backends), (CERTIFICATES[number % 3],))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.skipif(SANITIZED, reason="sanitizers keep freed memory")
def test_generations_leave_nothing(tmp_path: Path) -> None:
    """Routes, backends, endpoints, filters and operations come and go in turns."""
    settings = SETTINGS.format(folder=tmp_path, http=0, https=0)
    settings += '[entryPoints.traefik]\naddress = "127.0.0.1:0"\n'
    (tmp_path / "roots.pem").write_bytes(AUTHORITY.cert_pem.bytes())
    swaps, grown = times(40, 1000), []
    leak = times(2048, 16)  # bytes for each
    with stand_in(tmp_path, settings, real=True) as running:
        assert running.command(generation(0))[0]
        pids = [running.pid, *running.children]
        assert len(pids) == 3

        def swap(first: int) -> None:
            for number in range(first, first + swaps):
                assert running.command(generation(number))[0]

        swap(0)
        for block in range(1, BLOCKS):
            before = {pid: private(pid) for pid in pids}
            swap(block * swaps)
            grown.append(max(private(pid) - before[pid] for pid in pids) / swaps)
            if grown[-1] < leak:
                break
    record("leak: generations", rounds=swaps, bytes_per_round=round(grown[-1], 1))
    assert grown[-1] < leak, f"bytes for each generation, by block: {grown}"
