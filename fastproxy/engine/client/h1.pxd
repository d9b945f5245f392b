"""The client side of HTTP/1.1. See h1.pyx."""

from libc.stdint cimport uint32_t

from fastproxy.engine.stream.stream cimport Engine

cdef void downstream_accept(
    Engine* engine, int descriptor, uint32_t entry_point, const void* address, bint over
) noexcept nogil
cdef bint downstream_give_way(Engine* engine) noexcept nogil
cdef void downstream_drain(Engine* engine) noexcept nogil
cdef void downstream_close_all(Engine* engine) noexcept nogil
