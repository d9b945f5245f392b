"""Requests and responses that are complete before they are passed on. See buffering.pyx."""

from libc.stdint cimport uint8_t, uint32_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.stream.stream cimport Stream

cdef enum:
    RESPONSE_WAITS = 0  # for more of it, or for another one
    RESPONSE_READY = 1
    RESPONSE_REPLY = 2  # engine.reply is the answer

# --- the request ---
cdef int collect_request(Stream* stream, Head* head) noexcept nogil
cdef int collect_more(Stream* stream, const char* data, size_t size, bint last) noexcept nogil
# --- the response ---
cdef int gather_response(Stream* stream, char** data, size_t* size, uint8_t last, Head** head) noexcept nogil
cdef void forget_response(Stream* stream) noexcept nogil
# --- the retry expression ---
cdef bint retry_expression(
    const char* program, uint32_t size, uint32_t attempt, int status, const char* method, size_t method_size
) noexcept nogil
cdef int replay_steps(Stream* stream, Head* head, int code) noexcept nogil
cdef int replay_send(
    Stream* stream, const char* head, size_t head_size, const char* body, size_t body_size
) noexcept nogil
cdef void replay_feed(Stream* stream) noexcept nogil
cdef bint replay_wanted(const Stream* stream, int status) noexcept nogil
cdef int replay(Stream* stream) noexcept nogil
