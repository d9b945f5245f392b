"""TLS in tests: certificates of a throw-away authority, and two ends driven by turns.

Everything goes through real sockets. `Peer` is Python's `ssl` with the methods of `Probe`, so that
either end of a test may be ours or foreign.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

import trustme

from fastproxy.engine.tls.certificates import ServerCertificate, load_certificate
from fastproxy.model.configuration import Certificate
from tests.native.tls_probe import Probe

AUTHORITY = trustme.CA()
ROOTS = (AUTHORITY.cert_pem.bytes().decode(),)


def pem(leaf: trustme.LeafCert) -> tuple[bytes, bytes]:
    """Chain and key."""
    return b"".join(p.bytes() for p in leaf.cert_chain_pems), leaf.private_key_pem.bytes()


def loaded(*names: str, authority: trustme.CA = AUTHORITY) -> Certificate:
    return load_certificate(",".join(names), *pem(authority.issue_cert(*names)))


def served(*names: str) -> ServerCertificate:
    return ServerCertificate(loaded(*names))


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets on loopback, non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    for end in (one, other):
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, other


class Peer:
    """Python's `ssl` on a non-blocking socket, with the answers of `Probe`."""

    def __init__(
        self, end: socket.socket, context: ssl.SSLContext, name: str = "", *, server: bool = False
    ) -> None:
        self.tls = context.wrap_socket(
            end, server_side=server, do_handshake_on_connect=False, server_hostname=name or None
        )
        self.error = ""

    def _try(self, call: Callable[[], object]) -> object:
        try:
            return call()
        except ssl.SSLWantReadError:
            return "want read"
        except ssl.SSLWantWriteError:
            return "want write"
        except ssl.SSLZeroReturnError:
            return "closed"
        except (OSError, ValueError) as error:
            self.error = str(error)
            return "failed"

    def handshake(self) -> object:
        result = self._try(self.tls.do_handshake)
        return "done" if result is None else result

    def read(self, size: int = 65536) -> object:
        return self._try(lambda: self.tls.recv(size))

    def write(self, data: bytes) -> object:
        return self._try(lambda: self.tls.send(data))


def shake(client: Probe | Peer, server: Probe | Peer, turns: int = 50) -> tuple[object, object]:
    """Both ends by turns until each is done or has failed."""
    ends: list[Probe | Peer] = [client, server]
    results: list[object] = ["", ""]
    for _ in range(turns):
        for index, end in enumerate(ends):
            if results[index] not in ("done", "failed"):
                results[index] = end.handshake()
        if all(result in ("done", "failed") for result in results):
            break
    return results[0], results[1]


def take(end: Probe | Peer, size: int, turns: int = 2000) -> bytes:
    """Read exactly `size` bytes."""
    data = b""
    for _ in range(turns):
        if len(data) >= size:
            break
        piece = end.read()
        if isinstance(piece, bytes):
            data += piece
        elif piece != "want read":
            raise AssertionError(f"{piece} after {len(data)} bytes: {end.error}")
    return data


def client_context(
    *, verify: bool = True, certificate: trustme.LeafCert | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if verify:
        AUTHORITY.configure_trust(context)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        certificate.configure_cert(context)
    return context


def server_context(
    leaf: trustme.LeafCert, *, client_authority: trustme.CA | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    if client_authority is not None:
        client_authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_hello(name: str) -> bytes:
    """A complete one."""
    outgoing = ssl.MemoryBIO()
    client = client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def close(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.close()
