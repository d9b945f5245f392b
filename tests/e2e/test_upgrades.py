"""WebSocket and other upgrades through the whole program, in the clear and through TLS."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close

from tests.support.listening import Listening, read_head
from tests.support.running import free_port
from tests.support.sanitized import SANITIZED
from tests.support.tls import AUTHORITY, client_context, pem, server_context
from tests.support.websocket import WebSocket, websocket, websocket_origin
from tests.support.whole import Running, ingress, secret, service, serving, within

SETTINGS = """
defaultEntryPoints = ["http", "https"]
workers = 1
rootCAs = ["{folder}/roots.pem"]

[ping]
entryPoint = "http"
[lifeCycle]
graceTimeOut = "1s"

[entryPoints.http]
address = "127.0.0.1:{http}"
compress = true
[entryPoints.https]
address = "127.0.0.1:{https}"
[entryPoints.https.tls]
"""

HANDSHAKE = (
    b"GET /raw HTTP/1.1\r\nHost: raw.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CUSTOM = b"GET /raw HTTP/1.1\r\nHost: raw.test\r\nConnection: Upgrade\r\nUpgrade: custom\r\n\r\n"


class Raw(Listening):
    """An origin that answers 101 and then does what `script` says with the socket."""

    def __init__(self) -> None:
        self.script: Callable[[socket.socket], None] = lambda _: None
        self.heads: list[bytes] = []
        self.refusal = b""  # sent instead of the 101
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        head, rest = read_head(connection)
        if not head:
            return
        self.heads.append(head + b"\r\n\r\n" + rest)
        if self.refusal:
            connection.sendall(self.refusal)
            return
        kind = b"websocket" if b"websocket" in head.lower() else b"custom"
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + kind
            + b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )  # fmt: skip
        self.script(connection)


@pytest.fixture(scope="module")
def raw() -> Iterator[Raw]:
    made = Raw()
    yield made
    made.close()


def annotated(name: str, port: int, **annotations: str) -> list[dict[str, Any]]:
    documents = service(name, port)
    documents[0]["metadata"] = documents[0]["metadata"] | {
        "annotations": {
            f"ingress.kubernetes.io/{key.replace('_', '-')}": value
            for key, value in annotations.items()
        }
    }
    return documents


@contextmanager
def started(folder: Path, raw: Raw, plain: int, secure: int) -> Iterator[Running]:
    (folder / "roots.pem").write_bytes(AUTHORITY.cert_pem.bytes())
    objects = [
        *service("plain", plain),
        *service("secure", secure),
        *service("raw", raw.port),
        secret("one", *pem(AUTHORITY.issue_cert("plain.test", "secure.test", "raw.test"))),
        ingress("plain", "plain.test", "plain", "one"),
        ingress("secure", "secure.test", "secure", "one", protocol="https"),
        ingress("raw", "raw.test", "raw", "one"),
        *annotated("limited", raw.port, max_conn_amount="1", max_conn_extractor_func="client.ip"),
        ingress("limited", "limited.test", "limited"),
        *annotated("sticky", raw.port, affinity="true", session_cookie_name="srv"),
        ingress(
            "sticky",
            "sticky.test",
            "sticky",
            custom_response_headers="X-Given: 1",
            frame_deny="true",
            error_pages="a: {status: ['403'], backend: plain.test/, query: /x}",
        ),
        ingress("a", "a.test", "plain"),  # what the harness waits for
    ]
    with serving(folder, SETTINGS, objects, "http", "https") as made:
        yield made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, raw: Raw) -> Iterator[Running]:
    context = server_context(AUTHORITY.issue_cert("127.0.0.1"))
    with (
        websocket_origin() as plain,
        websocket_origin(context) as secure,
        started(tmp_path_factory.mktemp("upgrades"), raw, plain, secure) as made,
    ):
        yield made


WAYS = [("ws", "plain.test"), ("wss", "plain.test"), ("ws", "secure.test"), ("wss", "secure.test")]


def open_websocket(
    running: Running, way: tuple[str, str], path: str = "/echo"
) -> AbstractContextManager[WebSocket]:
    scheme, host = way
    tls = scheme == "wss"
    port = running.ports["https" if tls else "http"]
    context = client_context() if tls else None
    return websocket(f"{scheme}://{host}{path}", ("127.0.0.1", port), context)


def text(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(65536)
        if not piece:
            break
        data += piece
    return data


def open_raw(running: Running, *, tls: bool, head: bytes = HANDSHAKE) -> socket.socket:
    """A client that has received the 101 and nothing more."""
    client: socket.socket = socket.create_connection(
        ("127.0.0.1", running.ports["https" if tls else "http"]), 10
    )
    if tls:
        client = client_context().wrap_socket(client, server_hostname="raw.test")
    client.sendall(head)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        piece = client.recv(1)
        assert piece, answer
        answer += piece
    assert answer.startswith(b"HTTP/1.1 101 ")
    return client


MESSAGES: list[str | bytes] = [
    "text",
    "",
    "äöü €",
    b"",
    b"\0\xff" * 10,
    b"x" * 125,
    b"x" * 126,
    b"x" * 65535,
    b"x" * 65536,
    os.urandom(3_000_000),
]


@pytest.mark.parametrize("way", WAYS)
def test_messages_of_every_size_and_kind(running: Running, way: tuple[str, str]) -> None:
    with open_websocket(running, way) as client:
        assert client.subprotocol == "chat"
        assert client.extensions  # agreed with the endpoint, as without a proxy
        for message in MESSAGES:
            client.send(message)
            assert client.receive() == message


@pytest.mark.parametrize("way", WAYS)
def test_fragments_and_pings(running: Running, way: tuple[str, str]) -> None:
    with open_websocket(running, way) as client:
        client.send(["one ", "two ", "three"])
        assert client.receive() == "one two three"
        client.send([b"a" * 70000, b"b", b"c" * 3])
        assert client.receive() == b"a" * 70000 + b"b" + b"c" * 3
        client.ping(b"are you there")
    with open_websocket(running, way, "/pinging") as client:
        assert client.receive() == "pong"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "away"), (3000, "x" * 100), (4999, "€")]
)
def test_close_codes_of_the_endpoint(
    running: Running, way: tuple[str, str], code: int, reason: str
) -> None:
    with open_websocket(running, way, f"/close/{code}/{reason}") as client:
        with pytest.raises(ConnectionClosed) as closed:
            client.receive()
        assert closed.value.rcvd == Close(code, reason)


def test_a_thousand_messages_in_flight(running: Running) -> None:
    with open_websocket(running, ("wss", "secure.test")) as client:
        sent = [str(number) * (number % 50) for number in range(1000)]

        def send() -> None:
            for message in sent:
                client.send(message)

        sender = threading.Thread(target=send)
        sender.start()
        assert [client.receive() for _ in sent] == sent
        sender.join()


# --- bytes, not messages: what passes is what was sent ---

FRAMES = [
    b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",  # the example of RFC 6455
    b"\xf3\x80\0\0\0\0",  # reserved bits and opcode
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff",  # an impossible length
    b"not a frame at all\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    os.urandom(200_000),
]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("head", [HANDSHAKE, CUSTOM])
@pytest.mark.parametrize("frames", FRAMES)
def test_bytes_pass_unchanged_both_ways(
    running: Running, raw: Raw, tls: bool, head: bytes, frames: bytes
) -> None:
    received: list[bytes] = []

    def script(end: socket.socket) -> None:
        data = text(end, len(frames))
        received.append(data)
        end.sendall(data[::-1])

    raw.script = script
    with open_raw(running, tls=tls, head=head) as client:
        client.sendall(frames)
        assert text(client, len(frames)) == frames[::-1]
    assert received == [frames]


def test_early_bytes_wait_for_the_101(running: Running, raw: Raw) -> None:
    raw.script = lambda end: end.sendall(text(end, 5).upper())
    with open_raw(running, tls=False, head=CUSTOM + b"early") as client:
        assert text(client, 5) == b"EARLY"


@pytest.mark.parametrize("tls", [False, True])
def test_the_endpoint_ends_first(running: Running, raw: Raw, tls: bool) -> None:
    raw.script = lambda end: end.sendall(b"last words")
    with open_raw(running, tls=tls, head=CUSTOM) as client:
        assert text(client, 1000) == b"last words"


def test_the_client_ends_its_half(running: Running, raw: Raw) -> None:
    def script(end: socket.socket) -> None:
        data = text(end, 1 << 30)  # to the end
        end.sendall(hashlib.sha256(data).hexdigest().encode())

    raw.script = script
    data = os.urandom(500_000)
    with open_raw(running, tls=False, head=CUSTOM) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert text(client, 1000) == hashlib.sha256(data).hexdigest().encode()


def test_the_endpoint_goes_on_after_the_clients_end(running: Running, raw: Raw) -> None:
    """Both ends have come while the client has yet to take most of what it was sent."""
    data = os.urandom(8_000_000)

    def script(end: socket.socket) -> None:
        assert text(end, 1 << 30) == b"first words"
        end.sendall(data)

    raw.script = script
    with open_raw(running, tls=False, head=CUSTOM) as client:
        client.sendall(b"first words")
        client.shutdown(socket.SHUT_WR)
        time.sleep(0.5)
        assert text(client, 1 << 30) == data  # and its end, long before any time-out


@pytest.mark.parametrize("tls", [False, True])
def test_the_client_goes_on_after_the_endpoints_end(running: Running, raw: Raw, tls: bool) -> None:
    """What it sent last is waiting, unread, when the client's own end arrives."""
    received: list[bytes] = []
    done = threading.Event()

    def script(end: socket.socket) -> None:
        end.sendall(b"last words")
        end.shutdown(socket.SHUT_WR)
        time.sleep(0.5)
        received.append(text(end, 1 << 30))
        done.set()

    raw.script = script
    data = os.urandom(8_000_000)
    with open_raw(running, tls=tls, head=CUSTOM) as client:
        assert text(client, 1000) == b"last words"
        client.sendall(data)
    assert done.wait(20)
    assert len(received[0]) == len(data)  # which says more than a difference of megabytes
    assert hashlib.sha256(received[0]).digest() == hashlib.sha256(data).digest()


def in_kernel(port: int) -> int:
    """Bytes on their way to the server at a port which the kernel has taken and not given away."""
    total = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if int(remote[9:], 16) == port:
            total += int(queues[:8], 16)
        elif int(local[9:], 16) == port:
            total += int(queues[9:], 16)
    return total


@pytest.mark.parametrize("ended", [False, True], ids=["", "endpoint ended"])
@pytest.mark.parametrize("tls", [False, True])
def test_a_client_that_leaves_while_its_bytes_wait(
    running: Running, raw: Raw, tls: bool, ended: bool
) -> None:
    """Its end is seen while the proxy still holds what the endpoint's socket did not take."""
    received: list[bytes] = []
    reading, done = threading.Event(), threading.Event()

    def script(end: socket.socket) -> None:
        if ended:
            end.shutdown(socket.SHUT_WR)
        assert reading.wait(60)  # filling the kernel's buffers takes a busy machine its time
        received.append(text(end, 1 << 30))
        done.set()

    raw.script = script
    sent, piece = b"", os.urandom(20000)
    with open_raw(running, tls=tls, head=CUSTOM) as client:
        if ended:
            assert client.recv(1) == b""  # closing with something unread would be a reset
        taken, same = 0, 0
        while same < 2 or taken < 1 << 18:  # until the kernel takes no more for the endpoint
            client.sendall(piece)
            sent += piece
            time.sleep(0.01)
            before, taken = taken, in_kernel(raw.port)
            same = same + 1 if taken == before else 0
    time.sleep(0.2)
    reading.set()
    assert done.wait(20)
    assert len(received[0]) == len(sent)
    assert received[0] == sent


def memory(running: Running) -> int:
    """Bytes of all processes of the proxy."""
    total = 0
    for pid in [running.proxy.pid, *running.proxy.children()]:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_Dirty:"):
                total += int(line.split()[1]) * 1024
    return total


@pytest.mark.parametrize("tls", [False, True])
def test_a_slow_reader_stops_the_sender(running: Running, raw: Raw, tls: bool) -> None:
    size = 64 << 20
    sent = threading.Event()

    def script(end: socket.socket) -> None:
        end.sendall(b"x" * size)
        sent.set()
        end.recv(1)

    raw.script = script
    before = memory(running)
    with open_raw(running, tls=tls, head=CUSTOM) as client:
        assert not sent.wait(1.0)
        if not SANITIZED:  # whose allocator keeps what is freed
            assert memory(running) - before < 2 << 20
        received = 0
        while received < size:
            received += len(client.recv(1 << 20))
        assert sent.wait(10)


def test_an_answer_that_is_no_101_is_an_answer(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.ports["http"]), 10) as client:
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: plain.test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
        )
        status = client.recv(65536).split(b"\r\n", 1)[0]
    assert status.startswith(b"HTTP/1.1 4")


def head_of_answer(running: Running, data: bytes) -> tuple[socket.socket, list[str]]:
    client = socket.create_connection(("127.0.0.1", running.ports["http"]), 10)
    client.sendall(data)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        piece = client.recv(1)
        assert piece, answer
        answer += piece
    return client, answer.decode().split("\r\n")


# of the handshake, what of it arrives; FIX 33: the client's address is told, as for any request
ARRIVING = [
    ([], ["X-Forwarded-For: 127.0.0.1", "X-Real-Ip: 127.0.0.1", "X-Forwarded-Host: raw.test"]),
    (["X-Forwarded-For: 192.0.2.9"], ["X-Forwarded-For: 192.0.2.9, 127.0.0.1"]),
    (["Cookie: a=b", "Origin: http://o.test"], ["Cookie: a=b", "Origin: http://o.test"]),
    (["Sec-WebSocket-Protocol: chat, x"], ["Sec-WebSocket-Protocol: chat, x"]),
    (["Connection: X-One", "X-One: 1"], ["Connection: Upgrade", "Upgrade: websocket"]),
]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(("lines", "arriving"), ARRIVING)
def test_what_arrives_of_a_handshake(running, raw, tls, lines, arriving) -> None:
    raw.script = lambda end: None
    head = HANDSHAKE[:-2] + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"
    open_raw(running, tls=tls, head=head).close()
    arrived = raw.heads[-1].decode().split("\r\n")
    scheme = "https" if tls else "http"
    assert {*arriving, f"X-Forwarded-Proto: {scheme}"} <= set(arrived)
    assert not any(line.startswith("X-One") for line in arrived)


def test_a_tunnel_counts_as_a_connection_until_it_ends(running: Running, raw: Raw) -> None:
    raw.script = lambda end: text(end, 1 << 30) and None
    head = CUSTOM.replace(b"raw.test", b"limited.test")

    def status() -> str:
        client, lines = head_of_answer(running, head)
        client.close()
        return lines[0].split()[1]

    tunnel, lines = head_of_answer(running, head)
    assert lines[0].startswith("HTTP/1.1 101 ")
    assert [status() for _ in range(3)] == ["429"] * 3
    tunnel.close()
    assert within(5, lambda: status() == "101")


@pytest.mark.parametrize("head", [HANDSHAKE, CUSTOM])
def test_a_tunnel_keeps_to_its_endpoint(running: Running, raw: Raw, head: bytes) -> None:
    """The cookie comes with the 101; headers of the route do not."""
    raw.script = lambda end: None
    head = head.replace(b"raw.test", b"sticky.test")
    client, lines = head_of_answer(running, head)
    client.close()
    cookie = f"srv=http://127.0.0.1:{raw.port}"
    assert f"Set-Cookie: {cookie}; Path=/" in lines
    assert not any(line.startswith("X-Given") for line in lines)
    client, lines = head_of_answer(running, head[:-2] + f"Cookie: {cookie}\r\n\r\n".encode())
    client.close()
    assert lines[0].startswith("HTTP/1.1 101 ")
    assert not any(line.startswith("Set-Cookie") for line in lines)


@pytest.mark.parametrize("head", [HANDSHAKE, CUSTOM])
def test_the_refusal_of_a_handshake(running: Running, raw: Raw, head: bytes) -> None:
    """Passed as it is for a WebSocket: no headers of the route, no error page, not compressed. An
    answer to another upgrade is an answer."""
    raw.refusal = b"HTTP/1.1 403 No\r\nContent-Length: 600\r\nX-A: b\r\n\r\n" + b"x" * 600
    lines = head.replace(b"raw.test", b"sticky.test")[:-2] + b"Accept-Encoding: gzip\r\n\r\n"
    client, found = head_of_answer(running, lines)
    raw.refusal = b""
    rest = text(client, 1 << 20)
    client.close()
    assert found[0] == "HTTP/1.1 403 Forbidden"
    added = [line for line in found if line.startswith(("X-Given", "X-Frame", "Content-Enc"))]
    if head is HANDSHAKE:
        assert (rest, added) == (b"x" * 600, [])
        assert "X-A: b" in found
        assert "Connection: close" in found
        assert any(line.startswith("Set-Cookie: srv=") for line in found)
    else:
        assert "X-A: b" not in found  # an error page


def test_tunnels_end_with_the_grace_time(tmp_path: Path, raw: Raw) -> None:
    raw.script = lambda end: end.sendall(text(end, 1 << 30))
    with started(tmp_path, raw, free_port(), free_port()) as own:
        client = open_raw(own, tls=True, head=CUSTOM)
        begin = time.monotonic()
        assert own.proxy.stop() == 0
        assert 0.9 < time.monotonic() - begin < 5
        assert text(client, 1) == b""
        client.close()


def test_nothing_is_left_open(running: Running, raw: Raw) -> None:
    raw.script = lambda end: None
    (worker, *_) = sorted(running.proxy.children(), key=lambda pid: -len(descriptors(pid)))
    before = len(descriptors(worker))
    for tls in (False, True) * 10:
        with open_raw(running, tls=tls, head=CUSTOM) as client:
            assert text(client, 1) == b""
    assert within(5, lambda: len(descriptors(worker)) <= before)


def descriptors(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/fd").iterdir())
