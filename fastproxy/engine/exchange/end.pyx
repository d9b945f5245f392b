"""The end of an exchange, whoever made it: a client's connection, or a request made by Python.

It has two steps, since what others wait for is given back when the answer is complete, and its last
byte may still wait for the client then: `exchange_release`, and `exchange_end` when that byte is with the
kernel, or nothing more will be. `exchange_end` is the one end: it reports the record, and every exchange
of a client that has begun passes it exactly once.
"""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memset

from fastproxy.counters.breaker cimport breaker_record
from fastproxy.counters.connections cimport connections_release
from fastproxy.engine.exchange.balancing cimport record_quality
from fastproxy.engine.exchange.compress cimport compress_end
from fastproxy.engine.loop.buffers cimport queue_clear
from fastproxy.engine.exchange.forward_auth cimport forget_questions
from fastproxy.engine.http.spool cimport gather_free
from fastproxy.engine.operations.payload cimport Payload, Text, blob, u32
from fastproxy.engine.stream.replies cimport CLIENT_CLOSED
from fastproxy.engine.http.owned_head cimport SavedHead, head_forget
from fastproxy.engine.exchange.run cimport end_steps
from fastproxy.engine.exchange.tried cimport forget_tried
from fastproxy.engine.stream.record cimport (
    RECORD_CLIENT_LEFT, RECORD_CLIENT_SLOW, RECORD_CUT, RECORD_INTERNAL, RECORD_SHUTDOWN, RECORD_TUNNEL_CLIENT,
    RECORD_TUNNEL_ENDPOINT, Record,
)
from fastproxy.engine.stream.stream cimport (
    ROUTE_END_STEPS, ROUTE_REQUEST_STEPS, Buffering, Engine, Limits, Stream,
)

from fastproxy.engine.upstream.h1_request cimport stream_forget_head, upstream_abort

cdef enum:
    NOT_THE_CLIENT = (
        RECORD_CUT | RECORD_CLIENT_SLOW | RECORD_INTERNAL | RECORD_SHUTDOWN | RECORD_TUNNEL_CLIENT
        | RECORD_TUNNEL_ENDPOINT
    )


cdef void exchange_release(Stream* stream) noexcept nogil:
    """Give back what the exchange took, but for what its record names; safe to call again."""
    if stream.upstream != NULL:
        upstream_abort(stream)
    if stream.flags & (ROUTE_REQUEST_STEPS | ROUTE_END_STEPS) or stream.exchange != NULL:
        _release_operations(stream)
    if stream.pool != NULL:
        record_quality(stream, stream.status)
    if stream.unsent.first != NULL:
        queue_clear(&stream.unsent)
    if stream.trailers != NULL:
        free(stream.trailers)
        stream.trailers = NULL
    if stream.saved != NULL:
        stream_forget_head(stream)
    stream.tunnel = 0
    stream.flags = 0


cdef void _release_operations(Stream* stream) noexcept nogil:
    """What operations and filters have taken; a plain route has none."""
    cdef Engine* engine = stream.engine
    cdef int64_t now = engine.reactor.now_ns
    cdef Payload payload
    cdef uint32_t slot
    cdef Text program
    if stream.limits.ticket:
        connections_release(engine.shared, stream.limits.ticket)
    if stream.limits.breaker != NULL:
        payload.at = stream.limits.breaker
        slot = u32(&payload)
        program = blob(&payload)
        breaker_record(
            engine.shared, slot, stream.status if stream.status else CLIENT_CLOSED, now - stream.limits.started_ns,
            program.data, program.size, now,
        )
    free(stream.limits.rate_key)
    memset(&stream.limits, 0, sizeof(Limits))
    if stream.flags & ROUTE_END_STEPS and not stream.sub_request:
        end_steps(stream)
    if stream.exchange != NULL and engine.end_exchange != NULL:
        engine.end_exchange(stream)
    head_forget(<SavedHead*> stream.saved_head)
    stream.saved_head = NULL
    forget_questions(stream)
    compress_end(&stream.compression)
    gather_free(stream.buffering.gather)
    gather_free(stream.buffering.body)
    memset(&stream.buffering, 0, sizeof(Buffering))
    stream.rest_size = 0
    stream.parked = 0
    stream.affinity = NULL
    stream.pages = NULL
    stream.compress = 0
    stream.original_path = NULL


cdef void exchange_end(Stream* stream) noexcept nogil:
    """Report the record and give back the rest; safe to call again."""
    cdef Record* record = &stream.record
    exchange_release(stream)
    if record.first_byte:
        if record.sent == 0 or record.status == 0:
            record.status = CLIENT_CLOSED
        if stream.engine.observe != NULL:
            stream.engine.observe(stream.engine, stream)
        if record.attempts != NULL:
            forget_tried(stream)
        record.first_byte = 0
        stream.engine.counters.ended += 1
    if stream.pool != NULL:
        stream.pool.references -= 1
        stream.pool = NULL
    if stream.backend != NULL:
        stream.backend.references -= 1
        stream.backend = NULL
    if stream.table != NULL:
        stream.table.references -= 1
        stream.table = NULL
    stream.route = NULL


cdef void exchange_abandon(Stream* stream) noexcept nogil:
    """The same before the client has everything; what was not its doing is in the record already."""
    if stream.record.first_byte and not stream.record.flags & NOT_THE_CLIENT:
        stream.record.flags |= RECORD_TUNNEL_CLIENT if stream.tunnel else RECORD_CLIENT_LEFT
    exchange_end(stream)
