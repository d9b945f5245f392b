"""Exchanges of HTTP/2 connections: their memory and their ends. See h2_exchange.pyx."""

from libc.stdint cimport uint32_t

from fastproxy.engine.client.h2_state cimport Exchange, Http2
from fastproxy.engine.http2.h2_streams cimport H2Stream

cdef Exchange* exchange_new(Http2* http2, H2Stream* wire) noexcept nogil
cdef void exchange_free(Exchange* exchange) noexcept nogil
cdef void exchange_finish(Exchange* exchange) noexcept nogil
cdef void exchange_stop(Exchange* exchange, uint32_t code) noexcept nogil
cdef void http2_wake(Http2* http2) noexcept nogil
