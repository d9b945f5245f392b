"""A network of its own for tests whose endpoints need addresses that are not loopback.

API servers refuse loopback addresses in Endpoints and EndpointSlices. In a fresh network namespace
the loopback interface gets 10.99.0.0/16, all of which is then local: a test binds as many "pods" as
it likes, and nothing outside the process and its children can see them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C
IFF_UP_RUNNING = 0x41
POD_NETWORK = "10.99"


class NoNamespace(Exception):
    """The kernel or its policy allows no network namespace; the text says why."""


def enter_private_network() -> None:
    """Move this process (call it before any thread starts) into a network namespace of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        user, group = os.getuid(), os.getgid()
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
            raise NoNamespace(f"unshare: {os.strerror(ctypes.get_errno())}")
        with contextlib.suppress(OSError):
            Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _flags(control, "lo")
        _address(control, "lo:1", SIOCSIFADDR, f"{POD_NETWORK}.0.1")
        _address(control, "lo:1", SIOCSIFNETMASK, "255.255.0.0")


def pod_address(number: int) -> str:
    """Give the address of pod `number` (0 to 9999)."""
    return f"{POD_NETWORK}.{1 + number // 250}.{1 + number % 250}"


def _flags(control: socket.socket, name: str) -> None:
    fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", name.encode(), IFF_UP_RUNNING))


def _address(control: socket.socket, name: str, request: int, address: str) -> None:
    packed = struct.pack("16sHH4s8x", name.encode(), socket.AF_INET, 0, socket.inet_aton(address))
    fcntl.ioctl(control, request, packed)
