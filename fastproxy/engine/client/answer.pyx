"""What becomes of a connection behind an answer, and how answers of our own look on it.

Invariant: `downstream_finish` is the only end of an exchange that leaves the connection usable.

State-machine trap: an early answer while the request body still arrives (the rest is thrown away up
to a limit, or the connection closes after the answer).
"""

from libc.stdint cimport uint64_t
from libc.string cimport strlen

from fastproxy.engine.client.h1_connection cimport (
    DOWNSTREAM_BUSY, DOWNSTREAM_DRAIN, DOWNSTREAM_HEAD, Downstream, downstream_close,
    downstream_date, downstream_end, downstream_of, downstream_send, downstream_state,
)
from fastproxy.engine.exchange.answer cimport exchange_refuse
from fastproxy.engine.exchange.end cimport exchange_end, exchange_release
from fastproxy.engine.http.h1_parser cimport wire_next
from fastproxy.engine.http.writer cimport Writer, status_text, write_field, write_number, write_text
from fastproxy.engine.loop.posix cimport iovec
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_BODY, DEADLINE_IDLE, deadline_clear, deadline_set, source_run,
)
from fastproxy.engine.stream.stream cimport CLIENT_GONE, Engine, Reply, Stream

# RFC 9110 15.5.22 and 6455 4.4: what a 426 has to name.
cdef const char* WEBSOCKET_ONLY = (
    "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
)


cdef void downstream_finish(Downstream* downstream) noexcept nogil:
    """Request read and response handed over completely: next request, or close."""
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
    if not downstream.keep_alive or downstream.waiting_continue or downstream.wire.error:
        downstream.keep_alive = 0
        downstream_finish(downstream)
        return
    # llhttp counts down the present chunk or the whole body here.
    if left > engine.unread_body:
        downstream.keep_alive = 0
        downstream_finish(downstream)
        return
    exchange_release(&downstream.stream)
    downstream.state = DOWNSTREAM_DRAIN
    downstream.drained = 0
    if downstream.output.first == NULL:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)
    downstream.paused = 0
    source_run(&downstream.source)


cdef int downstream_reply(Stream* stream, const Reply* reply, size_t size) noexcept nogil:
    """Send an answer of our own (`features.md` 1.2), with so many bytes of its body."""
    cdef Downstream* downstream = downstream_of(stream)
    cdef Engine* engine = downstream.engine
    cdef Writer writer
    cdef iovec vector[2]
    cdef const char* reason = status_text(reply.status)
    if reply.close or engine.draining:
        downstream.keep_alive = 0
    if not downstream.wire.message_done and (
        downstream.waiting_continue or downstream.wire.parser.content_length > engine.unread_body
    ):
        downstream.keep_alive = 0
    downstream.response_chunked = 0
    downstream.until_close = 0
    downstream.head_waiting = 0
    downstream_date(engine)
    writer.data = engine.out
    writer.size = 0
    writer.capacity = engine.out_size
    writer.failed = 0
    write_text(&writer, "HTTP/1.1 ", 9)
    write_number(&writer, reply.status)
    write_text(&writer, " ", 1)
    write_text(&writer, reason, strlen(reason))
    write_text(&writer, "\r\n", 2)
    if not reply.has_date:
        write_text(&writer, engine.date, strlen(engine.date))
    if not reply.has_server:
        write_text(&writer, "Server: fastproxy\r\n", 19)
    if reply.status >= 200 and reply.status != 204 and reply.status != 304:
        if reply.type != NULL and not reply.raw:
            write_field(&writer, "Content-Type", 12, reply.type, strlen(reply.type))
        write_text(&writer, "Content-Length: ", 16)
        write_number(&writer, reply.body_size)
        write_text(&writer, "\r\n", 2)
    if reply.vary:
        write_text(&writer, "Vary: Accept-Encoding\r\n", 23)
    if reply.nosniff:
        write_text(&writer, "X-Content-Type-Options: nosniff\r\n", 33)
    if reply.lines_size:
        write_text(&writer, reply.lines, reply.lines_size)
    if not downstream.keep_alive:
        write_text(&writer, "Connection: close\r\n", 19)
    elif downstream.http10:
        write_text(&writer, "Connection: keep-alive\r\n", 24)
    write_text(&writer, "\r\n", 2)
    if engine.note_sent != NULL:
        engine.note_sent(stream, writer.data, writer.size)
    vector[0].iov_base = writer.data
    vector[0].iov_len = writer.size
    vector[1].iov_base = <void*> reply.body
    vector[1].iov_len = size
    if writer.failed or not downstream_send(downstream, vector, 2 if size else 1, writer.size + size):
        downstream_close(downstream)
        return CLIENT_GONE
    if stream.rest_size == 0:
        downstream_answered(downstream)
    return downstream_state(downstream)


cdef void downstream_refuse(Downstream* downstream, int status) noexcept nogil:
    """Answer a message that cannot be understood, and close without parsing further."""
    downstream.keep_alive = 0
    downstream.wire.error = 400
    downstream.state = DOWNSTREAM_BUSY
    downstream.stream.is_head = 0
    exchange_refuse(&downstream.stream, status, WEBSOCKET_ONLY if status == 426 else NULL)
