"""Which trailers may pass. See trailers.pyx."""

from libc.stdint cimport uint32_t

from fastproxy.engine.stream.stream cimport Stream
from fastproxy.engine.http.fields cimport Trailers

cdef uint32_t pass_trailers(Trailers* trailers, const Stream* stream, bint request) noexcept nogil
