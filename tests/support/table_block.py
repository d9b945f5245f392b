"""The compiled table read back by the layout's description: the slow twin of `compile.assemble`."""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    name: str
    backend: str
    backend_slot: int
    flags: int
    request: tuple[tuple[int, bytes], ...]  # operation code, payload
    response: tuple[tuple[int, bytes], ...]
    end: tuple[tuple[int, bytes], ...]
    entry_point: int
    retry_attempts: int
    flush: int


@dataclass(frozen=True)
class Block:
    generation: int
    matcher: bytes
    routes: tuple[Record, ...]


def operations(data: bytes) -> tuple[tuple[int, bytes], ...]:
    found = []
    while data:
        code, flags, size = struct.unpack_from("<HHI", data)
        assert flags in (0, 1)  # 1: of the backend
        assert len(data) >= 8 + size
        found.append((code, data[8 : 8 + size]))
        data = data[8 + size + -size % 8 :]
    return tuple(found)


def read_block(block: bytes) -> Block:
    """Read a block and check every rule of its layout."""
    magic, version, total, matcher, matcher_size, routes, count, generation = struct.unpack_from(
        "<8sIIIIIIQ", block
    )
    assert (magic, version, total, routes) == (b"FPTABLE1", 1, len(block), 64)
    assert block[40:64] == bytes(24)
    assert matcher % 8 == 0
    records = []
    for index in range(count):
        fields = struct.unpack_from("<16I", block, routes + 64 * index)
        assert fields[15] <= fields[7]  # the entry point's operations are the first ones

        def part(place: int, fields: tuple[int, ...] = fields) -> bytes:
            offset, size = fields[place], fields[place + 1]
            assert offset + size <= total
            assert not size or (offset % 8 == 0 and offset >= routes + 64 * count)
            return block[offset : offset + size]

        records.append(
            Record(
                part(0).decode(),
                part(2).decode(),
                *fields[4:6],
                operations(part(6)),
                operations(part(8)),
                operations(part(10)),
                *fields[12:15],
            )
        )
    return Block(generation, block[matcher : matcher + matcher_size], tuple(records))
