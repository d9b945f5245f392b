"""How a stream ends, byte for byte: with close_notify, without, and in the middle of a record.

What OpenSSL tells about its own place in the stream differs between 3.0 and 3.5, so every way is
tried on either side, in both versions of TLS, and however the bytes arrive.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

import pytest

from fastproxy.engine.tls.client import ClientContext
from fastproxy.engine.tls.server import ServerContext
from fastproxy.settings.tls_options import TlsOptions
from tests.native.tls_probe import Probe
from tests.support.tls import AUTHORITY, client_context, served, server_context, socket_pair

NAME = "a.example.com"
SERVER = ServerContext(TlsOptions())
SERVER.activate(SERVER.prepare([served(NAME)]))
CLIENT = ClientContext(insecure=True)
FOREIGN_SERVER = server_context(AUTHORITY.issue_cert(NAME))
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Foreign:
    """Python's `ssl`, whose records can be had before they are sent."""

    def __init__(self, end: socket.socket, context: ssl.SSLContext, *, server: bool) -> None:
        self.end = end
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server, server_hostname=None
        )

    def turn(self) -> bool:
        """Take part in the handshake; whether it is complete here."""
        with suppress(BlockingIOError):
            self.incoming.write(self.end.recv(65536))
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            return True
        return False

    def send(self) -> None:
        self.end.sendall(self.outgoing.read())

    def record(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()

    def notify(self) -> bytes:
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()


def pair(we_serve: bool, version: ssl.TLSVersion) -> tuple[Probe, Foreign]:
    """Our end and the foreign one after the handshake."""
    context = client_context(verify=False) if we_serve else FOREIGN_SERVER
    one, other = socket_pair()
    context.maximum_version = version
    foreign = Foreign(one, context, server=not we_serve)
    probe = Probe(other, SERVER if we_serve else CLIENT, NAME)
    ours, theirs = "", False
    for _ in range(20):
        theirs = foreign.turn() or theirs
        foreign.send()
        if ours != "done":
            ours = probe.handshake()
        if ours == "done" and theirs:
            break
    assert (ours, theirs) == ("done", True)
    with suppress(BlockingIOError):
        one.recv(65536)  # tickets: unread bytes would make a reset
    assert probe.read() == "want read"
    return probe, foreign


both_sides = pytest.mark.parametrize("we_serve", [True, False], ids=["server", "client"])
both_versions = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])

CLEAN = {
    "alone": lambda data, notify: [notify],
    "apart": lambda data, notify: [data, notify],
    "together": lambda data, notify: [data + notify],
    "end behind": lambda data, notify: [data + notify, b""],
    "end behind alone": lambda data, notify: [notify, b""],
    "byte by byte": lambda data, notify: [data, *(bytes([byte]) for byte in notify), b""],
    "header apart": lambda data, notify: [data + notify[:5], notify[5:]],
    "more behind": lambda data, notify: [data + notify + b"\x17\x03\x03\x00\x20?"],  # RFC 8446 6.1
}


@both_sides
@both_versions
@pytest.mark.parametrize("way", CLEAN)
def test_close_notify_is_an_end(we_serve: bool, version: ssl.TLSVersion, way: str) -> None:
    probe, foreign = pair(we_serve, version)
    data = b"" if "alone" in way else foreign.record(b"last")
    notify = foreign.notify()
    read: list[object] = []
    for piece in CLEAN[way](data, notify):
        if piece:
            foreign.end.sendall(piece)
        else:
            foreign.end.shutdown(socket.SHUT_WR)
        while (result := probe.read()) not in ("want read", "closed", "failed"):
            read.append(result)
    assert read == ([b"last"] if data else [])
    assert (result, probe.failure) == ("closed", "")
    assert probe.read() == "closed"
    assert probe.write(b"still possible") == 14
    assert probe.shutdown() == "done"


@both_sides
@both_versions
def test_an_end_between_two_records(we_serve: bool, version: ssl.TLSVersion) -> None:
    """Many endpoints close without close_notify; a client that does so is gone."""
    probe, foreign = pair(we_serve, version)
    for size in (1, 16384, 70000):
        foreign.end.sendall(foreign.record(b"x" * size))
        read = b""
        while len(read) < size:
            piece = probe.read()
            assert isinstance(piece, bytes)
            read += piece
    foreign.end.shutdown(socket.SHUT_WR)
    expected = ("failed", "truncated") if we_serve else ("closed", "")
    for _ in range(2):
        assert (probe.read(), probe.failure) == expected


@both_sides
@both_versions
@pytest.mark.parametrize("kept", [1, 2, 3, 4, 5, 6, 20, -1])
@pytest.mark.parametrize("kind", ["data", "close_notify", "behind data"])
def test_an_end_inside_a_record(
    we_serve: bool, version: ssl.TLSVersion, kept: int, kind: str
) -> None:
    probe, foreign = pair(we_serve, version)
    before = foreign.record(b"before") if kind == "behind data" else b""
    cut = foreign.notify() if kind == "close_notify" else foreign.record(b"y" * 300)
    foreign.end.sendall(before + cut[:kept])
    foreign.end.shutdown(socket.SHUT_WR)
    if before:
        assert probe.read() == b"before"
    for _ in range(2):
        assert (probe.read(), probe.failure) == ("failed", "truncated")
    assert probe.error == "closed in the middle of a record"


FAILED = {
    "no TLS": b"\xff" * 100,
    "a broken record": b"\x16\x03\x01\x00\x05hello",
    "plain HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "plain HTTP with much behind": b"POST / HTTP/1.1\r\n\r\n" + b"x" * 60000,
}


@pytest.mark.parametrize("data", FAILED.values(), ids=FAILED)
@both_sides
def test_a_failure_stays_one(we_serve: bool, data: bytes) -> None:
    """Whatever is asked, however often, and whether more arrives or the peer ends."""
    one, other = socket_pair()
    probe = Probe(other, SERVER if we_serve else CLIENT, NAME)
    probe.handshake()
    one.sendall(data)
    assert probe.handshake() == "failed"
    failure, error = probe.failure, probe.error
    assert failure
    one.sendall(data)
    for call in (probe.handshake, probe.read, lambda: probe.write(b"x")) * 2:
        assert call() == "failed"
        assert (probe.failure, probe.error) == (failure, error)
        one.shutdown(socket.SHUT_WR)
