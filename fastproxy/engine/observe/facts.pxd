"""What a line says of an exchange that is not in its record as it stands. See facts.pyx."""

from libc.stdint cimport int64_t, uint32_t

from fastproxy.engine.observe.notes cimport Notes
from fastproxy.engine.observe.program cimport AccessLog
from fastproxy.engine.stream.stream cimport Stream

cdef struct Span:
    const char* data
    size_t size

cdef inline Span span(const char* data, size_t size) noexcept nogil:
    cdef Span made
    made.data = data
    made.size = size
    return made

cdef struct Facts:
    int64_t start  # wall clock, nanoseconds
    int64_t end
    int64_t duration
    int64_t origin_duration
    int status
    int origin_status
    Span step  # in front of the route's name: `Auth for `
    Span entry_point  # `entrypoint `, where an entry point's own step answered
    bint of_entry_point
    Span frontend
    Span backend
    Span url  # of the endpoint; or path and query, for answers of ours that 1.7 logs so
    Span address  # host:port of the endpoint
    bint has_url
    bint of_request  # url is the request's own
    Span method
    Span target
    Span host  # as received
    Span client_host
    Span user
    bint has_host

cdef void gather_facts(AccessLog* access, Stream* stream, const Notes* notes, Facts* facts, char* user) noexcept nogil
cdef Span host_name(Span host) noexcept nogil
cdef Span host_port(Span host) noexcept nogil
