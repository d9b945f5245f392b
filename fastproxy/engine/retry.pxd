"""Another attempt at another endpoint. See retry.pyx."""

from fastproxy.engine.stream cimport Stream

cdef int retry(Stream* stream, int failure) noexcept nogil
