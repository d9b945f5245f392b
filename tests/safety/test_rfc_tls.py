"""What RFC 7301 3 (ALPN) and RFC 6066 3 (server names) oblige both ends of a connection to: a
row for each MUST and SHALL, as `test_rfc.py` has for RFC 9110 and 9112.

ClientHellos are written byte by byte, because no TLS library sends what is forbidden; what is
answered is read from the records. The other end is ours, over a real socket.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import pytest

from fastproxy.engine.tls.certificates import ServerCertificate
from fastproxy.engine.tls.client import ClientContext
from fastproxy.engine.tls.server import ServerContext
from fastproxy.settings.tls_options import PemPair, TlsOptions, self_signed
from tests.native.tls_probe import Probe
from tests.support.tls import (
    AUTHORITY,
    ROOTS,
    Peer,
    client_context,
    close,
    loaded,
    server_context,
    shake,
    socket_pair,
    take,
)

SERVER_NAME, ALPN = 0, 16  # extensions
UNRECOGNIZED_NAME, NO_APPLICATION_PROTOCOL = 112, 120  # alerts
MALFORMED = (47, 50)  # illegal_parameter, decode_error
CERTIFICATES = (loaded("a.example.com"), loaded("192.0.2.7", "2001:db8::7"))


def listening(**options: object) -> ServerContext:
    pair = PemPair(*(part.decode() for part in self_signed()))
    options.setdefault("protocols", (b"http/1.1",))
    made = ServerContext(TlsOptions(default_certificate=pair, **options))  # type: ignore[arg-type]
    made.activate(made.prepare([ServerCertificate(value) for value in CERTIFICATES]))
    return made


# --- bytes -----------------------------------------------------------------------------------


def sized(data: bytes, width: int = 2) -> bytes:
    return len(data).to_bytes(width, "big") + data


def named(*names: bytes, kind: int = 0) -> bytes:
    """The content of server_name."""
    return sized(b"".join(bytes([kind]) + sized(name) for name in names))


def offering(*protocols: bytes) -> bytes:
    """The content of application_layer_protocol_negotiation."""
    return sized(b"".join(sized(protocol, 1) for protocol in protocols))


def hello(extensions: Mapping[int, bytes]) -> bytes:
    """A ClientHello of TLS 1.2 with these extensions, and those nobody can do without."""
    needed = {
        10: sized(struct.pack(">H", 23)),  # supported_groups: secp256r1
        11: sized(b"\0", 1),  # ec_point_formats: uncompressed
        13: sized(struct.pack(">HH", 0x0403, 0x0804)),  # signature_algorithms: ECDSA, RSA-PSS
    }
    listed = b"".join(
        struct.pack(">H", kind) + sized(content)
        for kind, content in {**needed, **extensions}.items()
    )
    body = b"\x03\x03" + bytes(range(32)) + sized(b"", 1)
    body += sized(struct.pack(">HH", 0xC02B, 0xC02F)) + sized(b"\0", 1) + sized(listed)
    return b"\x16\x03\x01" + sized(b"\x01" + sized(body, 3))


class Answer(NamedTuple):
    """The server's first flight; `alert` (level, description) ends it."""

    extensions: Mapping[int, bytes] | None  # of the ServerHello; None: there was none
    alert: tuple[int, int] | None
    alerts: int
    leaf: bytes = b""  # DER


def read(flight: bytes) -> Answer:
    """Records of TLS 1.2 before encryption begins."""
    messages, alerts = b"", []
    while len(flight) >= 5:
        size = int.from_bytes(flight[3:5], "big")
        if flight[0] == 22:
            messages += flight[5 : 5 + size]
        elif flight[0] == 21:
            alerts.append((flight[5], flight[6]))
        flight = flight[5 + size :]
    extensions, leaf = None, b""
    while messages:
        size = int.from_bytes(messages[1:4], "big")
        kind, body, messages = messages[0], messages[4 : 4 + size], messages[4 + size :]
        if kind == 2:
            extensions = extensions_of(body)
        elif kind == 11:
            leaf = body[6 : 6 + int.from_bytes(body[3:6], "big")]
    return Answer(extensions, alerts[-1] if alerts else None, len(alerts), leaf)


def extensions_of(server_hello: bytes) -> dict[int, bytes]:
    rest = server_hello[34:]
    rest = rest[1 + rest[0] + 3 :]  # session, cipher suite, compression
    listed, found = rest[2:], dict[int, bytes]()
    while listed:
        kind, size = struct.unpack(">HH", listed[:4])
        assert kind not in found
        found[kind], listed = listed[4 : 4 + size], listed[4 + size :]
    return found


def answer(extensions: Mapping[int, bytes], server: ServerContext) -> Answer:
    client, ours = socket_pair()
    try:
        client.send(hello(extensions))
        probe = Probe(ours, server)
        probe.handshake()
        flight = b""
        with suppress(BlockingIOError):
            flight = client.recv(65536)
        return read(flight)
    finally:
        close(client, ours)


# --- RFC 7301 --------------------------------------------------------------------------------

OFFERS = [
    # section, what it obliges to, offered, ours, what is chosen or the alerts that are right
    ("3.1", "who offers nothing is told nothing", None, (b"http/1.1",), b""),
    ("3.1", "the answer holds exactly one of the protocols offered",
     offering(b"spdy/3", b"http/1.1", b"http/1.0"), (b"http/1.1",), b"http/1.1"),
    ("3.1", "names are compared as bytes, as a whole",
     offering(b"HTTP/1.1", b"http/1", b"http/1.1x"), (b"http/1.1",), (NO_APPLICATION_PROTOCOL,)),
    ("3.1", "a list must hold a name", sized(b""), (b"http/1.1",), MALFORMED),
    ("3.1", "an empty name is malformed", offering(b"", b"http/1.1"), (b"http/1.1",), MALFORMED),
    ("3.1", "a name that is cut off is malformed", sized(b"\x09http/1.1"), (b"http/1.1",),
     MALFORMED),
    ("3.1", "bytes behind the list are malformed", offering(b"http/1.1") + b"\0", (b"http/1.1",),
     MALFORMED),
    ("3.2", "the server's order decides",
     offering(b"http/1.1", b"h2"), (b"h2", b"http/1.1"), b"h2"),
    ("3.2", "without a common protocol: the fatal alert no_application_protocol",
     offering(b"h2", b"imap"), (b"http/1.1",), (NO_APPLICATION_PROTOCOL,)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("section", "must", "offered", "ours", "right"), OFFERS, ids=[row[1] for row in OFFERS]
)
def test_application_protocols(
    section: str,
    must: str,
    offered: bytes | None,
    ours: tuple[bytes, ...],
    right: bytes | tuple[int, ...],
) -> None:
    extensions = {} if offered is None else {ALPN: offered}
    found = answer(extensions, listening(protocols=ours))
    if isinstance(right, tuple):
        assert found.extensions is None
        assert found.alert in [(2, alert) for alert in right]
    else:
        assert found.alert is None and found.extensions is not None
        assert found.extensions.get(ALPN, b"") == (offering(right) if right else b"")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_each_handshake_chooses_anew_whatever_is_resumed(version: ssl.TLSVersion) -> None:
    """RFC 7301 3.1: when a session is resumed, only what the new handshake offers counts."""
    server = listening(protocols=(b"h2", b"http/1.1"))
    foreign = client_context()
    foreign.maximum_version = version
    session, chosen = None, []
    for offered in (["h2"], ["http/1.1"], []):
        foreign.set_alpn_protocols(offered)
        client, probe = shaken(server, foreign, "a.example.com", session)
        chosen.append((probe.protocol, probe.resumed))
        session = session or client.tls.session
        assert (client.tls.selected_alpn_protocol() or "").encode() == probe.protocol
    assert chosen[0] == (b"h2", False)
    assert chosen[1] == (b"http/1.1", True)
    assert chosen[2][1] is True


def shaken(
    server: ServerContext, foreign: ssl.SSLContext, name: str, session: ssl.SSLSession | None
) -> tuple[Peer, Probe]:
    one, other = socket_pair()
    client = Peer(one, foreign, name)
    if session is not None:
        client.tls.session = session
    probe = Probe(other, server)
    assert shake(client, probe) == ("done", "done")
    probe.write(b"x")
    assert take(client, 1) == b"x"  # the ticket of TLS 1.3 came before it
    return client, probe


# --- RFC 6066 --------------------------------------------------------------------------------

DEFAULT = "default"
NAMES = [
    # what RFC 6066 3 obliges to, server_name, strict, the certificate shown or the alerts
    ("a name that is known is answered by an empty extension", named(b"a.example.com"), False,
     "a.example.com"),
    ("names are compared without case", named(b"A.EXAMPLE.com"), True, "a.example.com"),
    ("names have no dot at their end; one that comes all the same is the same name",
     named(b"a.example.com."), True, "a.example.com"),
    ("an unknown name: goes on without a warning", named(b"unknown.example.com"), False, DEFAULT),
    ("an unknown name: or the fatal alert unrecognized_name", named(b"unknown.example.com"), True,
     (UNRECOGNIZED_NAME,)),
    ("no literal IPv4 address is a host name: only a certificate for the address answers it",
     named(b"192.0.2.7"), True, "192.0.2.7"),
    ("no literal IPv6 address is a host name: only a certificate for the address answers it",
     named(b"2001:db8::7"), True, "192.0.2.7"),
    ("no literal address is a host name: of no certificate, refused when strict",
     named(b"192.0.2.8"), True, (UNRECOGNIZED_NAME,)),
    ("no literal address is a host name: of no certificate, goes on otherwise",
     named(b"192.0.2.8"), False, DEFAULT),
    ("not two names of one type", named(b"a.example.com", b"b.example.com"), False, MALFORMED),
    ("a list holds a name", sized(b""), False, MALFORMED),
    ("an empty name is none", named(b""), False, DEFAULT),
    ("a name holds no NUL", named(b"a.example.com\0.evil.example"), False,
     (*MALFORMED, UNRECOGNIZED_NAME)),
    ("a name that is cut off is malformed", sized(b"\0\x00\x20a.example.com"), False, MALFORMED),
    ("a name is at most 255 bytes", named(b"a" * 256), False, (*MALFORMED, UNRECOGNIZED_NAME)),
]  # fmt: skip


@pytest.mark.parametrize(("must", "asked", "strict", "right"), NAMES, ids=[row[0] for row in NAMES])
def test_server_names(must: str, asked: bytes, strict: bool, right: str | tuple[int, ...]) -> None:
    found = answer({SERVER_NAME: asked}, listening(sni_strict=strict))
    if isinstance(right, tuple):
        assert found.extensions is None
        assert found.alert in [(2, alert) for alert in right]
        return
    assert found.extensions is not None
    assert found.alerts == 0  # unrecognized_name as a warning is not recommended
    shown = [c.names for c in CERTIFICATES if leaf_of(c.chain) == found.leaf]
    if right == DEFAULT:
        assert shown == []
    else:
        assert right in shown[0]
        assert found.extensions[SERVER_NAME] == b""


def leaf_of(chain: bytes) -> bytes:
    end = b"-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert((chain.split(end)[0] + end).decode())


def test_who_names_nobody_is_told_nothing_of_names() -> None:
    found = answer({}, listening())
    assert found.extensions is not None and SERVER_NAME not in found.extensions


RESUMED = [
    # name of the session, name asked for (no address is sent), resumed, is the name answered
    ("a.example.com", "a.example.com", True, False),
    ("a.example.com", "other.example.com", False, True),
    ("a.example.com", "192.0.2.7", False, False),
    ("192.0.2.7", "a.example.com", False, True),
]


@pytest.mark.parametrize(("first", "second", "resumed", "told"), RESUMED)
def test_a_session_is_resumed_for_its_own_name(
    first: str, second: str, resumed: bool, told: bool
) -> None:
    """RFC 6066 3: MUST NOT accept it with another name, and proceeds with a full handshake. A
    resumed one MUST NOT be answered by server_name."""
    server, foreign = listening(), client_context(verify=False)
    foreign.maximum_version = ssl.TLSVersion.TLSv1_2
    client, _ = shaken(server, foreign, first, None)
    one, other = socket_pair()
    wire = one.dup()  # `ssl` takes the other one over
    again = Peer(one, foreign, second)
    again.tls.session = client.tls.session
    probe = Probe(other, server)
    again.handshake()
    probe.handshake()
    flight = wire.recv(65536, socket.MSG_PEEK)
    assert shake(again, probe) == ("done", "done")
    assert probe.resumed is resumed
    found = read(flight[: flight.find(b"\x14\x03\x03") if resumed else None]).extensions
    assert found is not None
    assert (SERVER_NAME in found) is told
    close(wire, other)


ASKED = [
    # what the endpoint is called, the name we ask it for
    ("pod.example.com", "pod.example.com"),
    ("pod.example.com.", "pod.example.com"),  # no dot at the end
    ("127.0.0.1", None),  # no address
    ("::1", None),
]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("name", "told"), ASKED)
def test_the_names_we_ask_endpoints_for(
    name: str, told: str | None, version: ssl.TLSVersion
) -> None:
    """The same name again when a session is resumed."""
    client = ClientContext(ROOTS, sessions=16)
    backend = server_context(AUTHORITY.issue_cert("pod.example.com", "127.0.0.1", "::1"))
    backend.maximum_version = version
    heard: list[str | None] = []
    backend.sni_callback = lambda _, asked, __: heard.append(asked)
    resumed = []
    for _ in range(2):
        one, other = socket_pair()
        probe, peer = Probe(one, client, name, 7), Peer(other, backend, server=True)
        assert shake(probe, peer) == ("done", "done")
        peer.write(b"x")
        assert take(probe, 1) == b"x"
        resumed.append(probe.resumed)
    assert (heard, resumed) == ([told, told], [False, True])
