"""Buffered requests sent again. See replay.pyx."""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from fastproxy.engine.head cimport Head
from fastproxy.engine.stream cimport Stream

cdef enum:
    BUFFER_PROGRAM = 32  # where the program stands in the payload of the operation, behind its size

cdef inline void replay_begin(Stream* stream) noexcept nogil:
    """The first attempt begins, when there is a retry expression."""
    cdef uint32_t size
    memcpy(&size, stream.buffer + BUFFER_PROGRAM, 4)
    stream.attempt = 1 if size else 0

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
