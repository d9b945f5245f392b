"""A client's requests. See downstream_request.pyx."""

from fastproxy.engine.downstream_connection cimport Downstream

cdef void downstream_read_head(Downstream* downstream) noexcept nogil
cdef void downstream_read_body(Downstream* downstream) noexcept nogil
