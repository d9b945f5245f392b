"""Own answers and the end of an exchange. See answer.pyx."""

from fastproxy.engine.client.h1_connection cimport Downstream
from fastproxy.engine.stream.stream cimport Reply, Stream

cdef enum:
    REPLY_PIECE = 262144  # of a long body in memory, written when the one before is gone

cdef void downstream_finish(Downstream* downstream) noexcept nogil
cdef void downstream_answered(Downstream* downstream) noexcept nogil
cdef bint downstream_intercept(Downstream* downstream, int status) noexcept nogil
cdef void downstream_reply(Stream* stream, const Reply* reply) noexcept nogil
cdef void downstream_reply_on(Downstream* downstream) noexcept nogil
cdef void downstream_refuse(Downstream* downstream, int status) noexcept nogil
