"""The table block as the compiler assembled it first: the slow twin of `tables.assemble`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastproxy.tables.assemble import Row

HEADER = struct.Struct("<8sIIIIIIQ24x")
RECORD = struct.Struct("<16I")


def assemble(generation: int, rows: Sequence[Row], matcher: bytes, attempts: int) -> bytes:
    """Return the block of compiled rows, in their order."""
    matcher_offset = HEADER.size + RECORD.size * len(rows)
    offset = matcher_offset + len(matcher)
    tail = [matcher]
    offsets: dict[bytes, int] = {}

    def place(data: bytes) -> int:
        nonlocal offset
        known = offsets.get(data)
        if known is None:
            padding = -offset % 8
            tail.append(bytes(padding))
            tail.append(data)
            known = offsets[data] = offset + padding
            offset = known + len(data)
        return known

    records = []
    for name, backend_name, request, response, end, slot, flags, entry_point, flush, own in rows:
        records.append(
            RECORD.pack(
                *(place(name), len(name), place(backend_name), len(backend_name)),
                *(slot, flags),
                *(place(request) if request else 0, len(request)),
                *(place(response) if response else 0, len(response)),
                *(place(end) if end else 0, len(end)),
                *(entry_point, attempts, flush, own),
            )
        )
    padding = -offset % 8
    header = HEADER.pack(
        b"FPTABLE1", 1, offset + padding, matcher_offset, len(matcher), HEADER.size, len(rows),
        generation,
    )  # fmt: skip
    return b"".join((header, *records, *tail, bytes(padding)))
