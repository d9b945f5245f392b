"""Handshakes of clients: who waits, who has left, and how much time they get. See handshake.pyx."""

from libc.stdint cimport int64_t

from fastproxy.engine.client.h1_connection cimport Downstream
from fastproxy.engine.stream.stream cimport Engine

cdef bint handshake_may(Engine* engine) noexcept nogil
cdef void handshake_charge(Engine* engine, int64_t began) noexcept nogil
cdef void handshake_begin(Downstream* downstream) noexcept nogil
cdef void handshake_event(Downstream* downstream) noexcept nogil
cdef void handshake_reset(Downstream* downstream) noexcept nogil
