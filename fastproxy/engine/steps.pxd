"""What happens to a request between its head and its endpoint. See steps.pyx."""

from libc.stdint cimport uint32_t

from fastproxy.engine.head cimport Head
from fastproxy.engine.stream cimport Stream

cdef int route_request(Stream* stream, Head* head) noexcept nogil
cdef int route_as(Stream* stream, Head* head, const char* alias, size_t alias_size) noexcept nogil
cdef int request_steps_over(Stream* stream, Head* head) noexcept nogil
cdef int request_steps(Stream* stream, Head* head, uint32_t start) noexcept nogil
cdef int pick_endpoint(Stream* stream, Head* head) noexcept nogil
cdef int pick_again(Stream* stream) noexcept nogil
cdef void response_steps(Stream* stream, Head* head) noexcept nogil
cdef void end_steps(Stream* stream) noexcept nogil
cdef int backend_steps(Stream* stream, Head* head) noexcept nogil
cdef bint page_wanted(const Stream* stream, int status) noexcept nogil
cdef void reply_cookie(Stream* stream) noexcept nogil
cdef void record_quality(Stream* stream, int status) noexcept nogil
