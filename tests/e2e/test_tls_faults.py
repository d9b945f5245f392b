"""What bad clients and bad secrets do to TLS entry points: nothing, beyond themselves."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from tests.support.listening import Listening, read_head
from tests.support.tls import AUTHORITY, client_context, client_hello, pem
from tests.support.whole import (
    Running,
    ask,
    ingress,
    origin,
    secret,
    service,
    serving,
    shown,
    within,
)

SETTINGS = """
defaultEntryPoints = ["http", "https"]
workers = 1
logLevel = "DEBUG"

[ping]
entryPoint = "http"

[limits]
tlsHandshakeTimeout = "1s"

[entryPoints.http]
address = "127.0.0.1:{http}"

[entryPoints.https]
address = "127.0.0.1:{https}"
[entryPoints.https.tls]
"""


ANSWERS = {
    b"/whole": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
    b"/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"/cut": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
}


class Answering(Listening):
    """An origin that sends one of ANSWERS and closes."""

    def serve(self, connection: socket.socket) -> None:
        head, _ = read_head(connection)
        if head:
            connection.sendall(ANSWERS[head.split()[1]])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("faults")
    with origin() as plain, closing(Answering()) as answering:
        objects = [
            *service("plain", plain),
            *service("raw", answering.port),
            ingress("raw", "raw.test", "raw"),
            secret("a", *pem(AUTHORITY.issue_cert("a.test"))),
            ingress("a", "a.test", "plain", "a"),
        ]
        with serving(folder, SETTINGS, objects, "http", "https") as made:
            yield made


def plain(running: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.ports["https"]), 10)


UNFINISHED = [b"", b"\x16", client_hello("a.test")[:100], client_hello("a.test")]


@pytest.mark.parametrize("start", UNFINISHED, ids=["nothing", "a byte", "half a hello", "a hello"])
def test_a_handshake_has_a_deadline(running: Running, start: bytes) -> None:
    begin = time.monotonic()
    with plain(running) as client:
        client.sendall(start)
        # A hello is answered, then comes the end: hard if something was left unread.
        with suppress(ConnectionResetError):
            while client.recv(65536):
                pass
    assert 0.9 < time.monotonic() - begin < 6


def test_bytes_do_not_extend_the_deadline(running: Running) -> None:
    begin = time.monotonic()
    with plain(running) as client:
        try:
            for byte in client_hello("a.test"):
                client.send(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            pass
    assert 0.9 < time.monotonic() - begin < 6


def test_a_handshake_byte_by_byte(running: Running) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(incoming, outgoing, server_hostname="a.test")
    with plain(running) as end:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(10):
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    end.send(bytes([byte]))
                incoming.write(end.recv(65536))
            else:
                break
        client.write(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        for byte in outgoing.read():
            end.send(bytes([byte]))
        while data := end.recv(65536):
            incoming.write(data)
        assert client.read().startswith(b"HTTP/1.1 200")


def test_refusals_are_told_to_those_who_debug(running: Running) -> None:
    with plain(running) as client:
        client.sendall(b"\x16\x03\x01\x00\x05hello")
        client.recv(100)
    expected = "TLS with client 127.0.0.1 failed: "
    assert within(5, lambda: expected in running.proxy.log.read_text())


def test_clients_that_vanish(running: Running) -> None:
    for moment in range(3):
        for _ in range(50):
            client = plain(running)
            if moment:
                client.sendall(client_hello("a.test"))
            if moment == 2:
                client.recv(100)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
    assert running.get("a.test")[0] == 200


def test_a_cut_response_does_not_end_like_a_whole_one(running: Running) -> None:
    """A client that stops reading in the middle costs its connection only."""
    for _ in range(10):
        with running.connect("a.test") as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Size: 5000000\r\n\r\n")
            client.recv(1000)
    assert running.get("a.test")[0] == 200


@pytest.mark.parametrize(("path", "clean"), [("/whole", True), ("/chunked", True), ("/cut", False)])
def test_only_a_whole_response_ends_with_close_notify(
    running: Running, path: str, clean: bool
) -> None:
    context = client_context(verify=False)
    with context.wrap_socket(
        plain(running), server_hostname="raw.test", suppress_ragged_eofs=False
    ) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\nHost: raw.test\r\n\r\n".encode())
        answer = b""
        try:
            while data := client.recv(65536):
                answer += data
        except (ssl.SSLError, ConnectionResetError):
            assert not clean
        else:
            assert clean
            assert answer.endswith(b"\r\n\r\nhello")


def test_requests_while_certificates_change(running: Running) -> None:
    """Twenty new certificates under load: every request and every handshake succeeds."""
    failures: list[BaseException] = []
    ending = threading.Event()

    def work(keep: bool) -> None:
        context = client_context()
        try:
            while not ending.is_set():
                with running.connect("a.test", context=context) as client:
                    for _ in range(20 if keep else 1):
                        assert ask(client, "a.test")[0] == 200
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(keep,)) for keep in (True, False)]
    for thread in threads:
        thread.start()
    for number in range(20):
        running.replace(secret("a", *pem(AUTHORITY.issue_cert("a.test", f"v{number}.test"))))
        time.sleep(0.1)

    def last_is_shown() -> bool:
        with running.connect("a.test") as client:
            return "v19.test" in shown(client)

    assert within(15, last_is_shown)
    ending.set()
    for thread in threads:
        thread.join()
    assert failures == []
