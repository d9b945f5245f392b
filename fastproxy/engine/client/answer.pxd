"""What becomes of a connection behind an answer; answers of our own. See answer.pyx."""

from fastproxy.engine.client.h1_connection cimport Downstream
from fastproxy.engine.stream.stream cimport Reply, Stream

cdef void downstream_finish(Downstream* downstream) noexcept nogil
cdef void downstream_answered(Downstream* downstream) noexcept nogil
cdef int downstream_reply(Stream* stream, const Reply* reply, size_t size) noexcept nogil
cdef void downstream_refuse(Downstream* downstream, int status) noexcept nogil
