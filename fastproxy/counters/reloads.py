"""How often the configuration has changed, for the metrics: a few words in the shared region.

The parent writes them, the observer reads them.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

_PLACE = 520  # in the region's header, behind the counter of requests
_WORDS = struct.Struct("=QQQQ")


class Reloads(NamedTuple):
    """A reload is a generation or a move of endpoints that became live; times are unix seconds."""

    changes: int = 0
    last_success: int = 0
    failures: int = 0
    last_failure: int = 0


def write(shared: int, reloads: Reloads) -> None:
    os.pwrite(shared, _WORDS.pack(*reloads), _PLACE)


def read(shared: int) -> Reloads:
    return Reloads(*_WORDS.unpack(os.pread(shared, _WORDS.size, _PLACE)))
