"""Answers made by fastproxy itself. See replies.pyx."""

from libc.stdint cimport uint32_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.http.writer cimport Writer
from fastproxy.engine.stream.stream cimport Engine, Stream

cdef enum:
    STEP_GO_ON = 0
    STEP_REPLY = 1  # engine.reply holds the answer
    STEP_PARK = 2  # Python goes on with the stream later
    STEP_OVER = 3  # go on behind the operation that follows
    STEP_COLLECT = 4  # the request body has to be complete first

cdef enum:
    CLIENT_CLOSED = 499  # the client left before there was an answer (`features.md` 1.2); never sent

cdef inline int because(Engine* engine, uint32_t flag) noexcept nogil:
    """Say for the record why `engine.reply` is the answer (RECORD_*)."""
    engine.reply.flags = flag
    return STEP_REPLY

cdef int plain_reply(Engine* engine, int status, const char* body) noexcept nogil
cdef int error_reply(Engine* engine, int status, const char* body) noexcept nogil
cdef int not_found(Engine* engine) noexcept nogil
cdef int failure_reply(Engine* engine, int failure) noexcept nogil
cdef Writer reply_lines(Engine* engine) noexcept nogil
cdef int location_reply(Engine* engine, int status, const char* value, size_t size) noexcept nogil
cdef int redirect_to(Stream* stream, Head* head, Writer* writer, int status) noexcept nogil
cdef int redirect_status(const Head* head, uint32_t permanent) noexcept nogil
cdef void link_body(Engine* engine, const char* location, size_t size, const char* text) noexcept nogil
