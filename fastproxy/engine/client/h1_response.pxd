"""Responses on their way to the client. See h1_response.pyx."""

from fastproxy.engine.stream.stream cimport Stream, StreamOwner

cdef StreamOwner downstream_owner  # what the upstream side calls

cdef void downstream_failed(Stream* stream, int failure) noexcept nogil
cdef void downstream_on_continue(Stream* stream) noexcept nogil
