"""HTTP/1.1 as a client's codec: how responses look on the wire, and what else an exchange asks for.

Invariant: a response head is serialised into `engine.out` and sent together with the first piece of
its body in one `sendmsg`; `head_waiting` is only set between `send_head` and `send_body` of one call.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from fastproxy.engine.client.answer cimport downstream_answered, downstream_reply
from fastproxy.engine.client.h1_connection cimport (
    DOWNSTREAM_BUSY, DOWNSTREAM_TUNNEL, Downstream, downstream_close, downstream_date,
    downstream_left, downstream_of, downstream_reset, downstream_send, downstream_state,
)
from fastproxy.engine.client.tunnel cimport downstream_settle_tunnel
from fastproxy.engine.exchange.request cimport exchange_full, exchange_tunnel
from fastproxy.engine.http.h1_writer cimport chunk_line, write_response
from fastproxy.engine.http.writer cimport Writer
from fastproxy.engine.http.head cimport Head
from fastproxy.engine.loop.posix cimport iovec
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_BODY, DEADLINE_TUNNEL, deadline_clear, deadline_set, source_run,
)
from fastproxy.engine.stream.stream cimport CLIENT_GONE, CLIENT_READY, Engine, Stream

cdef enum:
    JOINED = 2048  # a body that is copied behind its head


cdef bint _send_head(Stream* stream, const Head* head) noexcept nogil:
    """Decide about framing and the connection, and write the head; `_send_body` sends it."""
    cdef Downstream* downstream = downstream_of(stream)
    cdef Engine* engine = downstream.engine
    cdef Writer writer
    downstream.response_chunked = 0
    downstream.until_close = 0
    if head.content_length < 0 and not (
        stream.is_head or head.status == 204 or head.status == 304 or head.status == 101
    ):
        if downstream.http10:
            downstream.until_close = 1
            downstream.keep_alive = 0
        else:
            downstream.response_chunked = 1
    if not downstream.wire.message_done and head.status != 101:
        downstream.keep_alive = 0  # an early answer: what is left of the body is unknown
    if engine.draining:
        downstream.keep_alive = 0
    downstream_date(engine)
    writer.data = engine.out
    writer.size = 0
    writer.capacity = engine.out_size
    writer.failed = 0
    write_response(
        &writer, head,
        downstream.response_chunked or (stream.is_head and head.chunked and not downstream.http10),
        not downstream.keep_alive, downstream.http10 and downstream.keep_alive, engine.date, NULL, 0,
    )
    downstream.head_waiting = 0 if writer.failed else writer.size
    if engine.note_sent != NULL:
        engine.note_sent(stream, writer.data, downstream.head_waiting)
    return not writer.failed


cdef int _send_body(Stream* stream, const char* data, size_t size, uint8_t last) noexcept nogil:
    cdef Downstream* downstream = downstream_of(stream)
    cdef Engine* engine = downstream.engine
    cdef iovec vector[6]
    cdef char line[24]
    cdef char block[8192 + 8]
    cdef int count = 0, i
    cdef size_t total = 0
    if downstream.head_waiting:
        if size <= JOINED and not downstream.response_chunked and downstream.head_waiting + size <= engine.out_size:
            memcpy(engine.out + downstream.head_waiting, data, size)  # one piece is cheaper to send
            downstream.head_waiting += size
            size = 0
        vector[0].iov_base = engine.out
        vector[0].iov_len = downstream.head_waiting
        downstream.head_waiting = 0
        count = 1
    if downstream.response_chunked:
        count += _frame(stream, vector + count, line, block, data, size, last)
    elif size:
        vector[count].iov_base = <void*> data
        vector[count].iov_len = size
        count += 1
    for i in range(count):
        total += vector[i].iov_len
    if total and not downstream_send(downstream, vector, count, total):
        downstream_close(downstream)
        return CLIENT_GONE
    if downstream.state == DOWNSTREAM_TUNNEL:
        if last:
            downstream.ended |= 2
            downstream_settle_tunnel(downstream)
        else:
            deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_TUNNEL)
    elif last and downstream.state == DOWNSTREAM_BUSY:
        downstream_answered(downstream)
        return CLIENT_READY
    return downstream_state(downstream)


cdef int _frame(
    Stream* stream, iovec* vector, char* line, char* block, const char* data, size_t size, uint8_t last
) noexcept nogil:
    """Describe one piece of a chunked response; at most 4 entries."""
    cdef int count = 0, i
    if size:
        vector[0].iov_base = line
        vector[0].iov_len = chunk_line(line, size)
        vector[1].iov_base = <void*> data
        vector[1].iov_len = size
        count = 2
    if last and stream.trailers != NULL:
        if size:
            memcpy(block, "\r\n0\r\n", 5)
        else:
            memcpy(block, "0\r\n", 3)
        i = 5 if size else 3
        memcpy(block + i, stream.trailers.data, stream.trailers.size)
        memcpy(block + i + stream.trailers.size, "\r\n", 2)
        vector[count].iov_base = block
        vector[count].iov_len = i + stream.trailers.size + 2
        return count + 1
    if last:
        vector[count].iov_base = <void*> (<const char*> "\r\n0\r\n\r\n" if size else <const char*> "0\r\n\r\n")
        vector[count].iov_len = 7 if size else 5
        return count + 1
    if size:
        vector[count].iov_base = <void*> <const char*> "\r\n"
        vector[count].iov_len = 2
        count += 1
    return count


cdef void _reset(Stream* stream) noexcept nogil:
    """Where length or chunks say how much is missing, an end is enough."""
    cdef Downstream* downstream = downstream_of(stream)
    if downstream.until_close or downstream.state == DOWNSTREAM_TUNNEL:
        downstream_reset(downstream)
    else:
        downstream_close(downstream)


cdef int _raw(Stream* stream) noexcept nogil:
    """The client's socket, when nothing waits before the next byte of an unframed body."""
    cdef Downstream* downstream = downstream_of(stream)
    if (
        downstream.ssl != NULL or downstream.response_chunked or downstream.head_waiting
        or downstream.output.first != NULL or downstream.state != DOWNSTREAM_BUSY
    ):
        return -1
    if downstream.hung_up:
        downstream_left(downstream)
    return downstream.source.descriptor


cdef void _resume(Stream* stream) noexcept nogil:
    cdef Downstream* downstream = downstream_of(stream)
    if downstream.source.dead:
        return
    if downstream.state == DOWNSTREAM_TUNNEL and downstream.pending_size:
        exchange_tunnel(stream, downstream.pending, downstream.pending_size)
        free(downstream.pending)
        downstream.pending = NULL
        downstream.pending_size = 0
    downstream.paused = exchange_full(stream)
    if downstream.readable or downstream.pending_size:
        source_run(&downstream.source)


cdef void downstream_ask_body(Stream* stream) noexcept nogil:
    """The endpoint (or its silence) asks for the body; so do we."""
    cdef Downstream* downstream = downstream_of(stream)
    cdef iovec vector[1]
    if not downstream.waiting_continue:
        return
    downstream.waiting_continue = 0
    stream.expect = 0
    vector[0].iov_base = <void*> <const char*> "HTTP/1.1 100 Continue\r\n\r\n"
    vector[0].iov_len = 25
    if not downstream_send(downstream, vector, 1, 25):
        downstream_close(downstream)
        return
    deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)
    if downstream.readable:
        source_run(&downstream.source)


cdef void _upgrade(Stream* stream) noexcept nogil:
    """Bytes go both ways as they come. What may be missing of the request's body goes first by itself:
    it has a length, so nothing stands between its bytes."""
    cdef Downstream* downstream = downstream_of(stream)
    downstream.waiting_continue = 0
    downstream.state = DOWNSTREAM_TUNNEL
    downstream.keep_alive = 0
    downstream.ended = 0
    deadline_clear(downstream.engine.reactor, &downstream.total)
    deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_TUNNEL)


cdef void* _tls(Stream* stream) noexcept nogil:
    return downstream_of(stream).ssl


downstream_codec.send_head = _send_head
downstream_codec.send_body = _send_body
downstream_codec.send_reply = downstream_reply
downstream_codec.reset = _reset
downstream_codec.resume = _resume
downstream_codec.ask_body = downstream_ask_body
downstream_codec.upgrade = _upgrade
downstream_codec.raw = _raw
downstream_codec.tls = _tls
downstream_codec.protocol = "HTTP/1.1"
