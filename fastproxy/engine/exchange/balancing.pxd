"""Which endpoint takes a request. See balancing.pyx."""

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.operations.payload cimport Payload
from fastproxy.engine.stream.stream cimport Stream

cdef int affinity(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef int pick_endpoint(Stream* stream, Head* head) noexcept nogil
cdef int pick_again(Stream* stream) noexcept nogil
cdef void set_affinity_cookie(Stream* stream, Head* head) noexcept nogil
cdef void reply_cookie(Stream* stream) noexcept nogil
cdef void record_answer(Stream* stream, int status) noexcept nogil

cdef inline void record_quality(Stream* stream, int status) noexcept nogil:
    """Tell drr what the endpoint that was picked has answered; nothing for any other method."""
    if stream.backend != NULL and stream.backend.dynamic:
        record_answer(stream, status)
