"""The client side of HTTP/2, as connections and data plane call it. See h2.pyx."""

from fastproxy.engine.client.h1_connection cimport Downstream
from fastproxy.engine.stream.stream cimport Engine

cdef int http2_install(Engine* engine) except -1
cdef void http2_begin(Downstream* downstream, const char* data, size_t size) noexcept nogil
cdef void http2_event(Downstream* downstream) noexcept nogil
cdef void http2_flush(Downstream* downstream) noexcept nogil
cdef bint http2_deadline(Downstream* downstream, int kind) noexcept nogil
cdef void http2_drain(Downstream* downstream) noexcept nogil
cdef bint http2_idle(const Downstream* downstream) noexcept nogil
