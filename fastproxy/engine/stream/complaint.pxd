"""Why a request could not be served, for the log. See complaint.pyx."""

from libc.stdint cimport uint64_t

from fastproxy.engine.stream.stream cimport Engine, Pool, Stream

cdef enum:
    CUT = -1  # in place of a status: the client sees that the response is not whole

cdef enum Why:  # as fastproxy.system.complaints.Why
    WHY_UNKNOWN
    WHY_CONNECT
    WHY_SOCKET
    WHY_CONNECT_TIMEOUT
    WHY_NAME
    WHY_NAME_TIMEOUT
    WHY_TLS
    WHY_TLS_TIMEOUT
    WHY_RESPONSE_TIMEOUT
    WHY_UPGRADE_TIMEOUT
    WHY_STALL
    WHY_CLOSED
    WHY_RESET
    WHY_MALFORMED
    WHY_TOO_LONG
    WHY_TRUNCATED
    WHY_NO_ENDPOINT
    WHY_NO_WEIGHT
    WHY_BREAKER
    WHY_FULL
    WHY_PAUSED
    WHY_NO_URL
    WHY_AUTH_TIMEOUT
    WHY_AUTH_TOO_LONG

cdef void reason_is(Engine* engine, int why, int error) noexcept nogil
cdef void reason_text(Engine* engine, int why, const char* text) noexcept nogil
cdef void complain_failure(const Stream* stream, const Pool* pool, int failure, int status) noexcept nogil
cdef void complain(const Stream* stream, int why, int status) noexcept nogil
cdef void complain_about(const Stream* stream, const Pool* pool, int why, int status) noexcept nogil
cdef void complain_plainly(Engine* engine, int why) noexcept nogil

cdef list complaints_take(Engine* engine)
cdef int complaints_install(Engine* engine) except -1
