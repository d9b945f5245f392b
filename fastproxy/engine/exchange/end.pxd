"""Beginning and end of an exchange. See end.pyx."""

from libc.string cimport memset

from fastproxy.engine.stream.record cimport Record
from fastproxy.engine.stream.stream cimport Stream

cdef void exchange_release(Stream* stream) noexcept nogil
cdef void exchange_end(Stream* stream) noexcept nogil
cdef void exchange_abandon(Stream* stream) noexcept nogil

cdef inline void exchange_begin(Stream* stream) noexcept nogil:
    """The first byte of a request has come."""
    # In two parts, which the compiler writes out: of one it makes a loop of single words.
    memset(&stream.record, 0, sizeof(Record) // 2)
    memset(<char*> &stream.record + sizeof(Record) // 2, 0, sizeof(Record) - sizeof(Record) // 2)
    stream.record.first_byte = stream.engine.reactor.now_ns
    stream.request_done = 0
    stream.response_started = 0
    stream.fresh_only = 0
    stream.attempts = 0
    stream.engine.counters.begun += 1
