"""The end of an exchange. See end.pyx."""

from fastproxy.engine.stream.stream cimport Stream

cdef void exchange_end(Stream* stream) noexcept nogil
