"""Responses on their way to the client. See response.pyx."""

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.stream.stream cimport Stream, StreamOwner

cdef StreamOwner exchange_owner  # what the upstream side reports to

cdef void exchange_failed(Stream* stream, int failure) noexcept nogil
