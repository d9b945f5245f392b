"""One request as Python sees it (placeholder while the engine is brought up)."""

from libc.stdint cimport uint32_t

from fastproxy.engine.head cimport Head
from fastproxy.engine.steps cimport plain_reply
from fastproxy.engine.stream cimport Engine, Stream


cdef int _call_filter(Stream* stream, Head* head, uint32_t slot, uint32_t phase) noexcept nogil:
    return plain_reply(stream.engine, 500, "Internal Server Error")


cdef int exchange_install(Engine* engine, object plane) except -1:
    engine.call_filter = _call_filter
    return 0
