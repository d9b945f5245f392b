"""Requests that wait for Python: order, bodies, upgrades, clients that leave, reloads meanwhile."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import bcrypt
import pytest

from tests.support.feature_rows import Ask, Backend, Field, Row, answering, running, secret

STORED = bcrypt.hashpw(b"secret", bcrypt.gensalt(8)).decode()
JOE = "Basic " + base64.b64encode(b"joe:secret").decode()
BASIC = {"auth-type": "basic", "auth-secret": "users"}
ASKS = {"auth-type": "forward", "auth-url": "http://127.0.0.1:AUTHPORT/check"}
PAGES = {"error-pages": "a: {status: ['500-599'], backend: row0.test/, query: /page}"}
ROWS = {
    row.title: row
    for row in (
        Row("plain"),
        Row("basic", BASIC),
        Row("forward", ASKS),
        Row("buffered", {}, {"buffering": "{maxrequestbodybytes: 100000}"}),
        Row("everything", {**BASIC, **PAGES, "frame-deny": "true"}, {"buffering": "{}"}),
    )
}


@pytest.fixture(scope="module")
def auth_server() -> Iterator[Backend]:
    server = Backend(1, "X-Auth-Answer")
    yield server
    server.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, auth_server: Backend) -> Iterator[Field]:
    yield from running(
        tmp_path_factory.mktemp("parked"),
        list(ROWS.values()),
        manifests=secret("users", {"auth": f"joe:{STORED}"}),
        words={"AUTHPORT": str(auth_server.ports[0])},
        entry_points={"http": "compress = true\n"},
    )


class Client:
    """A connection on which requests are written as bytes."""

    def __init__(self, proxy: Field) -> None:
        self.socket = socket.create_connection(("127.0.0.1", proxy.ports["http"]), 10)
        self.stream = self.socket.makefile("rb")

    def send(self, proxy: Field, title: str, line: str, *headers: str, body: bytes = b"") -> None:
        lines = [f"{line} HTTP/1.1", f"Host: {proxy.host(ROWS[title])}", *headers, "", ""]
        self.socket.sendall("\r\n".join(lines).encode() + body)

    def head(self) -> tuple[int, dict[str, str]]:
        lines = [line.decode() for line in iter(self.stream.readline, b"\r\n")]
        pairs = (line.strip().partition(": ") for line in lines[1:])
        return int(lines[0].split()[1]), {name.lower(): value for name, _, value in pairs}

    def answer(self) -> tuple[int, bytes]:
        status, headers = self.head()
        return status, self.stream.read(int(headers.get("content-length", 0)))

    def reset(self) -> None:
        """Leave so that nobody can take it for a half-closed connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


@pytest.fixture
def client(proxy: Field) -> Iterator[Client]:
    made = Client(proxy)
    yield made
    made.close()


def test_pipelined_requests_are_answered_in_order(proxy: Field, client: Client) -> None:
    """Each new password is a slow hash; plain requests behind it wait for their turn."""
    for number in range(4):
        token = base64.b64encode(f"joe:wrong{number}".encode()).decode()
        client.send(proxy, "basic", f"GET /{number}", f"Authorization: Basic {token}")
        client.send(proxy, "plain", f"GET /plain{number}", f'X-Answer: {{"body": "{number}"}}')
    for number in range(4):
        assert client.answer() == (401, b"401 Unauthorized\n")
        assert client.answer() == (200, str(number).encode())


def test_a_chunked_body_waits_and_arrives_whole(proxy: Field, client: Client) -> None:
    body = b"".join(b"%x\r\n%s\r\n" % (1000, b"x" * 1000) for _ in range(90)) + b"0\r\n\r\n"
    for title, length in (("basic", None), ("buffered", "90000")):
        proxy.backend.seen.clear()
        client.send(
            proxy, title, "POST /a", f"Authorization: {JOE}", "Transfer-Encoding: chunked",
            body=body,
        )  # fmt: skip
        assert client.answer() == (200, b"server 0")
        [seen] = proxy.backend.seen
        assert seen.headers["Content-Length"] == length
        assert seen.body == b"x" * 90000


def test_a_body_too_large_is_refused_while_it_comes(proxy: Field, client: Client) -> None:
    proxy.backend.seen.clear()
    chunk = b"2710\r\n" + b"x" * 10000 + b"\r\n"
    client.send(proxy, "buffered", "POST /a", "Transfer-Encoding: chunked", body=chunk * 11)
    assert client.answer() == (413, b"Request Entity Too Large")
    assert proxy.backend.seen == []


EXPECTED = [
    ("forward", ('X-Auth-Answer: {"status": 403, "body": "no"}',), 403),
    ("forward", (), 200),
    ("buffered", (), 200),
    ("basic", (f"Authorization: {JOE}",), 200),
    ("basic", (), 401),
]


@pytest.mark.parametrize(("title", "headers", "status"), EXPECTED)
def test_a_client_that_waits_for_100(proxy: Field, client: Client, title, headers, status) -> None:
    """It is told to go on exactly when its body is wanted; a refusal comes instead of the 100."""
    client.send(proxy, title, "POST /a", *headers, "Expect: 100-continue", "Content-Length: 5")
    found, _ = client.head()
    if status == 200:
        assert found == 100
        client.socket.sendall(b"hello")
        assert client.answer() == (200, b"server 0")
        assert proxy.backend.seen[-1].body == b"hello"
    else:
        assert found == status


def test_clients_that_leave_while_they_are_parked(proxy: Field, auth_server: Backend) -> None:
    proxy.backend.seen.clear()
    for _ in range(10):
        client = Client(proxy)
        client.send(proxy, "forward", "GET /left", 'X-Auth-Answer: {"delay": 0.5}')
        time.sleep(0.02)
        client.reset()
    time.sleep(1.2)
    assert [seen.target for seen in proxy.backend.seen] == []
    assert proxy.send(ROWS["forward"]).status == 200


def test_an_upgrade_passes_the_filters(proxy: Field) -> None:
    """Basic auth, error pages, buffering and compress leave a WebSocket alone."""
    key = base64.b64encode(b"0123456789abcdef").decode()
    accept = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()

    def serve(listener: socket.socket) -> None:
        with listener, listener.accept()[0] as peer:
            data = b""
            while b"\r\n\r\n" not in data:
                data += peer.recv(65536)
            peer.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
                + base64.b64encode(accept)
                + b"\r\n\r\n"
            )
            while data := peer.recv(65536):
                peer.sendall(data)

    listener = socket.create_server(("127.0.0.1", 0))
    server = threading.Thread(target=serve, args=(listener,), daemon=True)
    server.start()
    manifests = proxy.folder / "manifests" / "all.yaml"
    text = manifests.read_text()
    own = text.replace(
        f"name: row4-{proxy.backend.ports[0]}", f"name: row4-{listener.getsockname()[1]}"
    )
    own = swap_port(own, "row4", proxy.backend.ports[0], listener.getsockname()[1])
    manifests.write_text(own)
    try:
        client = upgraded(proxy, key)
        client.socket.sendall(b"\x81\x02hi")
        assert client.stream.read(4) == b"\x81\x02hi"
        client.close()
    finally:
        manifests.write_text(text)
    server.join(10)


def swap_port(text: str, name: str, old: int, new: int) -> str:
    """The documents of a Service, with another endpoint port."""
    return "---".join(
        part.replace(f"port: {old}", f"port: {new}")
        if f"kubernetes.io/service-name: {name}" in part
        else part
        for part in text.split("---")
    )


def upgraded(proxy: Field, key: str) -> Client:
    """A connection that was upgraded; the new endpoint may need a moment to be taken over."""
    deadline = time.monotonic() + 15
    while True:
        client = Client(proxy)
        client.send(
            proxy,
            "everything",
            "GET /ws",
            f"Authorization: {JOE}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            "Accept-Encoding: gzip",
        )
        status, headers = client.head()
        if status == 101:
            assert "vary" not in headers and "x-frame-options" not in headers
            return client
        client.close()
        assert time.monotonic() < deadline, (status, headers)
        time.sleep(0.2)


def test_a_reload_leaves_parked_requests_on_their_route(proxy: Field) -> None:
    """The Ingress goes away while its request waits: the request is served, the next is not."""
    manifests = proxy.folder / "manifests" / "all.yaml"
    text = manifests.read_text()
    parts = [part for part in text.split("\n---\n") if '"row2.test"' not in part]
    assert len(parts) < len(text.split("\n---\n"))
    answers = []

    def slow() -> None:
        headers = (answering("X-Auth-Answer", delay=4),)
        answers.append(proxy.ask(Ask("/slow", headers=headers), "row2.test"))

    waiting = threading.Thread(target=slow)
    waiting.start()
    time.sleep(0.3)
    manifests.write_text("\n---\n".join(parts))
    try:
        deadline = time.monotonic() + 15
        while proxy.ask(Ask("/"), "row2.test").status != 404:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert not answers
        waiting.join(15)
        assert [answer.status for answer in answers] == [200]
    finally:
        manifests.write_text(text)
        waiting.join(15)
