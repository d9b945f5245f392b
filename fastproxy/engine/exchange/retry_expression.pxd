"""Buffered requests sent again. See retry_expression.pyx."""

from libc.stdint cimport uint32_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.stream.stream cimport Stream

cdef bint retry_expression(
    const char* program, uint32_t size, uint32_t attempt, int status, const char* method, size_t method_size
) noexcept nogil
cdef int replay_steps(Stream* stream, Head* head, int code) noexcept nogil
cdef int replay_send(
    Stream* stream, const char* head, size_t head_size, const char* body, size_t body_size
) noexcept nogil
cdef void replay_feed(Stream* stream) noexcept nogil
cdef bint replay_wanted(const Stream* stream, int status) noexcept nogil
cdef int replay(Stream* stream) noexcept nogil
