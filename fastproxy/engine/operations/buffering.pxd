"""The operation of buffering. See buffering.pyx."""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.operations.payload cimport Payload
from fastproxy.engine.stream.stream cimport Stream

cdef enum:
    BUFFER_PROGRAM = 32  # where the program stands in the payload of the operation, behind its size

cdef inline void first_attempt(Stream* stream) noexcept nogil:
    """The first attempt begins, when there is a retry expression."""
    cdef uint32_t size
    memcpy(&size, stream.buffering.operation + BUFFER_PROGRAM, 4)
    stream.buffering.attempt = 1 if size else 0

cdef int buffer(Stream* stream, Head* head, Payload* payload) noexcept nogil
