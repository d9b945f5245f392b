"""A client's requests. See h1_request.pyx."""

from fastproxy.engine.client.h1_connection cimport Downstream

cdef void downstream_read_head(Downstream* downstream) noexcept nogil
cdef void downstream_read_body(Downstream* downstream) noexcept nogil
