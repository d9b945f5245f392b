"""The real program with workers that hang when told: SIGRTMIN in Python, SIGRTMIN + 1 in C.

python -m tests.support.hanging COMMAND...    the last arguments, from `run` on, are fastproxy's
"""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
from typing import Any

from fastproxy.cli import main
from fastproxy.processes import worker

IN_PYTHON = signal.SIGRTMIN
IN_C = signal.SIGRTMIN + 1


def in_python() -> None:
    while True:
        pass


def in_c() -> None:
    ctypes.PyDLL(None).sleep(1000)  # which keeps the interpreter


class Worker(worker.Worker):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(IN_PYTHON, in_python)
        loop.add_signal_handler(IN_C, in_c)


if __name__ == "__main__":
    worker.Worker = Worker  # type: ignore[misc]
    arguments = sys.argv[sys.argv.index("run") :]
    sys.argv = ["fastproxy", *arguments]
    sys.exit(main())
