"""The PROXY protocol header of a connection. See proxy_protocol.pyx."""

from libc.stdint cimport uint8_t

from fastproxy.engine.stream.stream cimport EntryPoint

cdef bint inside(const uint8_t* rows, size_t count, const uint8_t* address) noexcept nogil
cdef int proxy_header(int descriptor, const EntryPoint* entry_point, uint8_t* address) noexcept nogil
