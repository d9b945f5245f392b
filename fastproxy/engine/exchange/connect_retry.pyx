"""`[retry]`: another endpoint, while none has seen a byte of the request (`features.md` 3.14).

1.7 runs its chain from the connection limit on again. The place among the connections is kept
instead of being given back and taken again; the token of the rate limit is taken anew. The 429 of
a limit is such an attempt as well: the limits repeat it themselves (operations.limits).
"""

from fastproxy.engine.operations.attempts cimport another_attempt
from fastproxy.engine.exchange.balancing cimport pick_endpoint, record_quality, reply_cookie
from fastproxy.engine.exchange.tried cimport tried
from fastproxy.engine.loop.buffers cimport queue_clear
from fastproxy.engine.stream.complaint cimport complain_failure
from fastproxy.engine.stream.replies cimport STEP_GO_ON, STEP_REPLY, because, failure_reply
from fastproxy.engine.operations.limits cimport retry_limit
from fastproxy.engine.stream.record cimport RECORD_EXHAUSTED, failure_flag
from fastproxy.engine.stream.stream cimport FAIL_CONNECT_TIMEOUT, FAIL_NONE, Stream
from fastproxy.engine.upstream.h1_request cimport upstream_again


cdef int retry(Stream* stream, int failure) noexcept nogil:
    """STEP_GO_ON: an attempt is on its way; STEP_REPLY: this was the last one."""
    # Whatever failed, a handshake included: what is unsent no endpoint has seen a byte of.
    while stream.unsent.first != NULL and another_attempt(stream):
        record_quality(stream, 504 if failure == FAIL_CONNECT_TIMEOUT else 502)
        tried(stream, failure_flag(failure), 0)
        if retry_limit(stream) != STEP_GO_ON:
            queue_clear(&stream.unsent)
            return STEP_REPLY
        if pick_endpoint(stream, NULL) != STEP_GO_ON:
            break
        failure = upstream_again(stream)
        if failure == FAIL_NONE:
            return STEP_GO_ON
    queue_clear(&stream.unsent)
    failure_reply(stream.engine, failure)
    because(stream.engine, failure_flag(failure) | (RECORD_EXHAUSTED if stream.record.retries else 0))
    complain_failure(stream, stream.pool, failure, stream.engine.reply.status)
    reply_cookie(stream)
    return STEP_REPLY
