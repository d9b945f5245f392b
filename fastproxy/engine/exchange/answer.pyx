"""Answers which fastproxy makes itself (`features.md` 1.2), and bodies that are in memory as a whole.

A long body is handed over piece by piece, as the client takes it: what waits for a client is copied.
"""

from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcpy, strlen

from fastproxy.engine.exchange.compress cimport WISH_GZIP, compress_answer
from fastproxy.engine.http.writer cimport status_text
from fastproxy.engine.operations.pages cimport page_wanted
from fastproxy.engine.stream.record cimport (
    RECORD_BAD_REQUEST, RECORD_CLIENT_SLOW, RECORD_INTERNAL, RECORD_PAGE, RECORD_REDIRECT, RECORD_UNAUTHORISED,
    Record,
)
from fastproxy.engine.stream.replies cimport plain_reply
from fastproxy.engine.stream.stream cimport CLIENT_READY, Reply, Stream
from fastproxy.engine.upstream.h1_request cimport upstream_abort


cdef bint intercept(Stream* stream, int status) noexcept nogil:
    """An error page replaces this response: Python fetches it, the stream waits."""
    cdef uint32_t slot
    memcpy(&slot, stream.pages, 4)
    stream.pages = NULL  # a page is never itself replaced
    if stream.engine.intercept(stream, slot, status) != 0:
        return False
    stream.buffering.attempt = 0
    stream.record.flags |= RECORD_PAGE
    _note_origin(stream, status, 0)
    upstream_abort(stream)
    stream.parked = 1
    return True


cdef inline void _note_origin(Stream* stream, int status, size_t size) noexcept nogil:
    """What the step that answered said, unless something outside of it has replaced its answer."""
    if stream.record.origin_status == 0:
        stream.record.origin_status = <uint16_t> status
        stream.record.origin_body = size


cdef void _note_reply(Stream* stream, const Reply* reply) noexcept nogil:
    """What an answer of our own tells the record."""
    cdef Record* record = &stream.record
    record.status = <uint16_t> reply.status
    record.own = 1
    record.answered = stream.engine.reactor.now_ns
    if record.chosen == 0:
        record.chosen = record.answered
    if reply.flags or record.flags & RECORD_PAGE:
        record.flags |= reply.flags
    elif reply.status >= 500:
        record.flags |= RECORD_INTERNAL
    elif reply.status == 401:
        record.flags |= RECORD_UNAUTHORISED
    elif reply.status == 400 or reply.status == 413 or reply.status == 414 or reply.status == 431:
        record.flags |= RECORD_BAD_REQUEST
    elif 300 <= reply.status < 400:
        record.flags |= RECORD_REDIRECT


cdef void exchange_reply(Stream* stream, const Reply* reply) noexcept nogil:
    """Send an answer of our own; it ends the exchange, unless an error page takes its place."""
    cdef Reply answer = reply[0]
    cdef bint body_allowed = reply.status >= 200 and reply.status != 204 and reply.status != 304
    cdef bint gzip = False
    cdef size_t first
    if page_wanted(stream, reply.status) and intercept(stream, reply.status):
        stream.record.flags |= answer.flags
        return
    _note_reply(stream, &answer)
    _note_origin(stream, answer.status, 0 if stream.is_head or not body_allowed else answer.body_size)
    if body_allowed and not answer.raw and answer.type == NULL and answer.body_size:
        answer.type = "text/plain; charset=utf-8"
    if stream.compress & WISH_GZIP and body_allowed:
        gzip = compress_answer(
            &stream.compression, stream.engine.scratch, answer.status, &answer.lines, &answer.lines_size,
            <char**> &answer.body, &answer.body_size,
        )
    answer.vary = stream.compress != 0
    stream.engine.counters.replies += 1
    stream.status = <uint16_t> answer.status
    first = answer.body_size if body_allowed and not stream.is_head else 0
    stream.record.response_body = first
    if answer.raw and not gzip and first > REPLY_PIECE:
        stream.rest = answer.body + REPLY_PIECE
        stream.rest_size = first - REPLY_PIECE
        first = REPLY_PIECE
        stream.response_started = 1
    if stream.codec.send_reply(stream, &answer, first) == CLIENT_READY and stream.rest_size:
        send_more(stream)


cdef void send_more(Stream* stream) noexcept nogil:
    """Send more of a long body in memory, piece by piece, as the client takes them."""
    cdef const char* piece
    cdef size_t size
    cdef int state = CLIENT_READY
    while stream.rest_size and state == CLIENT_READY:
        piece = stream.rest
        size = stream.rest_size if stream.rest_size < REPLY_PIECE else REPLY_PIECE
        stream.rest += size
        stream.rest_size -= size
        state = stream.codec.send_body(stream, piece, size, stream.rest_size == 0)


cdef void exchange_refuse(Stream* stream, int status, const char* lines) noexcept nogil:
    """Answer a message that cannot be understood or is larger than allowed, with header lines (or NULL);
    nothing that follows it is a request. When a response is under way already, it ends broken."""
    cdef Reply* reply = &stream.engine.reply
    upstream_abort(stream)
    if stream.response_started:
        stream.codec.reset(stream)
        return
    stream.buffering.collecting = 0
    plain_reply(stream.engine, status, status_text(status))
    if lines != NULL:
        reply.lines = lines
        reply.lines_size = strlen(lines)
    reply.close = 1
    reply.flags = RECORD_CLIENT_SLOW if status == 408 else RECORD_BAD_REQUEST
    exchange_reply(stream, reply)
