"""What the observer answers to workers that ask for it: the metrics.

Its socket has no place in a file system, so nothing is left behind. Who asks must run as the same
user: the name is random, but names of abstract sockets can be listed.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator

from fastproxy.counters import reloads
from fastproxy.counters.requests import sum_up
from fastproxy.observer import machine, prometheus
from fastproxy.processes.rings import Rings
from fastproxy.settings.options import Settings
from fastproxy.system.observed import METRICS
from fastproxy.system.ring import SharedRing

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds for somebody who asks
AGAIN = 0.2  # seconds until an address that is in use is tried again
_CREDENTIALS = struct.Struct("=iII")  # ucred of unix(7): pid, uid, gid


class Answers:
    """A thread that answers one question after the other."""

    def __init__(self, settings: Settings, rings: Rings, shared: int) -> None:
        assert settings.metrics is not None and settings.metrics.prometheus is not None
        self._buckets = settings.metrics.prometheus.buckets
        self._rings = rings
        self._shared = shared
        self._parent = os.getppid()
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        while True:
            try:
                server.bind(self._rings.address)
                break
            except OSError as error:  # the one before us may not have quite gone
                log.debug("the observer's address is in use (%s)", error)
                time.sleep(AGAIN)
        server.listen(64)
        while True:
            try:
                connection, _ = server.accept()
            except OSError as error:
                log.error("the observer cannot accept (%s)", error)
                time.sleep(AGAIN)
                continue
            with connection:
                try:
                    self._answer(connection)
                except OSError as error:
                    log.debug("somebody who asked the observer has gone (%s)", error)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(data)[1] != os.getuid():
            return
        if connection.recv(256).rstrip(b"\n").decode("latin-1") == METRICS:
            connection.sendall(self.metrics().encode())

    def _log(self) -> Iterator[tuple[str, str, str, float]]:
        """What became of the lines of the access log."""
        counts = [SharedRing(descriptor).counts for descriptor in self._rings.rings]
        if counts:
            written, lost = (sum(found[name] for found in counts) for name in ("written", "lost"))
            name = "fastproxy_access_log"
            yield f"{name}_lines_total", "counter", "Lines that were written.", written
            yield f"{name}_dropped_total", "counter", "Lines dropped for want of room.", lost

    def metrics(self) -> str:
        found, overflow = sum_up(self._rings.requests)
        told = reloads.read(self._shared)
        name = "traefik_config"
        facts = [
            (f"{name}_reloads_total", "counter", "Changes that became live.", told.changes),
            (f"{name}_reloads_failure_total", "counter", "Changes refused.", told.failures),
            (
                *(f"{name}_last_reload_success", "gauge"),
                *("When the last change became live, unix seconds.", told.last_success),
            ),
            (
                *(f"{name}_last_reload_failure", "gauge"),
                *("When the last change was refused, unix seconds.", told.last_failure),
            ),
            *self._log(),
            *machine.facts(self._parent),
        ]
        return prometheus.render(found, overflow, self._buckets, facts)
