"""The PROXY protocol header, byte for byte: what is taken, what is awaited, what is refused.

How entry points use it stands in tests/e2e/test_options.py.
"""

from __future__ import annotations

import array
import fcntl
import ipaddress
import select
import socket
import struct
import termios
from itertools import pairwise

import pytest

from tests.native.parts_probe import read_proxy_header
from tests.support.processes import wait_until
from tests.support.tls import socket_pair

PEER = b"\0" * 10 + b"\xff\xff" + bytes([127, 0, 0, 1])
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
BEHIND = b"GET / HTTP/1.1\r\n"
CLOSE = None


def v2(command: int, family: int, addresses: bytes, version: int = 2, size: int = -1) -> bytes:
    length = len(addresses) if size < 0 else size
    return (
        SIGNATURE + bytes([version << 4 | command, family]) + struct.pack(">H", length) + addresses
    )


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + struct.pack(">H", len(value)) + value


FOUR = bytes([192, 0, 2, 7, 127, 0, 0, 1]) + struct.pack(">HH", 5000, 80)
SIX = socket.inet_pton(socket.AF_INET6, "2001:db8::7") * 2 + struct.pack(">HH", 5000, 80)
UNIX = b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")
LOCALHOST = "127.0.0.1"

HEADERS = [
    # what stands before the request, the client's address then (None = the connection is closed)
    ("no header", b"", LOCALHOST),
    ("v1, IPv4", b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 80\r\n", "192.0.2.7"),
    ("v1, IPv6", b"PROXY TCP6 2001:db8::7 ::1 5000 80\r\n", "2001:db8::7"),
    ("v1, the longest", b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2)
     + b" 65535 65535\r\n", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("v1, an IPv6 address as IPv4", b"PROXY TCP4 2001:db8::7 ::1 5000 80\r\n", CLOSE),
    ("v1, one blank too many", b"PROXY  TCP4 192.0.2.7 127.0.0.1 5000 80\r\n", CLOSE),
    ("v1, in lower case", b"PROXY tcp4 192.0.2.7 127.0.0.1 5000 80\r\n", CLOSE),
    ("v1, UNKNOWN", b"PROXY UNKNOWN\r\n", LOCALHOST),
    ("v1, UNKNOWN with addresses to be ignored", b"PROXY UNKNOWN 192.0.2.7 ::1 1 2\r\n", LOCALHOST),
    ("v1, UNKNOWN, the longest", b"PROXY UNKNOWN " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2)
     + b" 65535 65535\r\n", LOCALHOST),
    ("v1, UNKNOWN and anything", b"PROXY UNKNOWN \0\xff  \r\n", LOCALHOST),
    ("v1, UNKNOWN, too long", b"PROXY UNKNOWN ".ljust(107) + b"\r\n", CLOSE),
    ("v1, UNKNOWN, ended by LF", b"PROXY UNKNOWN\n", CLOSE),
    ("v1, almost UNKNOWN", b"PROXY UNKNOWNS\r\n", CLOSE),
    ("v1, UNKNOWN in lower case", b"PROXY unknown\r\n", CLOSE),
    ("v1, a family that does not exist", b"PROXY TCP5 192.0.2.7 127.0.0.1 5000 80\r\n", CLOSE),
    ("v1, ended by LF", b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 80\n", CLOSE),
    ("v1, longer than 107 bytes", b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 80".ljust(106) + b"\r\n",
     CLOSE),
    ("v1, no end within 107 bytes", b"PROXY TCP4 " + b"1" * 96, CLOSE),
    ("v1, NUL in the address", b"PROXY TCP4 192.0.2.7\0 127.0.0.1 5000 80\r\n", CLOSE),
    ("v1, no destination", b"PROXY TCP4 192.0.2.7 nonsense 5000 80\r\n", CLOSE),
    ("v1, a destination of the other family", b"PROXY TCP4 192.0.2.7 ::1 5000 80\r\n", CLOSE),
    ("v1, one port", b"PROXY TCP4 192.0.2.7 127.0.0.1 5000\r\n", CLOSE),
    ("v1, three ports", b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 80 1\r\n", CLOSE),
    ("v1, ports in letters", b"PROXY TCP4 192.0.2.7 127.0.0.1 http www\r\n", CLOSE),
    ("v1, a port beyond", b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 65536\r\n", CLOSE),
    ("v1, an empty port", b"PROXY TCP4 192.0.2.7 127.0.0.1  80\r\n", CLOSE),
    ("v1, a blank at the end", b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 80 \r\n", CLOSE),
    ("v1, the largest ports", b"PROXY TCP4 192.0.2.7 127.0.0.1 65535 0\r\n", "192.0.2.7"),
    ("v2, IPv4", v2(1, 0x11, FOUR), "192.0.2.7"),
    ("v2, IPv6", v2(1, 0x21, SIX), "2001:db8::7"),
    ("v2, one TLV", v2(1, 0x11, FOUR + tlv(4, b"abc")), "192.0.2.7"),
    ("v2, several TLVs",
     v2(1, 0x21, SIX + tlv(1, b"h2") + tlv(2, b"a.test") + tlv(0x20, b"\1" * 90)), "2001:db8::7"),
    ("v2, as many TLVs as it may have", v2(1, 0x11, FOUR + bytes(2048 - len(FOUR))), "192.0.2.7"),
    ("v2, one byte more", v2(1, 0x11, FOUR + bytes(2049 - len(FOUR))), CLOSE),
    ("v2, the longest there is", v2(1, 0x11, FOUR, size=65535), CLOSE),
    ("v2, LOCAL", v2(0, 0x00, b""), LOCALHOST),
    ("v2, LOCAL with an address to be ignored", v2(0, 0x11, FOUR), LOCALHOST),
    ("v2, LOCAL with TLVs", v2(0, 0x00, tlv(4, b"x" * 500)), LOCALHOST),
    ("v2, PROXY of an unspecified family", v2(1, 0x00, b""), LOCALHOST),
    ("v2, PROXY of an unspecified family, with TLVs", v2(1, 0x00, tlv(4, b"abc")), LOCALHOST),
    ("v2, UDP over IPv4", v2(1, 0x12, FOUR), CLOSE),
    ("v2, UDP over IPv6", v2(1, 0x22, SIX), CLOSE),
    ("v2, Unix stream", v2(1, 0x31, UNIX), CLOSE),
    ("v2, a family that does not exist", v2(1, 0x41, FOUR), CLOSE),
    ("v2, a protocol that does not exist", v2(1, 0x13, FOUR), CLOSE),
    ("v2, IPv4 with too few bytes", v2(1, 0x11, FOUR[:11]), CLOSE),
    ("v2, IPv6 with the bytes of IPv4", v2(1, 0x21, FOUR), CLOSE),
    ("v2, a command that does not exist", v2(2, 0x11, FOUR), CLOSE),
    ("v2, of version 1", v2(1, 0x11, FOUR, version=1), CLOSE),
    ("v2, of version 3", v2(1, 0x11, FOUR, version=3), CLOSE),
    ("v2, another last byte", SIGNATURE[:-1] + b"x" + b"!\x11\0\x0c", LOCALHOST),
    ("v1, another word", b"PROXX TCP4 192.0.2.7 127.0.0.1 5000 80\r\n", LOCALHOST),
]  # fmt: skip
CASES = pytest.mark.parametrize(
    ("header", "address"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS]
)


def as_bytes(address: str) -> bytes:
    found = ipaddress.ip_address(address)
    return found.packed if found.version == 6 else PEER[:12] + found.packed


class Connection:
    """Our end of a connection, and theirs."""

    def __enter__(self) -> Connection:
        self.ours, self.theirs = socket_pair()
        return self

    def __exit__(self, *_: object) -> None:
        self.ours.close()
        self.theirs.close()

    def waiting(self) -> int:
        """How many bytes have come and were not taken."""
        count = array.array("i", [0])
        fcntl.ioctl(self.ours, termios.FIONREAD, count)
        return count[0]

    def read(self, **options: object) -> tuple[int, bytes]:
        return read_proxy_header(self.ours.fileno(), PEER, **{"insecure": True} | options)  # type: ignore[arg-type]


@CASES
def test_whole(header: bytes, address: str | None) -> None:
    with Connection() as connection:
        connection.theirs.sendall(header + BEHIND)
        wait_until(lambda: connection.waiting() == len(header + BEHIND), "the bytes")
        code, found = connection.read()
        if address is None:
            assert (code, found) == (-1, PEER)
            return
        assert (code, found) == (1, as_bytes(address))
        own = header if not header.startswith((b"PROXX", SIGNATURE[:-1] + b"x")) else b""
        assert connection.ours.recv(4096) == (header + BEHIND)[len(own) :]


@CASES
def test_byte_by_byte(header: bytes, address: str | None) -> None:
    """It waits until it can tell, and changes nothing before; later on in steps of 97 bytes."""
    with Connection() as connection:
        whole = header + BEHIND
        ends = [*range(1, min(len(whole), 140)), *range(140, len(whole), 97), len(whole)]
        for start, end in pairwise([0, *ends]):
            connection.theirs.send(whole[start:end])
            wait_until(lambda end=end: connection.waiting() == end, "the byte")
            code, found = connection.read()
            if code:
                break
            assert found == PEER
        assert (code, found) == ((-1, PEER) if address is None else (1, as_bytes(address)))


@pytest.mark.parametrize("part", [b"", b"P", b"PROX", b"\r", SIGNATURE, v2(1, 0x11, FOUR)[:-1]])
def test_the_client_leaves_within_it(part: bytes) -> None:
    """The end counts as the end only when nothing is there; the deadline cuts the others."""
    with Connection() as connection:
        connection.theirs.sendall(part)
        assert connection.read() == (0, PEER)
        connection.theirs.close()
        select.select([connection.ours], [], [], 10)
        assert connection.read()[0] == (0 if part else -1)


TRUSTED = [
    ("127.0.0.1/32", True),
    ("127.0.0.0/8", True),
    ("126.0.0.0/7", True),
    ("0.0.0.0/0", True),
    ("127.0.0.0/31", True),
    ("127.0.0.2/31", False),
    ("128.0.0.0/1", False),
    ("10.0.0.0/8", False),
    ("::/0", True),
    ("::1/128", False),
]


@pytest.mark.parametrize(("network", "believed"), TRUSTED)
def test_who_is_believed(network: str, believed: bool) -> None:
    """A header from anybody else is taken away and ignored."""
    found = ipaddress.ip_network(network)
    bits = found.prefixlen + (96 if found.version == 4 else 0)
    row = as_bytes(str(found.network_address)) + bytes([bits])
    nobody = as_bytes("198.51.100.1") + bytes([128])
    with Connection() as connection:
        connection.theirs.sendall(v2(1, 0x11, FOUR) + BEHIND)
        wait_until(lambda: connection.waiting() == 28 + len(BEHIND), "the bytes")
        expected = as_bytes("192.0.2.7") if believed else PEER
        assert connection.read(insecure=False, trusted=nobody + row) == (1, expected)
        assert connection.ours.recv(4096) == BEHIND
