"""The body of a request over HTTP/2. See h2_input.pyx."""

from libc.stdint cimport uint8_t

from fastproxy.engine.client.h2_state cimport Exchange

cdef void http2_take(Exchange* exchange, const char* data, size_t size, uint8_t end) noexcept nogil
cdef void http2_feed(Exchange* exchange) noexcept nogil
