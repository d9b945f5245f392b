"""How messages end over TLS, through the whole program: endpoints' close_notify, and what a client
whose handshake fails can read of the reason."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import trustme

from tests.support.listening import Listening
from tests.support.tls import AUTHORITY, client_context, client_hello, pem, server_context
from tests.support.whole import Running, ingress, secret, service, serving

CLIENTS = trustme.CA()
SETTINGS = """
defaultEntryPoints = ["http", "https"]
workers = 1
rootCAs = ["{folder}/roots.pem"]

[entryPoints.http]
address = "127.0.0.1:{http}"

[entryPoints.https]
address = "127.0.0.1:{https}"
[entryPoints.https.tls]
sniStrict = true

[entryPoints.mutual]
address = "127.0.0.1:{mutual}"
[entryPoints.mutual.tls]
[entryPoints.mutual.tls.clientCA]
files = ["{folder}/clients.pem"]
"""
BODY = b"x" * 100_000


class Ending(Listening):
    """An https endpoint that answers without length; the path says how it ends."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context.wrap_bio(incoming, outgoing, server_side=True)
        head = b""
        while b"\r\n\r\n" not in head:
            with suppress(ssl.SSLWantReadError):
                head += tls.read(65536)
            connection.sendall(outgoing.read())
            if b"\r\n\r\n" not in head:
                data = connection.recv(65536)
                if not data:
                    return
                incoming.write(data)
        tls.write(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)
        whole = outgoing.read()
        with suppress(ssl.SSLWantReadError):
            tls.unwrap()
        notify = outgoing.read()
        way = head.split()[1]
        if way == b"/together":
            connection.sendall(whole + notify)
        elif way == b"/apart":
            connection.sendall(whole)
            connection.sendall(notify)
        elif way == b"/waiting":  # for the proxy's end
            connection.sendall(whole + notify)
            while connection.recv(65536):
                pass
        elif way == b"/without":
            connection.sendall(whole)
        elif way == b"/cut":
            connection.sendall(whole[:-1])
        elif way == b"/half-notify":
            connection.sendall(whole + notify[:-1])


@pytest.fixture(scope="module", params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def running(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("ends")
    (folder / "roots.pem").write_bytes(AUTHORITY.cert_pem.bytes())
    (folder / "clients.pem").write_bytes(CLIENTS.cert_pem.bytes())
    context = server_context(AUTHORITY.issue_cert("127.0.0.1"))
    context.maximum_version = request.param
    with closing(Ending(context)) as ending:
        objects = [
            *service("ending", ending.port),
            ingress("ending", "ending.test", "ending", protocol="https"),
            secret("a", *pem(AUTHORITY.issue_cert("a.test"))),
            ingress("a", "a.test", "ending", "a", protocol="https"),
        ]
        with serving(folder, SETTINGS, objects, "http", "https", "mutual") as made:
            yield made


def until_end(client: socket.socket) -> bytes:
    """Everything up to a clean end; a reset is an error."""
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data


@pytest.mark.parametrize("way", ["together", "apart", "waiting", "without"])
def test_a_whole_response_without_length(running: Running, way: str) -> None:
    for version, end in (("1.0", BODY), ("1.1", b"\r\n0\r\n\r\n")):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", running.ports["http"]), 10) as client:
                head = (
                    f"GET /{way} HTTP/{version}\r\nHost: ending.test\r\nConnection: close\r\n\r\n"
                )
                client.sendall(head.encode())
                answer = until_end(client)
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.endswith(end)


@pytest.mark.parametrize("way", ["cut", "half-notify"])
def test_a_response_without_length_that_is_cut(running: Running, way: str) -> None:
    for version in ("1.0", "1.1"):
        with socket.create_connection(("127.0.0.1", running.ports["http"]), 10) as client:
            client.sendall(f"GET /{way} HTTP/{version}\r\nHost: ending.test\r\n\r\n".encode())
            with suppress(ConnectionResetError):
                answer = until_end(client)
                assert version == "1.1"  # where a missing last chunk says so
                assert not answer.endswith(b"0\r\n\r\n")


PLAIN = {
    "a head": [b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"],
    "half a head": [b"GET / HTTP/1.1\r\n"],
    "five bytes": [b"GET /"],
    "a body": [b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 30000\r\n\r\n" + b"x" * 30000],
    "a body behind": [b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\n", b"x" * 9],
    "HEAD": [b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n"],
    "PUT": [b"PUT / HTTP/1.1\r\nHost: a.test\r\n\r\n"],
}


@pytest.mark.parametrize("half", [False, True], ids=["", "half closed"])
@pytest.mark.parametrize("pieces", PLAIN.values(), ids=PLAIN)
def test_plain_http_is_told_so_and_not_reset(
    running: Running, pieces: list[bytes], half: bool
) -> None:
    with socket.create_connection(("127.0.0.1", running.ports["https"]), 10) as client:
        for piece in pieces:
            client.sendall(piece)
        if half:
            client.shutdown(socket.SHUT_WR)
        answer = until_end(client)
    assert answer == (
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    )


def alert(data: bytes) -> int:
    """The description in a plaintext alert record."""
    assert (data[0], len(data)) == (21, 7)
    return data[6]


REFUSED = {
    "a name without certificate": (client_hello("b.test"), 112),
    "a broken hello": (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", 50),
    "another message first": (b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00", 10),
}


@pytest.mark.parametrize(("hello", "expected"), REFUSED.values(), ids=REFUSED)
def test_an_alert_is_read_whatever_came_behind(
    running: Running, hello: bytes, expected: int
) -> None:
    """Bytes that nobody reads would reset the connection before the client has read the alert."""
    with socket.create_connection(("127.0.0.1", running.ports["https"]), 10) as client:
        client.sendall(hello + b"?" * 3000)
        assert alert(until_end(client)) == expected


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_missing_client_certificate_is_told(running: Running, most: ssl.TLSVersion) -> None:
    """Also to a client that has sent its request with the last message of the handshake."""
    context = client_context(verify=False)
    context.maximum_version = most
    said = "(?i)certificate[ _]required|handshake[ _]failure"
    with (
        socket.create_connection(("127.0.0.1", running.ports["mutual"]), 10) as plain,
        pytest.raises(ssl.SSLError, match=said),
        context.wrap_socket(plain, server_hostname="a.test") as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n" + b"x" * 20_000)
        client.recv(100)
