"""Lay the compiled rows of all routes behind each other: the table block (`compile.py`).

One pass places each different text once, as the rows name it, and fills the records; then header,
records, matcher and texts are copied into one piece of memory.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

from fastproxy.tables.block cimport BLOCK_VERSION, BlockHeader, RouteRecord, Span


cdef class _Texts:
    """Where each text stands; equal texts stand in one place."""

    cdef dict offsets
    cdef list texts
    cdef uint64_t end

    def __cinit__(self, uint64_t end):
        self.offsets = {}
        self.texts = []
        self.end = end

    cdef int place(self, bytes text, Span* span) except -1:
        cdef object known = self.offsets.get(text)
        if known is None:
            known = (self.end + 7) & ~<uint64_t>7
            self.offsets[text] = known
            self.texts.append(text)
            self.end = <uint64_t>known + <uint64_t>PyBytes_GET_SIZE(text)
        span.offset = <uint32_t>known
        span.size = <uint32_t>PyBytes_GET_SIZE(text)
        return 0


def assemble(uint64_t generation, list rows, bytes matcher not None, uint32_t retry_attempts):
    cdef uint64_t count = <uint64_t>len(rows)
    cdef uint64_t routes_offset = sizeof(BlockHeader)
    cdef uint64_t matcher_offset = routes_offset + count * sizeof(RouteRecord)
    cdef uint64_t matcher_size = <uint64_t>PyBytes_GET_SIZE(matcher)
    cdef uint64_t total, at, start
    cdef _Texts texts = _Texts(matcher_offset + matcher_size)
    cdef bytes records = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(count * sizeof(RouteRecord)))
    cdef RouteRecord* record = <RouteRecord*>PyBytes_AS_STRING(records)
    cdef BlockHeader header
    cdef tuple row
    cdef bytes text, block
    cdef char* data
    cdef int part
    memset(record, 0, count * sizeof(RouteRecord))
    for row in rows:
        texts.place(row[0], &record.name)
        texts.place(row[1], &record.backend_name)
        for part in range(3):
            text = row[2 + part]
            if PyBytes_GET_SIZE(text):
                texts.place(text, &record.request + part)
        record.backend_slot = row[5]
        record.flags = row[6]
        record.entry_point = row[7]
        record.retry_attempts = retry_attempts
        record.flush = row[8]
        record.entry_point_size = row[9]
        record += 1
    total = (texts.end + 7) & ~<uint64_t>7
    if total > 0xFFFFFFFF:
        raise ValueError("the table block would exceed 4 GiB")
    memset(&header, 0, sizeof(header))
    memcpy(header.magic, <const char*>b"FPTABLE1", 8)
    header.version = BLOCK_VERSION
    header.total_size = <uint32_t>total
    header.matcher_offset = <uint32_t>matcher_offset
    header.matcher_size = <uint32_t>matcher_size
    header.routes_offset = <uint32_t>routes_offset
    header.route_count = <uint32_t>count
    header.generation = generation
    block = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>total)
    data = PyBytes_AS_STRING(block)
    memcpy(data, &header, sizeof(header))
    memcpy(data + routes_offset, PyBytes_AS_STRING(records), count * sizeof(RouteRecord))
    memcpy(data + matcher_offset, PyBytes_AS_STRING(matcher), matcher_size)
    at = matcher_offset + matcher_size
    for text in texts.texts:
        start = (at + 7) & ~<uint64_t>7
        memset(data + at, 0, start - at)
        memcpy(data + start, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
        at = start + <uint64_t>PyBytes_GET_SIZE(text)
    memset(data + at, 0, total - at)
    return block
