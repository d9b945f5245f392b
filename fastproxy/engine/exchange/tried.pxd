"""Attempts that failed. See tried.pyx."""

from libc.stdint cimport uint32_t

from fastproxy.engine.stream.stream cimport Stream

cdef void tried(Stream* stream, uint32_t flags, int status) noexcept nogil
cdef void forget_tried(Stream* stream) noexcept nogil
