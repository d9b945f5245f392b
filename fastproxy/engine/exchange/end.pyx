"""The end of an exchange, whoever made it: a client's connection, or a request made by Python."""

from libc.stdint cimport int64_t, uint32_t

from fastproxy.counters.breaker cimport breaker_record
from fastproxy.counters.connections cimport connections_release
from fastproxy.engine.exchange.balancing cimport record_quality
from fastproxy.engine.loop.buffers cimport queue_clear
from fastproxy.engine.exchange.forward_auth cimport forget_questions
from fastproxy.engine.http.spool cimport gather_free
from fastproxy.engine.operations.payload cimport Payload, Text, blob, u32
from fastproxy.engine.stream.replies cimport CLIENT_CLOSED
from fastproxy.engine.http.owned_head cimport SavedHead, head_forget
from fastproxy.engine.operations.limits cimport forget_limit
from fastproxy.engine.exchange.run cimport end_steps
from fastproxy.engine.stream.stream cimport ROUTE_END_STEPS, Engine, Stream


cdef void exchange_end(Stream* stream) noexcept nogil:
    """Give back everything the exchange took; safe to call again."""
    cdef Engine* engine = stream.engine
    cdef int64_t now = engine.reactor.now_ns
    cdef Payload payload
    cdef uint32_t slot
    cdef Text program
    if stream.ticket:
        connections_release(engine.shared, stream.ticket)
        stream.ticket = 0
    if stream.breaker != NULL:
        payload.at = stream.breaker
        slot = u32(&payload)
        program = blob(&payload)
        breaker_record(
            engine.shared, slot, stream.status if stream.status else CLIENT_CLOSED, now - stream.started_ns,
            program.data, program.size, now,
        )
        stream.breaker = NULL
    if stream.flags & ROUTE_END_STEPS and not stream.sub_request:
        end_steps(stream)
    if stream.exchange != NULL and engine.end_exchange != NULL:
        engine.end_exchange(stream)
    if stream.pool != NULL:
        record_quality(stream, stream.status)
        stream.pool.references -= 1
        stream.pool = NULL
    if stream.backend != NULL:
        stream.backend.references -= 1
        stream.backend = NULL
    if stream.table != NULL:
        stream.table.references -= 1
        stream.table = NULL
    if stream.saved_head != NULL:
        head_forget(<SavedHead*> stream.saved_head)
        stream.saved_head = NULL
    if stream.question != NULL:
        forget_questions(stream)
    if stream.unsent.first != NULL:
        queue_clear(&stream.unsent)
    if stream.limit != NULL:
        forget_limit(stream)
    stream.route = NULL
    stream.flags = 0
    stream.affinity = NULL
    stream.pages = NULL
    if stream.buffer != NULL:
        stream.buffer = NULL
        gather_free(stream.body)
        stream.body = NULL
        stream.attempt = 0
        stream.discarding = 0
    stream.compress = 0
    stream.original_path = NULL
