"""What the upstream side reports, on its way to the client.

Invariant: a response head is serialised into `engine.out` and sent together with the first piece of
its body in one `sendmsg`; `head_waiting` is only set between `on_head` and `on_body` of one call.
"""

from libc.stdint cimport int64_t, uint64_t, uint8_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from fastproxy.engine.exchange.balancing cimport record_quality
from fastproxy.engine.exchange.compress cimport compress_decide, compress_piece, compress_plan
from fastproxy.engine.stream.complaint cimport CUT, complain_failure
from fastproxy.engine.client.answer cimport (
    REPLY_PIECE, downstream_answered, downstream_intercept, downstream_reply, downstream_reply_on,
)
from fastproxy.engine.client.h1_connection cimport (
    DOWNSTREAM_BUSY, DOWNSTREAM_TUNNEL, Downstream, downstream_close, downstream_date,
    downstream_left, downstream_of, downstream_reset, downstream_send,
)
from fastproxy.engine.client.tunnel cimport downstream_settle_tunnel
from fastproxy.engine.http.spool cimport (
    GATHERED, GATHER_FAILED, Gather, gather_add, gather_free, gather_new, gather_whole,
)
from fastproxy.engine.http.head cimport UPGRADE_WEBSOCKET, Head
from fastproxy.engine.http.h1_writer cimport Writer, write_response
from fastproxy.engine.operations.payload cimport Payload, i64
from fastproxy.engine.loop.posix cimport iovec
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_BODY, DEADLINE_TUNNEL, deadline_clear, deadline_set, source_run,
)
from fastproxy.engine.exchange.retry_expression cimport replay, replay_feed, replay_wanted
from fastproxy.engine.stream.record cimport (
    RECORD_BUFFERING, RECORD_CUT, RECORD_INTERNAL, RECORD_TUNNEL_ENDPOINT,
)
from fastproxy.engine.stream.replies cimport STEP_REPLY, because, plain_reply
from fastproxy.engine.exchange.connect_retry cimport retry
from fastproxy.engine.operations.pages cimport page_wanted
from fastproxy.engine.exchange.run cimport response_steps
from fastproxy.engine.stream.stream cimport FAIL_MALFORMED, Engine, Stream
from fastproxy.engine.exchange.trailers cimport pass_trailers
from fastproxy.engine.upstream.h1_request cimport (
    chunk_line, upstream_abort, upstream_pause, upstream_tunnel,
)

cdef enum:
    JOINED = 2048  # a body that is copied behind its head


cdef inline bint _is_bodiless(const Stream* stream, const Head* head) noexcept nogil:
    return stream.is_head or head.status == 204 or head.status == 304 or head.status == 101


cdef void _on_head(Stream* stream, Head* head) noexcept nogil:
    """Serialise the response head; `_on_body`, which follows at once, sends it."""
    cdef Downstream* downstream = downstream_of(stream)
    stream.status = head.status
    stream.record.origin_status = head.status
    stream.record.origin_body = 0
    if stream.attempt and replay_wanted(stream, head.status):
        stream.discarding = 1
        downstream.first_head = head
        return
    # The refusal of a WebSocket handshake is passed as it is (`features.md` 4.3), also below.
    if stream.upgrade != UPGRADE_WEBSOCKET and page_wanted(stream, head.status) and (
        downstream_intercept(downstream, head.status)
    ):
        return
    if stream.buffer != NULL and head.content_length != 0 and not _is_bodiless(stream, head):
        downstream.first_head = head
        return
    _begin_response(downstream, head)


cdef void _begin_response(Downstream* downstream, Head* head) noexcept nogil:
    cdef Stream* stream = &downstream.stream
    cdef Engine* engine = downstream.engine
    cdef Writer writer
    cdef bint bodiless = _is_bodiless(stream, head)
    response_steps(stream, head)
    if stream.compress and stream.upgrade != UPGRADE_WEBSOCKET:
        compress_plan(&downstream.compression, stream.compress, head, bodiless)
    downstream.response_chunked = 0
    downstream.until_close = 0
    if not bodiless and head.content_length < 0:
        if downstream.http10:
            downstream.until_close = 1
            downstream.keep_alive = 0
        else:
            downstream.response_chunked = 1
    if not stream.request_done and stream.body == NULL and head.status != 101:
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
    if writer.failed:
        upstream_abort(stream)
        downstream_failed(stream, FAIL_MALFORMED)
        return
    stream.record.status = head.status
    downstream.head_waiting = writer.size


cdef bint _gather(Downstream* downstream, char** data, size_t* size, uint8_t last) noexcept nogil:
    """False while the response is not complete; then its head is ready to be sent, and `data` is
    the body, unless it is long: that is sent piece by piece, as the client takes it."""
    cdef Stream* stream = &downstream.stream
    cdef Head* head = downstream.first_head
    cdef Gather* gather = downstream.gather
    cdef Payload payload
    cdef uint64_t limit, memory
    cdef int code
    payload.at = stream.buffer + 2 * sizeof(uint64_t)
    limit = <uint64_t> i64(&payload)
    memory = <uint64_t> i64(&payload)
    downstream.first_head = NULL
    if stream.discarding:
        _throw_away(downstream, size[0], limit, last)
        return False
    if gather == NULL and last:
        if limit and size[0] > limit:
            _not_gathered(downstream)
            return False
        head.content_length = size[0]
        head.chunked = 0
        _begin_response(downstream, head)
        return downstream.head_waiting != 0
    if gather == NULL:
        if limit and head.content_length > <int64_t> limit:
            _not_gathered(downstream)
            return False
        gather = downstream.gather = gather_new(head, downstream.engine.scratch)
    code = GATHER_FAILED
    if gather != NULL:
        code = gather_add(gather, data[0], size[0], limit, memory)
    if code == GATHERED and not last:
        return False
    if code == GATHERED:
        data[0] = gather_whole(gather)
        size[0] = gather.size
    if code != GATHERED or data[0] == NULL:
        _not_gathered(downstream)
        return False
    head = &gather.saved.head
    head.content_length = gather.size
    head.chunked = 0
    _begin_response(downstream, head)
    if downstream.head_waiting == 0:
        return False
    if size[0] <= REPLY_PIECE or downstream.compression.undecided:
        return True
    _send_gathered(downstream, data[0], size[0])
    return False


cdef void _throw_away(Downstream* downstream, size_t size, uint64_t limit, uint8_t last) noexcept nogil:
    """The request will be sent again once this response is over, so that its connection can be
    used again. The limit on responses holds for it, too."""
    cdef Stream* stream = &downstream.stream
    if downstream.gather == NULL and not last:
        downstream.gather = gather_new(NULL, NULL)  # it only counts
    if downstream.gather != NULL:
        downstream.gather.size += size
        size = downstream.gather.size
    if (limit and size > limit) or (downstream.gather == NULL and not last):
        _not_gathered(downstream)
    elif last:
        _forget_response(downstream)
        record_quality(stream, stream.status)
        if replay(stream) == STEP_REPLY:
            downstream_reply(stream, &downstream.engine.reply)


cdef void _forget_response(Downstream* downstream) noexcept nogil:
    """What has come of a response that will not be delivered."""
    cdef Stream* stream = &downstream.stream
    stream.discarding = 0
    downstream.first_head = NULL
    gather_free(downstream.gather)
    downstream.gather = NULL
    free(stream.trailers)
    stream.trailers = NULL
    stream.record.origin_status = 0


cdef void _send_gathered(Downstream* downstream, char* data, size_t size) noexcept nogil:
    cdef iovec vector[2]
    vector[0].iov_base = downstream.engine.out
    vector[0].iov_len = downstream.head_waiting
    vector[1].iov_base = data
    vector[1].iov_len = REPLY_PIECE
    downstream.stream.record.response_body = size
    downstream.rest = data + REPLY_PIECE
    downstream.rest_size = size - REPLY_PIECE
    downstream.stream.response_started = 1
    downstream.head_waiting = 0
    if not downstream_send(downstream, vector, 2, vector[0].iov_len + REPLY_PIECE):
        downstream_close(downstream)
        return
    downstream_reply_on(downstream)


cdef void _not_gathered(Downstream* downstream) noexcept nogil:
    """Larger than allowed, or no room for it: never a truncated response (FIX 23)."""
    upstream_abort(&downstream.stream)
    downstream.stream.attempt = 0
    plain_reply(downstream.engine, 500, "Internal Server Error")
    because(downstream.engine, RECORD_BUFFERING)
    downstream_reply(&downstream.stream, &downstream.engine.reply)


cdef void _on_body(Stream* stream, char* data, size_t size, uint8_t last) noexcept nogil:
    cdef Downstream* downstream = downstream_of(stream)
    cdef Engine* engine = downstream.engine
    cdef iovec vector[6]
    cdef char line[24]
    cdef char block[8192 + 8]
    cdef int count = 0, i
    cdef size_t total = 0
    stream.record.origin_body += size
    if (downstream.first_head != NULL or downstream.gather != NULL) and not _gather(
        downstream, &data, &size, last
    ):
        return
    if downstream.compression.undecided and not compress_decide(
        &downstream.compression, engine.out, &downstream.head_waiting, engine.out_size, data, size, last
    ):
        return
    if downstream.compression.compressor != NULL:
        if compress_piece(downstream.compression.compressor, data, size, last, &data, &size) < 0:
            upstream_abort(stream)
            stream.record.flags |= RECORD_INTERNAL
            downstream_close(downstream)
            return
    stream.record.response_body += size
    if downstream.head_waiting:
        if size <= JOINED and not downstream.response_chunked and downstream.head_waiting + size <= engine.out_size:
            memcpy(engine.out + downstream.head_waiting, data, size)  # one piece is cheaper to send
            downstream.head_waiting += size
            size = 0
        vector[0].iov_base = engine.out
        vector[0].iov_len = downstream.head_waiting
        downstream.head_waiting = 0
        stream.response_started = 1
        count = 1
    if downstream.response_chunked:
        count += _frame(stream, vector + count, line, block, data, size, last)
    elif size:
        vector[count].iov_base = data
        vector[count].iov_len = size
        count += 1
    for i in range(count):
        total += vector[i].iov_len
    if total and not downstream_send(downstream, vector, count, total):
        downstream_close(downstream)
        return
    if downstream.state == DOWNSTREAM_TUNNEL:
        if last:
            downstream.ended |= 2
            downstream_settle_tunnel(downstream)
        else:
            deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_TUNNEL)
    if last:
        if downstream.state == DOWNSTREAM_BUSY:
            downstream_answered(downstream)
    elif downstream.output.size > engine.high_water:
        upstream_pause(stream)


cdef int _raw(Stream* stream) noexcept nogil:
    """The client's socket, when nothing waits before the next byte of an unframed body."""
    cdef Downstream* downstream = downstream_of(stream)
    if (
        downstream.ssl != NULL or downstream.response_chunked or downstream.head_waiting
        or downstream.output.first != NULL or downstream.state != DOWNSTREAM_BUSY
        or downstream.compression.undecided or downstream.compression.compressor != NULL or stream.buffer != NULL
    ):
        return -1
    if downstream.hung_up:
        downstream_left(downstream)
    return downstream.source.descriptor


cdef int _frame(Stream* stream, iovec* vector, char* line, char* block, char* data, size_t size, uint8_t last) noexcept nogil:
    """Describe one piece of a chunked response; at most 4 entries."""
    cdef int count = 0, i
    if size:
        vector[0].iov_base = line
        vector[0].iov_len = chunk_line(line, size)
        vector[1].iov_base = data
        vector[1].iov_len = size
        count = 2
    if last and stream.trailers != NULL and stream.te_trailers and (
        pass_trailers(stream.trailers, stream, False)
    ):
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


cdef void downstream_failed(Stream* stream, int failure) noexcept nogil:
    """No response, or not all of it."""
    cdef Downstream* downstream = downstream_of(stream)
    cdef Engine* engine = downstream.engine
    downstream.head_waiting = 0
    if stream.response_started:
        if downstream.state != DOWNSTREAM_TUNNEL:
            complain_failure(stream, stream.pool, failure, CUT)
            stream.record.flags |= RECORD_CUT
        else:
            stream.record.flags |= RECORD_TUNNEL_ENDPOINT
        stream.status = 502
        if downstream.until_close or downstream.state == DOWNSTREAM_TUNNEL:
            downstream_reset(downstream)
        else:
            downstream_close(downstream)
        return
    if stream.buffer != NULL:
        _forget_response(downstream)
    if retry(stream, failure) != STEP_REPLY:
        return
    if stream.attempt and replay_wanted(stream, engine.reply.status):
        record_quality(stream, engine.reply.status)
        if replay(stream) != STEP_REPLY:
            return
    downstream_reply(stream, &engine.reply)


cdef void _on_writable(Stream* stream) noexcept nogil:
    cdef Downstream* downstream = downstream_of(stream)
    if stream.body != NULL:
        replay_feed(stream)
        return
    downstream.paused = 0
    if downstream.readable:
        source_run(&downstream.source)


cdef void downstream_on_continue(Stream* stream) noexcept nogil:
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


cdef void _on_upgraded(Stream* stream, char* data, size_t size) noexcept nogil:
    """After 101: send its head, then bytes go both ways as they come. What may be missing of the
    request's body goes first by itself: it has a length, so nothing stands between its bytes."""
    cdef Downstream* downstream = downstream_of(stream)
    downstream.waiting_continue = 0
    downstream.state = DOWNSTREAM_TUNNEL
    downstream.keep_alive = 0
    downstream.ended = 0
    deadline_clear(downstream.engine.reactor, &downstream.total)
    deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_TUNNEL)
    _on_body(stream, data, size, 0)
    if downstream.source.dead:
        return
    if downstream.pending_size:
        upstream_tunnel(stream, downstream.pending, downstream.pending_size)
        free(downstream.pending)
        downstream.pending = NULL
        downstream.pending_size = 0
    if downstream.readable:
        source_run(&downstream.source)


downstream_owner.on_head = _on_head
downstream_owner.on_body = _on_body
downstream_owner.on_failed = downstream_failed
downstream_owner.on_writable = _on_writable
downstream_owner.on_continue = downstream_on_continue
downstream_owner.on_upgraded = _on_upgraded
downstream_owner.raw = _raw
