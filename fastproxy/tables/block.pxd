"""Layout of the table block, shared by its writer (`assemble.pyx`) and its reader, the engine.

One piece of memory, little-endian: header, one record for each route, the matcher's section
(`tables/matcher/layout.pxd`), then texts and operations, each 8-aligned. Offsets count from the block's begin, so
that it means the same wherever a worker maps it.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef enum:
    BLOCK_VERSION = 1

cdef enum:  # flags of a route; `wiring.py` sets them
    ROUTE_PRESERVE_HOST = 1
    ROUTE_SCRIPTED = 2
    ROUTE_INTERNAL = 128  # of our own: neither logged nor counted
    ROUTE_NOT_FOUND = 4  # an entry point's record for requests without a route: answers 404

cdef packed struct BlockHeader:
    char magic[8]  # FPTABLE1
    uint32_t version
    uint32_t total_size
    uint32_t matcher_offset
    uint32_t matcher_size
    uint32_t routes_offset
    uint32_t route_count
    uint64_t generation
    char spare[24]

cdef packed struct Span:
    uint32_t offset
    uint32_t size

cdef packed struct RouteRecord:
    Span name
    Span backend_name
    uint32_t backend_slot
    uint32_t flags
    Span request  # operations, by phase
    Span response
    Span end
    uint32_t entry_point
    uint32_t retry_attempts
    uint32_t flush
    uint32_t entry_point_size  # bytes of `request` which the entry point's own operations take

cdef packed struct OperationRecord:  # its payload follows, filled up to 8 bytes
    uint16_t code
    uint16_t flags
    uint32_t size
