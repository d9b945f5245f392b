"""Answers which fastproxy makes itself. See answer.pyx."""

from fastproxy.engine.stream.stream cimport Reply, Stream

cdef enum:
    REPLY_PIECE = 262144  # of a long body in memory, written when the one before is gone

cdef bint intercept(Stream* stream, int status) noexcept nogil
cdef void exchange_reply(Stream* stream, const Reply* reply) noexcept nogil
cdef void exchange_refuse(Stream* stream, int status, const char* lines) noexcept nogil
cdef void send_more(Stream* stream) noexcept nogil
