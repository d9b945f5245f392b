"""A client's requests. See downstream_request.pyx."""

from fastproxy.engine.downstream_connection cimport Downstream
from fastproxy.engine.head cimport Head
from fastproxy.engine.stream cimport Stream

cdef void downstream_read_head(Downstream* downstream) noexcept nogil
cdef void downstream_continue(Stream* stream, Head* head, char* body, size_t body_size, int code) noexcept nogil
cdef void downstream_read_body(Downstream* downstream) noexcept nogil
