"""Heads of requests over HTTP/2. See h2_request.pyx."""

from libc.stdint cimport uint8_t

from fastproxy.engine.client.h2_state cimport Exchange, Http2
from fastproxy.engine.http2.h2_streams cimport H2Stream

cdef void http2_request(Http2* http2, H2Stream* wire, uint8_t end) noexcept nogil
cdef void http2_trailers(Exchange* exchange) noexcept nogil
