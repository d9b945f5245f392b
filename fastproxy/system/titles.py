"""What `ps` and `top` show of a process: which of fastproxy's it is.

The kernel shows the memory in which a program got its arguments (`/proc/PID/cmdline`), and nobody
needs that memory after the start, so a title of at most that length is written there. Its place
stands in `/proc/self/stat` (arg_start and arg_end, proc(5)).
"""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

_PR_SET_NAME = 15
_ARG_START, _ARG_END = 48, 49  # numbers of the fields, from 1


def show_title(title: str, short: str) -> None:
    """Show `title` where `ps` shows the command line, and `short` (15 bytes) as its name."""
    with contextlib.suppress(OSError, ValueError, IndexError):  # a sandbox may hide it
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_NAME, short.encode()[:15], 0, 0, 0)
        # The second field may hold blanks; everything behind its bracket does not.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = (int(fields[number - 3]) for number in (_ARG_START, _ARG_END))
        room = end - start
        if start and room > 1:
            ctypes.memmove(start, title.encode()[: room - 1].ljust(room, b"\0"), room)
