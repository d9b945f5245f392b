"""The end of an exchange. See exchange_end.pyx."""

from fastproxy.engine.stream cimport Stream

cdef void exchange_end(Stream* stream) noexcept nogil
