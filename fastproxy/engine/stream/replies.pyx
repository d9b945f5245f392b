"""Answers made by fastproxy itself (`features.md` 1.2): one function for each style.

All fill `engine.reply`; what they point to lives in the worker's scratch memory or is constant.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memset, strlen

from fastproxy.engine.http.methods cimport METHOD_GET
from fastproxy.engine.http.head cimport Head
from fastproxy.engine.http.writer cimport Writer, status_text, write_field, write_text
from fastproxy.engine.stream.stream cimport (
    FAIL_CONNECT_TIMEOUT, FAIL_INTERNAL, FAIL_RESPONSE_TIMEOUT, FAIL_UNTRUSTED, Engine, Reply,
)


cdef int plain_reply(Engine* engine, int status, const char* body) noexcept nogil:
    """The usual answer of 1.2: plain text without newline."""
    memset(&engine.reply, 0, sizeof(Reply))
    engine.reply.status = status
    engine.reply.body = body
    engine.reply.body_size = strlen(body)
    return STEP_REPLY


cdef int error_reply(Engine* engine, int status, const char* body) noexcept nogil:
    """The "E" style of 1.2."""
    plain_reply(engine, status, body)
    engine.reply.nosniff = 1
    return STEP_REPLY


cdef int not_found(Engine* engine) noexcept nogil:
    """No route, or one that is there to say so."""
    return error_reply(engine, 404, "404 page not found\n")


cdef int failure_reply(Engine* engine, int failure) noexcept nogil:
    """The one place where an upstream failure becomes a status (`features.md` 1.2)."""
    if failure == FAIL_CONNECT_TIMEOUT or failure == FAIL_RESPONSE_TIMEOUT:
        return plain_reply(engine, 504, "Gateway Timeout")
    if failure == FAIL_UNTRUSTED or failure == FAIL_INTERNAL:
        return plain_reply(engine, 500, "Internal Server Error")
    return plain_reply(engine, 502, "Bad Gateway")


cdef Writer reply_lines(Engine* engine) noexcept nogil:
    """A writer for header lines of an answer, in what is left of the scratch memory."""
    cdef Writer writer
    writer.data = engine.scratch.extra + engine.scratch.extra_used
    writer.capacity = sizeof(engine.scratch.extra) - engine.scratch.extra_used
    writer.size = 0
    writer.failed = 0
    return writer


cdef int location_reply(Engine* engine, int status, const char* value, size_t size) noexcept nogil:
    """A redirect; the value may not contain line ends."""
    cdef Writer writer = reply_lines(engine)
    if not write_field(&writer, "Location", 8, value, size) or writer.failed:
        return plain_reply(engine, 500, "Internal Server Error")
    plain_reply(engine, status, status_text(status))
    engine.reply.lines = writer.data
    engine.reply.lines_size = writer.size
    engine.scratch.extra_used += <uint32_t> writer.size
    return STEP_REPLY


cdef int redirect_status(const Head* head, uint32_t permanent) noexcept nogil:
    if head.method == METHOD_GET:
        return 301 if permanent else 302
    return 308 if permanent else 307


cdef int redirect_to(Stream* stream, Head* head, Writer* writer, int status) noexcept nogil:
    """Answer with what was written as Location."""
    if writer.failed:
        return plain_reply(stream.engine, 414, "Request URI Too Long")
    stream.engine.scratch.extra_used += <uint32_t> writer.size
    return location_reply(stream.engine, status, writer.data, writer.size)


cdef void link_body(Engine* engine, const char* location, size_t size, const char* text) noexcept nogil:
    """`<a href="LOC">TEXT</a>.` and two newlines, the location escaped for HTML."""
    cdef Writer writer = reply_lines(engine)
    cdef size_t i
    write_text(&writer, '<a href="', 9)
    for i in range(size):
        if location[i] == c'&':
            write_text(&writer, "&amp;", 5)
        elif location[i] == c'\'':
            write_text(&writer, "&#39;", 5)
        else:
            write_text(&writer, location + i, 1)
    write_text(&writer, '">', 2)
    write_text(&writer, text, strlen(text))
    write_text(&writer, "</a>.\n\n", 7)
    engine.reply.type = "text/html; charset=utf-8"
    if writer.failed:
        writer.size = 0
    engine.reply.body = writer.data
    engine.reply.body_size = writer.size
    engine.scratch.extra_used += <uint32_t> writer.size
