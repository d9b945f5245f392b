"""Response heads which llhttp refuses and a proxy has to understand. See mend.pyx."""

from libc.stdint cimport uint32_t

from fastproxy.engine.http.h1_parser cimport Wire

cdef int mend_head(Wire* wire, uint32_t begin, bint is_head) noexcept nogil
