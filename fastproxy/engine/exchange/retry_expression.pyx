"""A buffered request sent again, as long as the retry expression wants it (`features.md` 3.20).

Idea: the request as it was written for its first endpoint is kept, its body with it. An answer that
the expression refuses is thrown away, and what stands behind buffering runs again: a token of the
rate limit, an endpoint, `[retry]`. The place among the connections is kept: to give it back and take
it again in the same instant comes to the same.

An attempt that never got to an endpoint (a limit refused it, or there is none) is repeated while the
head is still at hand, by the operations themselves.

The expression is a postfix program (`expression.retry_program`); its truth values are the bits of one
word, which the parser's limit on depth allows.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

from fastproxy.engine.exchange.balancing cimport pick_again, pick_endpoint, record_quality
from fastproxy.engine.http.spool cimport gather_of
from fastproxy.engine.operations.payload cimport Payload, Text, blob, i64, u32
from fastproxy.engine.stream.replies cimport STEP_GO_ON, STEP_REPLY
from fastproxy.engine.exchange.connect_retry cimport retry
from fastproxy.engine.operations.limits cimport retry_limit
from fastproxy.engine.operations.buffering cimport BUFFER_PROGRAM
from fastproxy.engine.exchange.run cimport request_steps
from fastproxy.engine.stream.record cimport record_again
from fastproxy.engine.stream.stream cimport (
    FAIL_INTERNAL, FAIL_NONE, ROUTE_PRESERVE_HOST, Engine,
)
from fastproxy.engine.upstream.h1_request cimport (
    stream_save_head, upstream_begin, upstream_body, upstream_full,
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
    if stream.attempt == 0 or stream.attempt >= MAX_ATTEMPTS:
        return False
    payload.at = stream.buffer + BUFFER_PROGRAM
    program = blob(&payload)
    return retry_expression(program.data, program.size, stream.attempt, status, method, method_size)


cdef bint replay_wanted(const Stream* stream, int status) noexcept nogil:
    """Shall the request be sent again, instead of this answer of the present attempt?"""
    cdef const char* end
    if stream.attempt == 0 or stream.saved == NULL:
        return False
    end = <const char*> memchr(stream.saved, c' ', stream.saved_size)
    return end != NULL and _again(stream, status, stream.saved, end - stream.saved)


cdef int replay_steps(Stream* stream, Head* head, int code) noexcept nogil:
    """The operations behind buffering answered; run them again as often as the answer asks for it."""
    cdef Engine* engine = stream.engine
    while code == STEP_REPLY and _again(stream, engine.reply.status, head.method_text, head.method_size):
        stream.attempt += 1
        stream.attempts = 0
        engine.scratch.extra_used = 0
        code = request_steps(stream, head, stream.chain)
        if code == STEP_GO_ON:
            code = pick_endpoint(stream, head)
    if code == STEP_REPLY:
        stream.attempt = 0
    return code


cdef int replay_send(
    Stream* stream, const char* head, size_t head_size, const char* body, size_t body_size
) noexcept nogil:
    """Send a buffered request, and keep what another attempt needs; `body` is all of it unless it
    was collected. As `upstream_begin`."""
    if stream.attempt and not _keep(stream, head, head_size, body, body_size):
        stream.attempt = 0
    return _send(stream, head, head_size, body, body_size)


cdef bint _keep(
    Stream* stream, const char* head, size_t head_size, const char* body, size_t body_size
) noexcept nogil:
    if stream_save_head(stream, head, head_size) < 0:
        return False
    if stream.body != NULL or body_size == 0:
        return True
    stream.body = gather_of(body, body_size)
    return stream.body != NULL


cdef int _send(
    Stream* stream, const char* head, size_t head_size, const char* body, size_t body_size
) noexcept nogil:
    cdef size_t first = body_size
    cdef int failure
    if stream.body != NULL:
        body = stream.body.data
        body_size = stream.body.size
        first = body_size if body_size < PIECE else PIECE
    stream.body_sent = first
    failure = upstream_begin(stream, head, head_size, body, first, first == body_size)
    if failure == FAIL_NONE:
        replay_feed(stream)
    return failure


cdef void replay_feed(Stream* stream) noexcept nogil:
    """Send more of the body, as much as the connection takes."""
    cdef size_t size
    if stream.body == NULL:
        return
    while stream.body_sent < stream.body.size and stream.upstream != NULL and not upstream_full(stream):
        size = stream.body.size - stream.body_sent
        if size > PIECE:
            size = PIECE
        stream.body_sent += size
        upstream_body(
            stream, stream.body.data + stream.body_sent - size, size,
            stream.body_sent == stream.body.size, NULL, 0,
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
        stream.attempt += 1
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
            stream.attempt = 0
            return STEP_REPLY
