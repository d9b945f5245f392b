"""Buffering (`features.md` 3.20): a request, and its response, complete before they are passed on.

Three parts, all of them only for routes that want it:

* The request. The operation of buffering asks for the whole of it (STEP_COLLECT); its head is saved, and
  with the last piece of the body what stands behind buffering runs. What is long goes to a file (`spool`).
* The response. Its head waits, and it is passed on when it is complete, with its length.
* The retry expression. The request as it was written for its first endpoint is kept, its body with it.
  An answer that the expression refuses is thrown away, and what stands behind buffering runs again: a
  token of the rate limit, an endpoint, `[retry]`. The place among the connections is kept: to give it back
  and take it again in the same instant comes to the same. An attempt that never got to an endpoint (a limit
  refused it, or there is none) is repeated while the head is still at hand, by the operations themselves.

The expression is a postfix program (`expression.retry_program`); its truth values are the bits of one
word, which the parser's limit on depth allows.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memchr, memcmp, memcpy

from fastproxy.engine.exchange.balancing cimport pick_again, pick_endpoint, record_quality
from fastproxy.engine.exchange.connect_retry cimport retry
from fastproxy.engine.exchange.run cimport request_steps
from fastproxy.engine.exchange.tried cimport tried
from fastproxy.engine.http.head cimport Head
from fastproxy.engine.http.spool cimport (
    GATHERED, GATHER_FAILED, GATHER_TOO_LARGE, Gather, gather_add, gather_free, gather_new, gather_of,
    gather_whole,
)
from fastproxy.engine.operations.buffering cimport BUFFER_PROGRAM, first_attempt
from fastproxy.engine.operations.limits cimport retry_limit
from fastproxy.engine.operations.payload cimport Payload, Text, blob, i64, u32
from fastproxy.engine.stream.record cimport RECORD_BUFFERING, record_again
from fastproxy.engine.stream.replies cimport STEP_COLLECT, STEP_GO_ON, STEP_REPLY, because, plain_reply
from fastproxy.engine.stream.stream cimport (
    FAIL_INTERNAL, FAIL_NONE, ROUTE_PRESERVE_HOST, Engine, Stream,
)
from fastproxy.engine.upstream.h1_request cimport (
    stream_save_head, upstream_abort, upstream_begin, upstream_body, upstream_full,
)

cdef enum:
    MAX_ATTEMPTS = 11
    PIECE = 65536  # of a body, sent at once

cdef enum Code:
    # the same numbers as in expression.py
    AND = 1
    OR = 2
    ATTEMPTS = 3
    RESPONSE_CODE = 4
    IS_NETWORK_ERROR = 5
    REQUEST_METHOD = 6


# --- the request ---

cdef int collect_request(Stream* stream, Head* head) noexcept nogil:
    """Buffering wants the whole body: STEP_COLLECT while it is awaited."""
    cdef int code
    if stream.whole:
        stream.request_trailers = NULL  # they do not go with a length
        return _collected(stream, head, stream.arrived_size)
    stream.original_path = NULL  # its memory is not kept, and nobody asks for it any more
    stream.buffering.body = gather_new(head, stream.engine.scratch)
    code = _add(stream, stream.arrived, stream.arrived_size)
    if code != GATHERED:
        return _refused(stream.engine, code)
    stream.buffering.collecting = 1
    stream.codec.ask_body(stream)
    return STEP_COLLECT


cdef int collect_more(Stream* stream, const char* data, size_t size, bint last) noexcept nogil:
    """Another piece; with the last one the request goes on with the saved head."""
    cdef int code = _add(stream, data, size)
    if code == GATHERED and not last:
        return STEP_COLLECT
    stream.buffering.collecting = 0
    if code != GATHERED or gather_whole(stream.buffering.body) == NULL:
        return _refused(stream.engine, code)
    stream.whole = 1
    stream.request_trailers = NULL
    stream.engine.scratch.extra_used = 0
    return _collected(stream, &stream.buffering.body.saved.head, stream.buffering.body.size)


cdef int _add(Stream* stream, const char* data, size_t size) noexcept nogil:
    cdef Payload payload
    cdef uint64_t limit, memory
    if stream.buffering.body == NULL:
        return GATHER_FAILED
    payload.at = stream.buffering.operation
    limit = <uint64_t> i64(&payload)
    memory = <uint64_t> i64(&payload)
    return gather_add(stream.buffering.body, data, size, limit, memory)


cdef int _refused(Engine* engine, int code) noexcept nogil:
    if code == GATHER_TOO_LARGE:
        plain_reply(engine, 413, "Request Entity Too Large")
        return because(engine, RECORD_BUFFERING)
    return plain_reply(engine, 500, "Internal Server Error")


cdef int _collected(Stream* stream, Head* head, size_t size) noexcept nogil:
    """The body is complete: what stands behind buffering, for a request whose length is known."""
    cdef Payload payload
    cdef uint64_t limit
    payload.at = stream.buffering.operation
    limit = <uint64_t> i64(&payload)
    if limit and size > limit:
        return _refused(stream.engine, GATHER_TOO_LARGE)
    if head.chunked or head.content_length >= 0:
        head.content_length = size
    head.chunked = 0
    first_attempt(stream)
    return request_steps(stream, head, stream.buffering.chain)


# --- the response ---

cdef int gather_response(Stream* stream, char** data, size_t* size, uint8_t last, Head** head) noexcept nogil:
    """Another piece. RESPONSE_READY: `head` is its head, with the length, and `data` is all of its body."""
    cdef Gather* gather = stream.buffering.gather
    cdef Head* first = stream.buffering.first_head
    cdef Payload payload
    cdef uint64_t limit, memory
    cdef int code
    payload.at = stream.buffering.operation + 2 * sizeof(uint64_t)
    limit = <uint64_t> i64(&payload)
    memory = <uint64_t> i64(&payload)
    stream.buffering.first_head = NULL
    if stream.buffering.discarding:
        return _throw_away(stream, size[0], limit, last)
    if gather == NULL and last:
        if limit and size[0] > limit:
            return _not_gathered(stream)
        return _gathered(stream, first, size[0], head)
    if gather == NULL:
        if limit and first.content_length > <int64_t> limit:
            return _not_gathered(stream)
        gather = stream.buffering.gather = gather_new(first, stream.engine.scratch)
    code = GATHER_FAILED
    if gather != NULL:
        code = gather_add(gather, data[0], size[0], limit, memory)
    if code == GATHERED and not last:
        return RESPONSE_WAITS
    if code == GATHERED:
        data[0] = gather_whole(gather)
        size[0] = gather.size
    if code != GATHERED or data[0] == NULL:
        return _not_gathered(stream)
    return _gathered(stream, &gather.saved.head, gather.size, head)


cdef int _gathered(Stream* stream, Head* complete, size_t size, Head** head) noexcept nogil:
    complete.content_length = size
    complete.chunked = 0
    head[0] = complete
    free(stream.trailers)  # they do not go with a length
    stream.trailers = NULL
    return RESPONSE_READY


cdef int _throw_away(Stream* stream, size_t size, uint64_t limit, uint8_t last) noexcept nogil:
    """The request will be sent again once this response is over, so that its connection can be
    used again. The limit on responses holds for it, too."""
    if stream.buffering.gather == NULL and not last:
        stream.buffering.gather = gather_new(NULL, NULL)  # it only counts
    if stream.buffering.gather != NULL:
        stream.buffering.gather.size += size
        size = stream.buffering.gather.size
    if (limit and size > limit) or (stream.buffering.gather == NULL and not last):
        return _not_gathered(stream)
    if not last:
        return RESPONSE_WAITS
    forget_response(stream)
    record_quality(stream, stream.status)
    tried(stream, 0, stream.status)
    return RESPONSE_REPLY if replay(stream) == STEP_REPLY else RESPONSE_WAITS


cdef void forget_response(Stream* stream) noexcept nogil:
    """What has come of a response that will not be delivered."""
    stream.buffering.discarding = 0
    stream.buffering.first_head = NULL
    gather_free(stream.buffering.gather)
    stream.buffering.gather = NULL
    free(stream.trailers)
    stream.trailers = NULL
    stream.record.origin_status = 0


cdef int _not_gathered(Stream* stream) noexcept nogil:
    """Larger than allowed, or no room for it: never a truncated response (FIX 23)."""
    upstream_abort(stream)
    stream.buffering.attempt = 0
    plain_reply(stream.engine, 500, "Internal Server Error")
    because(stream.engine, RECORD_BUFFERING)
    return RESPONSE_REPLY


# --- the retry expression ---

cdef inline bint _compare(int64_t value, uint32_t comparison, int64_t literal) noexcept nogil:
    if comparison == 0:
        return value == literal
    if comparison == 1:
        return value != literal
    if comparison == 2:
        return value < literal
    if comparison == 3:
        return value <= literal
    if comparison == 4:
        return value > literal
    return value >= literal


cdef bint retry_expression(
    const char* program, uint32_t size, uint32_t attempt, int status, const char* method, size_t method_size
) noexcept nogil:
    """The truth of a program of this form."""
    cdef uint64_t stack = 0
    cdef const char* end = program + size
    cdef Payload payload
    cdef Text text
    cdef uint32_t code, comparison
    cdef bint value
    payload.at = program
    while payload.at < end:
        code = u32(&payload)
        comparison = u32(&payload)
        if code == AND:
            stack = stack >> 1 & (stack | ~<uint64_t> 1)
            continue
        if code == OR:
            stack = stack >> 1 | stack & 1
            continue
        if code == ATTEMPTS:
            value = _compare(attempt, comparison, i64(&payload))
        elif code == RESPONSE_CODE:
            value = _compare(status, comparison, i64(&payload))
        elif code == IS_NETWORK_ERROR:
            value = status == 502 or status == 504
        else:
            text = blob(&payload)
            value = text.size == method_size and memcmp(text.data, method, method_size) == 0
            value = value == (comparison == 0)
        stack = stack << 1 | value
    return stack & 1


cdef bint _again(const Stream* stream, int status, const char* method, size_t method_size) noexcept nogil:
    cdef Payload payload
    cdef Text program
    if stream.buffering.attempt == 0 or stream.buffering.attempt >= MAX_ATTEMPTS:
        return False
    payload.at = stream.buffering.operation + BUFFER_PROGRAM
    program = blob(&payload)
    return retry_expression(program.data, program.size, stream.buffering.attempt, status, method, method_size)


cdef bint replay_wanted(const Stream* stream, int status) noexcept nogil:
    """Shall the request be sent again, instead of this answer of the present attempt?"""
    cdef const char* end
    if stream.buffering.attempt == 0 or stream.saved == NULL:
        return False
    end = <const char*> memchr(stream.saved, c' ', stream.saved_size)
    return end != NULL and _again(stream, status, stream.saved, end - stream.saved)


cdef int replay_steps(Stream* stream, Head* head, int code) noexcept nogil:
    """The operations behind buffering answered; run them again as often as the answer asks for it."""
    cdef Engine* engine = stream.engine
    while code == STEP_REPLY and _again(stream, engine.reply.status, head.method_text, head.method_size):
        stream.buffering.attempt += 1
        stream.attempts = 0
        engine.scratch.extra_used = 0
        code = request_steps(stream, head, stream.buffering.chain)
        if code == STEP_GO_ON:
            code = pick_endpoint(stream, head)
    if code == STEP_REPLY:
        stream.buffering.attempt = 0
    return code


cdef int replay_send(
    Stream* stream, const char* head, size_t head_size, const char* body, size_t body_size
) noexcept nogil:
    """Send a buffered request, and keep what another attempt needs; `body` is all of it unless it
    was collected. As `upstream_begin`."""
    if stream.buffering.attempt and not _keep(stream, head, head_size, body, body_size):
        stream.buffering.attempt = 0
    return _send(stream, head, head_size, body, body_size)


cdef bint _keep(
    Stream* stream, const char* head, size_t head_size, const char* body, size_t body_size
) noexcept nogil:
    if stream_save_head(stream, head, head_size) < 0:
        return False
    if stream.buffering.body != NULL or body_size == 0:
        return True
    stream.buffering.body = gather_of(body, body_size)
    return stream.buffering.body != NULL


cdef int _send(
    Stream* stream, const char* head, size_t head_size, const char* body, size_t body_size
) noexcept nogil:
    cdef size_t first = body_size
    cdef int failure
    if stream.buffering.body != NULL:
        body = stream.buffering.body.data
        body_size = stream.buffering.body.size
        first = body_size if body_size < PIECE else PIECE
    stream.buffering.body_sent = first
    failure = upstream_begin(stream, head, head_size, body, first, first == body_size)
    if failure == FAIL_NONE:
        replay_feed(stream)
    return failure


cdef void replay_feed(Stream* stream) noexcept nogil:
    """Send more of the body, as much as the connection takes."""
    cdef size_t size
    if stream.buffering.body == NULL:
        return
    while stream.buffering.body_sent < stream.buffering.body.size and stream.upstream != NULL and not upstream_full(stream):
        size = stream.buffering.body.size - stream.buffering.body_sent
        if size > PIECE:
            size = PIECE
        stream.buffering.body_sent += size
        upstream_body(
            stream, stream.buffering.body.data + stream.buffering.body_sent - size, size,
            stream.buffering.body_sent == stream.buffering.body.size, NULL, 0,
        )


cdef int _send_saved(Stream* stream) noexcept nogil:
    """The kept request to the endpoint that was picked now."""
    cdef Engine* engine = stream.engine
    cdef uint32_t after = stream.host_offset + stream.host_size
    cdef size_t size = stream.saved_size - stream.host_size + stream.pool.host_size
    if not stream.flags & ROUTE_PRESERVE_HOST:
        if after > stream.saved_size or size > engine.out_size:
            return FAIL_INTERNAL
        memcpy(engine.out, stream.saved, stream.host_offset)
        memcpy(engine.out + stream.host_offset, stream.pool.host, stream.pool.host_size)
        memcpy(
            engine.out + stream.host_offset + stream.pool.host_size, stream.saved + after,
            stream.saved_size - after,
        )
        if stream_save_head(stream, engine.out, size) < 0:
            return FAIL_INTERNAL
        stream.host_size = stream.pool.host_size
    return _send(stream, stream.saved, stream.saved_size, NULL, 0)


cdef int replay(Stream* stream) noexcept nogil:
    """Another attempt in place of one whose answer was not wanted: STEP_GO_ON when it is on its
    way, STEP_REPLY when what became of it shall be delivered."""
    cdef Engine* engine = stream.engine
    cdef int failure
    while True:
        stream.buffering.attempt += 1
        stream.attempts = 0
        stream.fresh_only = 0
        record_again(&stream.record)
        stream.status = 0
        engine.scratch.extra_used = 0
        if retry_limit(stream) == STEP_GO_ON and pick_again(stream) == STEP_GO_ON:
            failure = _send_saved(stream)
            if failure == FAIL_NONE or retry(stream, failure) == STEP_GO_ON:
                return STEP_GO_ON
            record_quality(stream, engine.reply.status)
        if not replay_wanted(stream, engine.reply.status):
            stream.buffering.attempt = 0
            return STEP_REPLY
        tried(stream, engine.reply.flags, 0)
