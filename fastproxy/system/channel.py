"""Messages between fastproxy's processes: JSON with file descriptors, on SOCK_SEQPACKET.

A message arrives whole or not at all; descriptors travel as SCM_RIGHTS. Everything large (tables,
specifications, keys) stands in a sealed memfd, so secrets never touch a disk.

A receiver whose table of descriptors is full gets the message without them (`Message.cut`) and has
to ask for the whole state. `keep_room` makes that unlikely: it holds descriptors for nothing else,
which are closed for as long as those of a message are open.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LARGEST = 64 * 1024  # bytes of one message
MOST_DESCRIPTORS = 253  # SCM_MAX_FD of Linux
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@dataclass(frozen=True, slots=True)
class Message:
    """What was received; the receiver owns the descriptors."""

    kind: str
    values: Mapping[str, Any]
    descriptors: tuple[int, ...] = ()
    cut: bool = False  # its descriptors are lost: there was no room for them


class Channel:
    """One end of a connection between two processes."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._room = 0
        self._held: list[int] = []

    def keep_room(self, count: int) -> None:
        """Hold so many descriptors for messages. Whoever receives on this channel calls
        `hold_room` when the descriptors of a message are closed."""
        self._room = count
        self.hold_room()

    def hold_room(self) -> bool:
        """Hold again what `receive` has let go; False when the table is full before that."""
        try:
            while len(self._held) < self._room:
                self._held.append(os.dup(self._held[0]) if self._held else os.eventfd(0))
        except OSError:
            return False
        return True

    def fileno(self) -> int:
        return self._socket.fileno()

    def set_timeout(self, seconds: float | None) -> None:
        """How long `send` and `receive` may take; 0 raises BlockingIOError instead of waiting."""
        self._socket.settimeout(seconds)

    def send(self, kind: str, descriptors: Sequence[int] = (), /, **values: Any) -> None:
        """Send one message; the descriptors stay open here. Raises OSError."""
        data = json.dumps({"kind": kind, **values}).encode()
        if len(data) > LARGEST or len(descriptors) > MOST_DESCRIPTORS:
            raise ValueError(f"message {kind} is too large")
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        self._socket.sendmsg([data], rights if descriptors else [], socket.MSG_NOSIGNAL)

    def receive(self) -> Message | None:
        """Return the next message, or None when the other side is gone. Raises OSError."""
        room = socket.CMSG_SPACE(MOST_DESCRIPTORS * 4)
        self._let_go()
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(LARGEST, room, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return None
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(content[: len(content) - len(content) % 4])
        if not data:
            return None
        cut = bool(flags & socket.MSG_CTRUNC)
        if cut or flags & socket.MSG_TRUNC:
            close_all(descriptors)
            descriptors = array.array("i")
        if flags & socket.MSG_TRUNC:
            raise OSError("a message between fastproxy's processes was cut off")
        try:
            values = json.loads(data)
            return Message(values.pop("kind"), values, tuple(descriptors), cut)
        except (ValueError, KeyError, TypeError, AttributeError):
            close_all(descriptors)
            raise OSError("a message between fastproxy's processes cannot be read") from None

    def close(self) -> None:
        self._socket.close()
        self._room = 0
        self._let_go()

    def _let_go(self) -> None:
        close_all(self._held)
        self._held.clear()


def channel_pair() -> tuple[Channel, Channel]:
    """Return two connected channels."""
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(first), Channel(second)


def sealed_memory(name: str, data: bytes) -> int:
    """Return a memfd holding `data`, which nobody can change any more. Raises OSError."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def memory_size(descriptor: int) -> int:
    return os.fstat(descriptor).st_size


def read_memory(descriptor: int) -> bytes:
    """Return the content of a memfd; its position does not matter and is not moved."""
    size = memory_size(descriptor)
    parts = []
    position = 0
    while position < size:  # one read gives at most 2 GiB
        part = os.pread(descriptor, size - position, position)
        if not part:
            break
        parts.append(part)
        position += len(part)
    return b"".join(parts)


def close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
