"""Another attempt at another endpoint. See connect_retry.pyx."""

from fastproxy.engine.stream.stream cimport Stream

cdef int retry(Stream* stream, int failure) noexcept nogil
