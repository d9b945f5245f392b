"""The listening sockets, owned by the parent: one per entry point and worker (SO_REUSEPORT)."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
from dataclasses import replace

from fastproxy.settings.options import EntryPoint, Settings

BACKLOG = 4096  # the kernel cuts it down to net.core.somaxconn
BACKLOG_TLS = 512  # new clients of TLS are slowed down rather than let wait for seconds
KEEP_ALIVE = 180  # seconds between probes (Traefik 1.7: 3 minutes)
DEFER_ACCEPT = 5  # seconds the kernel waits for the first byte
_SO_ATTACH_FILTER = 26
# Classic BPF on the TCP header: load the flags; is SYN set? then drop, else pass.
_NO_SYN = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF))
)


class ListenError(Exception):
    """An entry point's address cannot be used; the text says which, why, and what to do."""


def open_listeners(
    settings: Settings, workers: int
) -> tuple[Settings, list[list[tuple[int, socket.socket]]]]:
    """Bind every entry point once per worker.

    Returns the settings with the real ports (for port 0), and for each worker its
    `(index in sorted(entry_points), socket)`. Raises ListenError; nothing stays bound then.
    """
    rows: list[list[tuple[int, socket.socket]]] = [[] for _ in range(workers)]
    points = dict(settings.entry_points)
    try:
        for index, name in enumerate(sorted(points)):
            point = points[name]
            if point.port:
                _check_free(name, point)
            for row in rows:
                listener = _listener(name, point)
                row.append((index, listener))
                point = _with_port(point, listener.getsockname()[1])
            points[name] = point
    except ListenError:
        for row in rows:
            for _, listener in row:
                listener.close()
        raise
    return replace(settings, entry_points=points), rows


def without_taken(settings: Settings, told: list[str]) -> Settings:
    """Return the settings without the implicit entry point if it cannot listen, and tell why: its
    pages are a gift that nobody has asked for by address."""
    points = dict(settings.entry_points)
    for name, point in settings.entry_points.items():
        if point.implicit:
            try:
                _check_free(name, point)
            except ListenError as error:
                del points[name]
                told.append(
                    f"{error}. Until then there are no /ping, /ready and API; or write"
                    f" [entryPoints.{name}] with a free address"
                )
    api = settings.api if settings.api is None or settings.api.entry_point in points else None
    return replace(settings, entry_points=points, api=api)


def _with_port(point: EntryPoint, port: int) -> EntryPoint:
    return replace(point, address=f"{point.address.rpartition(':')[0]}:{port}")


def _family(host: str) -> tuple[socket.AddressFamily, str]:
    if host == "":
        return (socket.AF_INET6, "::") if _has_ipv6() else (socket.AF_INET, "0.0.0.0")
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), host


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _socket(point: EntryPoint, shared: bool) -> socket.socket:
    family, host = _family(point.host)
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # ":80" means IPv4 as well; "[::]:80" too, as in Go.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        listener.bind((host, point.port))
    except OSError:
        listener.close()
        raise
    return listener


def _check_free(name: str, point: EntryPoint) -> None:
    """Refuse a port somebody listens on: SO_REUSEPORT alone would share it with another fastproxy
    of the same user, and each would see half of the connections."""
    try:
        _socket(point, shared=False).close()
    except OSError as error:
        raise _explained(name, point, error) from error


def _listener(name: str, point: EntryPoint) -> socket.socket:
    try:
        listener = _socket(point, shared=True)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEP_ALIVE)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if point.defer_accept:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_ACCEPT)
        listener.listen(BACKLOG_TLS if point.tls is not None else BACKLOG)
    except OSError as error:
        raise _explained(name, point, error) from error
    return listener


def refuse_handshakes(listener: socket.socket) -> None:
    """Let a listening socket ignore new SYN segments, while handshakes under way complete.

    What is queued when a listening socket is closed is reset by the kernel, although the client
    counts it as established. So a socket is first made deaf, then emptied, then closed; a client
    that tries meanwhile repeats its SYN after a second and is refused, which it may safely retry.
    """
    program = (ctypes.c_ubyte * len(_NO_SYN)).from_buffer_copy(_NO_SYN)
    count = len(_NO_SYN) // 8
    # struct sock_fprog: the number of instructions, and where they stand.
    descriptor = struct.pack("@HP", count, ctypes.addressof(program))
    with contextlib.suppress(OSError):  # a sandbox may forbid it; then a queue may be reset
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, descriptor)


def _explained(name: str, point: EntryPoint, error: OSError) -> ListenError:
    remedies = {
        errno.EMFILE: "no more descriptors may be open; raise the limit (ulimit -n) or have fewer"
        " workers or entry points",
        errno.EADDRINUSE: "another program listens there; stop it or choose another port",
        errno.EACCES: "this user may not; choose a port from 1024, or allow it"
        " (CAP_NET_BIND_SERVICE)",
        errno.EADDRNOTAVAIL: "this machine does not have that address; correct it",
    }
    reason = os.strerror(error.errno) if error.errno else str(error)
    remedy = remedies.get(error.errno or 0, f"{reason}; correct the address")
    return ListenError(f"entry point {name!r} cannot listen on {point.address}: {remedy}")
