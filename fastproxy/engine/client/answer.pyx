"""The end of an exchange, and answers which fastproxy makes itself (`features.md` 1.2).

Invariant: `downstream_finish` is the only end of an exchange that leaves the connection usable; it
releases what the steps took, exactly once.

State-machine trap: an early answer while the request body still arrives (the rest is thrown away up
to a limit, or the connection closes after the answer).
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen

from fastproxy.engine.exchange.compress cimport WISH_GZIP, compress_answer
from fastproxy.engine.exchange.end cimport exchange_end, exchange_release
from fastproxy.engine.client.h1_connection cimport (
    DOWNSTREAM_BUSY, DOWNSTREAM_DRAIN, DOWNSTREAM_HEAD, Downstream, downstream_close,
    downstream_date, downstream_end, downstream_of, downstream_release, downstream_send,
)
from fastproxy.engine.http.h1_writer cimport Writer, status_text, write_field, write_number, write_text
from fastproxy.engine.loop.posix cimport iovec
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_BODY, DEADLINE_IDLE, deadline_clear, deadline_set, source_run,
)
from fastproxy.engine.stream.replies cimport plain_reply
from fastproxy.engine.operations.pages cimport page_wanted
from fastproxy.engine.stream.record cimport (
    RECORD_BAD_REQUEST, RECORD_CLIENT_SLOW, RECORD_INTERNAL, RECORD_PAGE, RECORD_REDIRECT, RECORD_UNAUTHORISED,
    Record,
)
from fastproxy.engine.stream.stream cimport Engine, Reply, Stream
from fastproxy.engine.upstream.h1_request cimport upstream_abort
from fastproxy.engine.http.h1_parser cimport wire_next

# RFC 9110 15.5.22 and 6455 4.4: what a 426 has to name.
cdef const char* WEBSOCKET_ONLY = (
    "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
)


cdef void downstream_finish(Downstream* downstream) noexcept nogil:
    """Request read and response handed over completely: next request, or close."""
    downstream_release(downstream)
    if downstream.output.first == NULL:
        exchange_end(&downstream.stream)
    else:
        exchange_release(&downstream.stream)
    deadline_clear(downstream.engine.reactor, &downstream.total)
    if not downstream.keep_alive or downstream.engine.draining:
        if downstream.output.first == NULL:
            downstream_end(downstream)
        else:
            downstream.closing = 1
        return
    wire_next(&downstream.wire)
    downstream.state = DOWNSTREAM_HEAD
    if downstream.output.first != NULL:
        return  # DEADLINE_STALL is running; _written goes on
    deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_IDLE)
    if downstream.pending_size or downstream.readable:
        source_run(&downstream.source)


cdef void downstream_answered(Downstream* downstream) noexcept nogil:
    """The response is complete. What becomes of a request body that is still arriving?"""
    cdef Engine* engine = downstream.engine
    cdef uint64_t left = downstream.wire.parser.content_length
    if downstream.wire.message_done:
        downstream_finish(downstream)
        return
    upstream_abort(&downstream.stream)
    if not downstream.keep_alive or downstream.waiting_continue or downstream.wire.error:
        downstream.keep_alive = 0
        downstream_finish(downstream)
        return
    # llhttp counts down the present chunk or the whole body here.
    if left > engine.unread_body:
        downstream.keep_alive = 0
        downstream_finish(downstream)
        return
    downstream_release(downstream)
    exchange_release(&downstream.stream)
    downstream.state = DOWNSTREAM_DRAIN
    downstream.drained = 0
    if downstream.output.first == NULL:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)
    downstream.paused = 0
    source_run(&downstream.source)


cdef bint downstream_intercept(Downstream* downstream, int status) noexcept nogil:
    """An error page replaces this response: Python fetches it, the stream waits."""
    cdef Stream* stream = &downstream.stream
    cdef uint32_t slot
    memcpy(&slot, stream.pages, 4)
    stream.pages = NULL  # a page is never itself replaced
    if downstream.engine.intercept(stream, slot, status) != 0:
        return False
    stream.attempt = 0
    stream.record.flags |= RECORD_PAGE
    _note_origin(stream, status, 0)
    upstream_abort(stream)
    downstream.parked = 1
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


cdef void downstream_reply(Stream* stream, const Reply* reply) noexcept nogil:
    """Send an answer of our own and end the exchange (`features.md` 1.2)."""
    cdef Downstream* downstream = downstream_of(stream)
    cdef Engine* engine = downstream.engine
    cdef Writer writer
    cdef iovec vector[2]
    cdef const char* reason = status_text(reply.status)
    cdef const char* kind = reply.type
    cdef bint body_allowed = reply.status >= 200 and reply.status != 204 and reply.status != 304
    cdef char* body = <char*> reply.body
    cdef size_t body_size = reply.body_size
    cdef const char* lines = reply.lines
    cdef size_t lines_size = reply.lines_size
    cdef bint gzip = False
    if page_wanted(stream, reply.status) and downstream_intercept(downstream, reply.status):
        stream.record.flags |= reply.flags
        return
    _note_reply(stream, reply)
    _note_origin(stream, reply.status, 0 if stream.is_head or not body_allowed else body_size)
    if stream.compress & WISH_GZIP and body_allowed:
        gzip = compress_answer(
            &downstream.compression, reply.status, &lines, &lines_size, &body, &body_size
        )
    writer.data = engine.out
    writer.size = 0
    writer.capacity = engine.out_size
    writer.failed = 0
    if reply.close or engine.draining:
        downstream.keep_alive = 0
    if not downstream.wire.message_done and (
        downstream.waiting_continue or downstream.wire.parser.content_length > engine.unread_body
    ):
        downstream.keep_alive = 0
    engine.counters.replies += 1
    stream.status = <uint16_t> reply.status
    downstream_date(engine)
    write_text(&writer, "HTTP/1.1 ", 9)
    write_number(&writer, reply.status)
    write_text(&writer, " ", 1)
    write_text(&writer, reason, strlen(reason))
    write_text(&writer, "\r\n", 2)
    if not reply.has_date:
        write_text(&writer, engine.date, strlen(engine.date))
    if not reply.has_server:
        write_text(&writer, "Server: fastproxy\r\n", 19)
    if body_allowed:
        if (reply.body_size or kind != NULL) and not reply.raw:
            if kind == NULL:
                kind = "text/plain; charset=utf-8"
            write_field(&writer, "Content-Type", 12, kind, strlen(kind))
        write_text(&writer, "Content-Length: ", 16)
        write_number(&writer, body_size)
        write_text(&writer, "\r\n", 2)
    if stream.compress:
        write_text(&writer, "Vary: Accept-Encoding\r\n", 23)
    if reply.nosniff:
        write_text(&writer, "X-Content-Type-Options: nosniff\r\n", 33)
    if lines_size:
        write_text(&writer, lines, lines_size)
    if not downstream.keep_alive:
        write_text(&writer, "Connection: close\r\n", 19)
    elif downstream.http10:
        write_text(&writer, "Connection: keep-alive\r\n", 24)
    write_text(&writer, "\r\n", 2)
    vector[0].iov_base = writer.data
    vector[0].iov_len = writer.size
    vector[1].iov_base = body
    vector[1].iov_len = body_size if body_allowed and not stream.is_head else 0
    stream.record.response_body = vector[1].iov_len
    if reply.raw and not gzip and vector[1].iov_len > REPLY_PIECE:
        downstream.rest = body + REPLY_PIECE
        downstream.rest_size = vector[1].iov_len - REPLY_PIECE
        vector[1].iov_len = REPLY_PIECE
        stream.response_started = 1
    if writer.failed or not downstream_send(downstream, vector, 2 if vector[1].iov_len else 1, writer.size + vector[1].iov_len):
        downstream_close(downstream)
        return
    downstream_reply_on(downstream)


cdef void downstream_reply_on(Downstream* downstream) noexcept nogil:
    """Send more of a long answer of our own, piece by piece, as the client takes them."""
    cdef iovec piece
    while downstream.rest_size and downstream.output.first == NULL:
        piece.iov_base = <void*> downstream.rest
        piece.iov_len = downstream.rest_size if downstream.rest_size < REPLY_PIECE else REPLY_PIECE
        downstream.rest += piece.iov_len
        downstream.rest_size -= piece.iov_len
        if not downstream_send(downstream, &piece, 1, piece.iov_len):
            downstream_close(downstream)
            return
    if downstream.rest_size == 0:
        downstream_answered(downstream)


cdef void downstream_refuse(Downstream* downstream, int status) noexcept nogil:
    """Answer a message that cannot be understood, and close without parsing further."""
    cdef Engine* engine = downstream.engine
    downstream.keep_alive = 0
    downstream.collecting = 0
    downstream.state = DOWNSTREAM_BUSY
    downstream.stream.is_head = 0
    plain_reply(engine, status, status_text(status))
    if status == 426:
        engine.reply.lines = WEBSOCKET_ONLY
        engine.reply.lines_size = strlen(WEBSOCKET_ONLY)
    engine.reply.close = 1
    engine.reply.flags = RECORD_CLIENT_SLOW if status == 408 else RECORD_BAD_REQUEST
    downstream.wire.error = 400
    downstream_reply(&downstream.stream, &engine.reply)
