"""The observer process: writes the access log from the rings of the workers.

It may die, hang or be stopped at any time: no request waits for it, the rings keep what it has not
written, and its successor goes on with them. It ends last, so that the last line is written.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from fastproxy.observer.writer import Writer
from fastproxy.processes.rings import Rings
from fastproxy.settings.options import AccessLog, Settings
from fastproxy.system import logs

log = logging.getLogger(__name__)

DRAIN = 5.0  # seconds for what is left at the end
GATHER = 200  # milliseconds, when `bufferingSize` allows lines to wait
RETRY = 1.0  # seconds until a file that cannot be opened is tried again
STANDARD_OUTPUT = 1


def open_log(options: AccessLog) -> int:
    """Open the file for appending, with its folders, or give standard output. Raises OSError."""
    if not options.file_path:
        return STANDARD_OUTPUT
    path = Path(options.file_path)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o664)


class Observer:
    """One writer and the signals that concern it."""

    def __init__(self, options: AccessLog, rings: Rings) -> None:
        self._options = options
        gather = {} if not options.buffering_size else {"gather": GATHER}
        name = f"the access log {options.file_path}" if options.file_path else "the access log"
        self._writer = Writer(rings.rings, rings.wake, name, **gather)
        self._thread = threading.Thread(target=self._writer.run, name="access log", daemon=True)
        self._opened = False
        self._woken, self._wake = os.pipe()

    def run(self) -> None:
        """Until SIGTERM."""
        signal.set_wakeup_fd(_nonblocking(self._wake), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what it means
        self.reopen()
        self._thread.start()
        while not self._told():
            if not self._opened:
                self.reopen()
        self._writer.stop()
        self._thread.join(DRAIN)
        if self._thread.is_alive():
            log.error("the access log takes no more; what is left is lost")

    def reopen(self) -> None:
        """Go on in a new file; the old one stays in use when that cannot be opened."""
        try:
            output = open_log(self._options)
        except OSError as error:
            log.error(
                "accessLog.filePath: %s cannot be opened (%s)", self._options.file_path, error
            )
            return
        self._opened = True
        self._writer.set_output(output)

    def _told(self) -> bool:
        """Wait for signals and do what they ask for; whether one of them is the end."""
        for number in self._received():
            if number == signal.SIGTERM:
                return True
            if number == signal.SIGUSR1:
                logs.reopen()
                self.reopen()
        return False

    def _received(self) -> Sequence[int]:
        ready, _, _ = select.select([self._woken], [], [], None if self._opened else RETRY)
        return os.read(self._woken, 4096) if ready else b""


def _nonblocking(descriptor: int) -> int:
    os.set_blocking(descriptor, False)
    return descriptor


def run(settings: Settings, rings: Rings) -> None:
    """The main function of the observer process."""
    assert settings.access_log is not None
    Observer(settings.access_log, rings).run()
