"""Operations that count. See limits.pyx."""

from libc.stdint cimport int64_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.http.writer cimport Writer
from fastproxy.engine.operations.payload cimport Payload
from fastproxy.engine.stream.stream cimport Stream

cdef int max_connections(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef int rate_limit(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef int circuit_breaker(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef void write_duration(Writer* writer, int64_t nanoseconds) noexcept nogil
# Another attempt of the same request: takes a token, as the first one did.
cdef int retry_limit(Stream* stream) noexcept nogil
