"""The operations of a route. See run.pyx."""

from libc.stdint cimport uint32_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.stream.stream cimport Stream

cdef int request_steps(Stream* stream, Head* head, uint32_t start) noexcept nogil
cdef int request_steps_over(Stream* stream, Head* head) noexcept nogil
cdef int backend_steps(Stream* stream, Head* head) noexcept nogil
cdef void response_steps(Stream* stream, Head* head) noexcept nogil
cdef void end_steps(Stream* stream) noexcept nogil
