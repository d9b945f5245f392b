"""One line that is being written into bounded memory: what does not fit is cut, never overrun.

`soft` is where long values end, so that what must follow them still has room.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

cdef struct Line:
    char* at
    char* soft
    char* end
    uint8_t cut  # something is missing

cdef inline void put(Line* line, const char* data, size_t size) noexcept nogil:
    """Bytes as they are, wholly or not at all."""
    if <size_t> (line.end - line.at) < size:
        line.cut = 1
        return
    memcpy(line.at, data, size)
    line.at += size

cdef inline void put_byte(Line* line, char byte) noexcept nogil:
    if line.at < line.end:
        line.at[0] = byte
        line.at += 1
    else:
        line.cut = 1

cdef void put_number(Line* line, uint64_t number) noexcept nogil
cdef void put_signed(Line* line, int64_t number) noexcept nogil
cdef void put_quoted(Line* line, const char* data, size_t size) noexcept nogil
cdef void put_bare(Line* line, const char* data, size_t size) noexcept nogil
cdef void put_json(Line* line, const char* data, size_t size) noexcept nogil
cdef void put_ratio(Line* line, double value) noexcept nogil
