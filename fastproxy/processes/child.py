"""A process the parent keeps alive, as the parent sees it."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fastproxy.processes.generations import Stage
from fastproxy.system import children
from fastproxy.system.channel import Channel

log = logging.getLogger(__name__)

# What the kernel says when it has no room for a message now, to a process which is well.
_NO_ROOM = (errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM)


CONTROLLER_NUMBER = -1
OBSERVER_NUMBER = -2
_NAMES = {CONTROLLER_NUMBER: "controller", OBSERVER_NUMBER: "observer"}


@dataclass(slots=True, eq=False)
class Child:
    """A worker (number 0 and up), the controller (-1) or the observer (-2)."""

    number: int
    listeners: list[tuple[int, socket.socket]] = field(default_factory=list)
    pid: int = 0
    channel: Channel | None = None
    stage: Stage = Stage.GONE
    back_off: children.BackOff = field(default_factory=children.BackOff)
    due: float | None = 0.0  # when to start it; None: it runs, or is not to run again
    must_serve_at: float | None = None  # when a worker that is not serving by then is killed

    @property
    def name(self) -> str:
        return _NAMES.get(self.number, f"worker {self.number}")

    def send(self, kind: str, descriptors: Sequence[int] = (), /, **values: Any) -> bool:
        """Send without waiting; a child whose channel is full is wedged and is killed.

        False: it does not get the message, because it is dead or the kernel has no room for it.
        """
        if self.channel is None:
            return False
        try:
            self.channel.send(kind, descriptors, **values)
        except BlockingIOError:
            self.kill("it does not read its messages")
            return False
        except OSError as error:  # otherwise it is dead; SIGCHLD follows
            if error.errno in _NO_ROOM:
                log.error("a message to %s cannot be sent: %s", self.name, error.strerror)
            return False
        return True

    def signal(self, number: int) -> None:
        if self.pid:
            os.kill(self.pid, number)

    def kill(self, reason: str) -> None:
        log.error("%s is killed: %s", self.name, reason)
        self.signal(signal.SIGKILL)
