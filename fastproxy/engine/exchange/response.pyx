"""What the upstream side reports, on its way to the client: which response it is to be, with which
head, and each piece of its body. How it looks on the wire is its codec's business.

Invariants
* A codec gets the head and the first piece of the body in one call of the upstream side.
* A head that waits for a decision about its body (`first_head`, `compression.head`) is the engine's
  only within that call.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free

from fastproxy.engine.exchange.answer cimport REPLY_PIECE, exchange_reply, intercept, send_more
from fastproxy.engine.exchange.balancing cimport record_quality
from fastproxy.engine.exchange.buffering cimport (
    RESPONSE_READY, RESPONSE_REPLY, forget_response, gather_response, replay, replay_feed, replay_wanted,
)
from fastproxy.engine.exchange.compress cimport compress_decide, compress_piece, compress_plan
from fastproxy.engine.exchange.connect_retry cimport retry
from fastproxy.engine.exchange.run cimport response_steps
from fastproxy.engine.exchange.trailers cimport pass_trailers
from fastproxy.engine.exchange.tried cimport tried
from fastproxy.engine.http.head cimport UPGRADE_WEBSOCKET, Head
from fastproxy.engine.operations.pages cimport page_wanted
from fastproxy.engine.stream.complaint cimport CUT, complain_failure
from fastproxy.engine.stream.record cimport RECORD_CUT, RECORD_INTERNAL, RECORD_TUNNEL_ENDPOINT
from fastproxy.engine.stream.replies cimport STEP_REPLY
from fastproxy.engine.stream.stream cimport CLIENT_FULL, CLIENT_READY, FAIL_MALFORMED, Engine, Stream
from fastproxy.engine.upstream.h1_request cimport upstream_abort, upstream_pause


cdef inline bint _is_bodiless(const Stream* stream, const Head* head) noexcept nogil:
    return stream.is_head or head.status == 204 or head.status == 304 or head.status == 101


cdef void _on_head(Stream* stream, Head* head) noexcept nogil:
    """Decide whether this is the response; `_on_body`, which follows at once, sends it."""
    stream.status = head.status
    stream.record.origin_status = head.status
    stream.record.origin_body = 0
    if stream.engine.note_response != NULL:
        stream.engine.note_response(stream, head)
    if stream.buffering.attempt and replay_wanted(stream, head.status):
        stream.buffering.discarding = 1
        stream.buffering.first_head = head
        return
    # The refusal of a WebSocket handshake is passed as it is (`features.md` 4.3), also below.
    if stream.upgrade != UPGRADE_WEBSOCKET and page_wanted(stream, head.status) and intercept(stream, head.status):
        return
    if stream.buffering.operation != NULL and head.content_length != 0 and not _is_bodiless(stream, head):
        stream.buffering.first_head = head
        return
    _begin(stream, head)


cdef bint _begin(Stream* stream, Head* head) noexcept nogil:
    """This head is the response's. False: it cannot be sent, the client has another answer."""
    response_steps(stream, head)
    if stream.compress and stream.upgrade != UPGRADE_WEBSOCKET:
        compress_plan(
            &stream.compression, stream.compress, head, stream.engine.scratch, _is_bodiless(stream, head)
        )
        if stream.compression.undecided:
            return True
    return _send_head(stream, head)


cdef bint _send_head(Stream* stream, Head* head) noexcept nogil:
    stream.record.status = head.status
    if stream.codec.send_head(stream, head):
        return True
    upstream_abort(stream)
    exchange_failed(stream, FAIL_MALFORMED)
    return False


cdef void _on_body(Stream* stream, char* data, size_t size, uint8_t last) noexcept nogil:
    stream.record.origin_body += size
    if (stream.buffering.first_head != NULL or stream.buffering.gather != NULL) and not _gather(stream, &data, &size, last):
        return
    if stream.compression.undecided:
        if not compress_decide(&stream.compression, stream.engine.scratch, data, size, last):
            return
        if not _send_head(stream, stream.compression.head):
            return
    if stream.compression.compressor != NULL and compress_piece(
        stream.compression.compressor, data, size, last, &data, &size
    ) < 0:
        upstream_abort(stream)
        stream.record.flags |= RECORD_INTERNAL
        stream.codec.reset(stream)
        return
    if last and stream.trailers != NULL and not (stream.te_trailers and pass_trailers(stream.trailers, stream, False)):
        free(stream.trailers)
        stream.trailers = NULL
    stream.response_started = 1
    stream.record.response_body += size
    if stream.codec.send_body(stream, data, size, last) == CLIENT_FULL and not last:
        upstream_pause(stream)


cdef bint _gather(Stream* stream, char** data, size_t* size, uint8_t last) noexcept nogil:
    """False while the response is not complete. Then its head is sent, and `data` is the body, unless
    it is long: that is sent piece by piece, as the client takes it."""
    cdef Engine* engine = stream.engine
    cdef Head* head = NULL
    cdef int code = gather_response(stream, data, size, last, &head)
    if code == RESPONSE_REPLY:
        exchange_reply(stream, &engine.reply)
    if code != RESPONSE_READY or not _begin(stream, head):
        return False
    if size[0] <= REPLY_PIECE or stream.compression.undecided:
        return True
    stream.rest = data[0] + REPLY_PIECE
    stream.rest_size = size[0] - REPLY_PIECE
    stream.response_started = 1
    stream.record.response_body = size[0]
    if stream.codec.send_body(stream, data[0], REPLY_PIECE, 0) == CLIENT_READY:
        send_more(stream)
    return False


cdef void exchange_failed(Stream* stream, int failure) noexcept nogil:
    """No response, or not all of it."""
    cdef Engine* engine = stream.engine
    if stream.response_started:
        if stream.tunnel:
            stream.record.flags |= RECORD_TUNNEL_ENDPOINT
        else:
            complain_failure(stream, stream.pool, failure, CUT)
            stream.record.flags |= RECORD_CUT
        stream.status = 502
        stream.codec.reset(stream)
        return
    if stream.buffering.operation != NULL:
        forget_response(stream)
    if retry(stream, failure) != STEP_REPLY:
        return
    if stream.buffering.attempt and replay_wanted(stream, engine.reply.status):
        record_quality(stream, engine.reply.status)
        tried(stream, engine.reply.flags, 0)
        if replay(stream) != STEP_REPLY:
            return
    exchange_reply(stream, &engine.reply)


cdef void _on_writable(Stream* stream) noexcept nogil:
    if stream.buffering.body != NULL:
        replay_feed(stream)
    else:
        stream.codec.resume(stream)


cdef void _on_continue(Stream* stream) noexcept nogil:
    stream.codec.ask_body(stream)


cdef void _on_upgraded(Stream* stream, char* data, size_t size) noexcept nogil:
    """After 101: send its head, then bytes go both ways as they come."""
    stream.tunnel = 1
    stream.codec.upgrade(stream)
    _on_body(stream, data, size, 0)
    if stream.tunnel:
        stream.codec.resume(stream)


cdef int _raw(Stream* stream) noexcept nogil:
    """The client's socket, when nothing waits before the next byte, and nothing is made of it."""
    if stream.compression.undecided or stream.compression.compressor != NULL or stream.buffering.operation != NULL:
        return -1
    return stream.codec.raw(stream)


exchange_owner.on_head = _on_head
exchange_owner.on_body = _on_body
exchange_owner.on_failed = exchange_failed
exchange_owner.on_writable = _on_writable
exchange_owner.on_continue = _on_continue
exchange_owner.on_upgraded = _on_upgraded
exchange_owner.raw = _raw
