"""The observer process: writes the access log and answers for the metrics.

It may die, hang or be stopped at any time: no request waits for it, the shared memory keeps what it
has not written, and its successor goes on. It ends last, so that the last line is written.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from fastproxy.observer.answers import Answers
from fastproxy.observer.writer import Writer
from fastproxy.processes.rings import Rings
from fastproxy.settings.options import AccessLog, Settings
from fastproxy.system import logs
from fastproxy.system.ring import SharedRing

log = logging.getLogger(__name__)

DRAIN = 5.0  # seconds for what is left at the end
GATHER = 200  # milliseconds, when `bufferingSize` allows lines to wait
LOOK = 10.0  # seconds between two looks at what was dropped
RETRY = 1.0  # seconds until a file that cannot be opened is tried again
STANDARD_OUTPUT = 1


def open_log(options: AccessLog) -> int:
    """Open the file for appending, with its folders, or give standard output. Raises OSError."""
    if not options.file_path:
        return STANDARD_OUTPUT
    path = Path(options.file_path)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    # Without waiting: nobody may read a pipe yet, and then it is tried again.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    return os.open(path, flags, 0o664)


class LogFile:
    """The access log: a thread that writes, and the file it writes to."""

    def __init__(self, options: AccessLog, rings: Rings) -> None:
        self._options = options
        gather = {} if not options.buffering_size else {"gather": GATHER}
        name = f"the access log {options.file_path}" if options.file_path else "the access log"
        self._writer = Writer(rings.rings, rings.wake, name, **gather)
        self._thread = threading.Thread(target=self._writer.run, name="access log", daemon=True)
        self._rings = [SharedRing(descriptor) for descriptor in rings.rings]
        self._told = 0  # lines that were dropped, as the log knows
        self.is_open = False

    def tell_losses(self) -> None:
        """Say how many lines found no room since this was last said."""
        lost = sum(ring.counts["lost"] for ring in self._rings)
        if lost > self._told:
            log.warning(
                "%d lines of the access log were dropped for want of room: they came faster than"
                " they could be written; enlarge accessLog.bufferBytes or look at what reads them",
                lost - self._told,
            )
            self._told = lost

    def start(self) -> None:
        self.reopen()
        self._thread.start()

    def reopen(self) -> None:
        """Go on in a new file; the old one stays in use when that cannot be opened."""
        try:
            output = open_log(self._options)
        except OSError as error:
            log.error(
                "accessLog.filePath: %s cannot be opened (%s)", self._options.file_path, error
            )
            return
        self.is_open = True
        self._writer.set_output(output)

    def end(self) -> None:
        """Write what is left."""
        self._writer.stop()
        self._thread.join(DRAIN)
        if self._thread.is_alive():
            log.error("the access log takes no more; what is left is lost")


class Signals:
    """What the parent tells."""

    def __init__(self) -> None:
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what it means

    def wait(self, seconds: float | None) -> Sequence[int]:
        """The numbers of those that have come."""
        ready, _, _ = select.select([self._woken], [], [], seconds)
        return os.read(self._woken, 4096) if ready else b""


def _pause(file: LogFile | None) -> float | None:
    """Seconds until there may be something to do without a signal."""
    if file is None:
        return None
    return LOOK if file.is_open else RETRY


def run(settings: Settings, rings: Rings, shared: int) -> None:
    """The main function of the observer process: until SIGTERM."""
    signals = Signals()
    file = LogFile(settings.access_log, rings) if settings.access_log is not None else None
    if rings.requests:
        Answers(settings, rings, shared).start()
    if file is not None:
        file.start()
    while True:
        told = signals.wait(_pause(file))
        if file is not None:
            file.tell_losses()
        if signal.SIGTERM in told:
            break
        if signal.SIGUSR1 in told:
            logs.reopen()
        if file is not None and (signal.SIGUSR1 in told or not file.is_open):
            file.reopen()
    if file is not None:
        file.end()
