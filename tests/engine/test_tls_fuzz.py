"""Damaged handshakes, records and PEM texts: refused or served, and nothing else happens."""

from __future__ import annotations

import ssl
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.engine.tls.certificates import ServerCertificate, load_certificate
from fastproxy.engine.tls.client import ClientContext
from fastproxy.engine.tls.server import ServerContext
from fastproxy.settings.tls_options import TlsOptions
from tests.native.tls_probe import Probe
from tests.support.sanitized import fuzz
from tests.support.tls import (
    AUTHORITY,
    client_context,
    client_hello,
    pem,
    served,
    server_context,
    shake,
    socket_pair,
)

LEAF = AUTHORITY.issue_cert("a.example.com", "*.b.example.com", "10.1.2.3")
CHAIN, KEY = pem(LEAF)
SERVER = ServerContext(TlsOptions(sni_strict=True, protocols=(b"h2", b"http/1.1")))
SERVER.activate(SERVER.prepare([served("a.example.com")]))
CLIENT = ClientContext(insecure=True)
HELLO = client_hello("a.example.com")
EDITS = st.lists(
    st.tuples(st.integers(0, 2000), st.integers(0, 4), st.binary(max_size=4)), max_size=4
)

Edit = tuple[int, int, bytes]


def damaged(data: bytes, edits: list[Edit]) -> bytes:
    """`size` bytes at each place replaced by others."""
    for place, size, text in edits:
        at = place % (len(data) + 1)
        data = data[:at] + text + data[at + size :]
    return data


@fuzz(150)
@given(EDITS, st.integers(0, 600))
def test_client_hellos(edits: list[Edit], at: int) -> None:
    one, other = socket_pair()
    with one, other:
        probe = Probe(other, SERVER)
        sent = damaged(HELLO, edits)
        for piece in (sent[:at], sent[at:]):
            with suppress(BrokenPipeError, ConnectionResetError):
                one.send(piece)
            result = probe.handshake()
            assert result in ("want read", "failed")
            assert result == "want read" or (probe.failure and probe.error.isprintable())


@fuzz(100)
@given(EDITS, st.integers(0, 3), st.booleans())
def test_a_flight_that_is_damaged_on_its_way(edits: list[Edit], turn: int, serving: bool) -> None:
    """Bytes between a foreign peer and us, on either side, are changed once."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    one, other = socket_pair()
    with one, other:
        if serving:
            peer = client_context().wrap_bio(incoming, outgoing, server_hostname="a.example.com")
            probe = Probe(other, SERVER)
        else:
            peer = server_context(LEAF).wrap_bio(incoming, outgoing, server_side=True)
            probe = Probe(other, CLIENT, "a.example.com")
        for step in range(6):
            with suppress(OSError):  # of any kind: Python 3.13 shows errno of another call
                peer.do_handshake()
                peer.write(b"data")
            flight = outgoing.read()
            with suppress(OSError):
                one.send(damaged(flight, edits) if step == turn else flight)
            if probe.handshake() == "done":
                assert isinstance(probe.read(), (bytes, str))
            with suppress(BlockingIOError, ConnectionResetError):
                incoming.write(one.recv(65536))
        assert not probe.failure or probe.error
    one, other = socket_pair()
    with one, other:  # nobody else is concerned
        good = Probe(one, CLIENT, "a.example.com"), Probe(other, SERVER)
        assert shake(*good) == ("done", "done")


@fuzz(100)
@given(EDITS, st.booleans())
def test_pem_texts(edits: list[Edit], of_key: bool) -> None:
    """Secrets come from everybody who may write them."""
    chain = CHAIN if of_key else damaged(CHAIN, edits)
    key = damaged(KEY, edits) if of_key else KEY
    try:
        certificate = ServerCertificate(load_certificate("ns/secret", chain, key))
    except ValueError as refusal:
        assert str(refusal)
        assert KEY[40:60].decode() not in str(refusal)
    else:
        assert all(name == name.lower() for name in certificate.names)
