# One exchange on a connection of HTTP/2: its memory, its deadlines, and the ways it ends.
#
# An exchange ends once: by `exchange_finish` when its response is complete, by `exchange_stop` in all other
# cases. Its memory is used again in a later turn only, since a nested call may still look at its flags.

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastproxy.engine.exchange.answer cimport exchange_refuse
from fastproxy.engine.exchange.end cimport exchange_abandon, exchange_end, exchange_release
from fastproxy.engine.exchange.response cimport exchange_owner
from fastproxy.engine.http2.h2_frames cimport H2_CANCEL, H2_INTERNAL_ERROR
from fastproxy.engine.http2.h2_streams cimport h2_release, h2_reset
from fastproxy.engine.loop.buffers cimport queue_clear
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_BODY, DEADLINE_CONTINUE, DEADLINE_REQUEST, Source, deadline_clear, source_flush,
)
from fastproxy.engine.stream.record cimport RECORD_CLIENT_SLOW
from fastproxy.engine.stream.stream cimport Stream


cdef void http2_wake(Http2* http2) noexcept nogil:
    """Write what waits at the end of this turn."""
    source_flush(&http2.downstream.source)


cdef Exchange* exchange_new(Http2* http2, H2Stream* wire) noexcept nogil:
    """An exchange for a stream that has begun; NULL without memory."""
    cdef Stream* facts = &http2.downstream.stream
    cdef Exchange* exchange = http2.worker.free
    if exchange != NULL and exchange.died_at != http2.engine.reactor.now_ns:
        http2.worker.free = exchange.next
        if exchange.next == NULL:
            http2.worker.free_last = NULL
        memset(exchange, 0, sizeof(Exchange))
    else:
        exchange = <Exchange*> calloc(1, sizeof(Exchange))
        if exchange == NULL:
            return NULL
    exchange.http2 = http2
    exchange.wire = wire
    wire.owner = exchange
    exchange.timer.reactor = http2.engine.reactor
    exchange.timer.on_deadline = _on_deadline
    exchange.timer.descriptor = -1
    exchange.stream.owner = &exchange_owner
    exchange.stream.codec = http2.worker.codec
    exchange.stream.engine = http2.engine
    exchange.stream.client = facts.client
    exchange.stream.client.remembered = NULL  # one for each exchange: they run side by side
    exchange.stream.over = facts.over
    exchange.next = http2.exchanges
    if exchange.next != NULL:
        exchange.next.previous = exchange
    http2.exchanges = exchange
    http2.open += 1
    return exchange


cdef void exchange_free(Exchange* exchange) noexcept nogil:
    """Let go of the stream; the exchange itself has ended."""
    cdef Http2* http2 = exchange.http2
    if http2 == NULL:
        return
    exchange.http2 = NULL
    deadline_clear(http2.engine.reactor, &exchange.timer.deadline)
    deadline_clear(http2.engine.reactor, &exchange.total)
    h2_release(&http2.connection, exchange.wire)
    queue_clear(&exchange.input)
    free(exchange.trailers)
    exchange.trailers = NULL
    free(exchange.stream.client.remembered)
    exchange.stream.client.remembered = NULL
    if exchange.previous == NULL:
        http2.exchanges = exchange.next
    else:
        exchange.previous.next = exchange.next
    if exchange.next != NULL:
        exchange.next.previous = exchange.previous
    http2.open -= 1
    exchange.next = exchange.previous = NULL
    exchange.died_at = http2.engine.reactor.now_ns
    if http2.worker.free_last == NULL:
        http2.worker.free = exchange
    else:
        http2.worker.free_last.next = exchange
    http2.worker.free_last = exchange
    http2_wake(http2)


cdef void exchange_finish(Exchange* exchange) noexcept nogil:
    """The response is complete. What still waits for the client's windows goes first."""
    if exchange.http2 == NULL:
        return
    exchange.answered = 1
    if exchange.wire.local_ended or exchange.wire.reset:
        exchange_end(&exchange.stream)
        exchange_free(exchange)
    else:
        exchange_release(&exchange.stream)
        http2_wake(exchange.http2)


cdef void exchange_stop(Exchange* exchange, uint32_t code) noexcept nogil:
    """End it before that: the client is told by RST_STREAM, unless it has done so itself."""
    cdef Http2* http2 = exchange.http2
    if http2 == NULL:
        return
    if not exchange.wire.reset:
        h2_reset(&http2.connection, exchange.wire, code, False)
    exchange_abandon(&exchange.stream)
    exchange_free(exchange)


cdef void _on_deadline(Source* source, int kind) noexcept nogil:
    cdef Exchange* exchange = <Exchange*> (<char*> source - <size_t> &(<Exchange*> NULL).timer)
    cdef Stream* stream = &exchange.stream
    if exchange.http2 == NULL:
        return
    if kind == DEADLINE_CONTINUE:
        stream.codec.ask_body(stream)
        return
    stream.record.flags |= RECORD_CLIENT_SLOW
    if (kind == DEADLINE_BODY or kind == DEADLINE_REQUEST) and not stream.parked and not (
        stream.response_started or exchange.wire.remote_ended
    ):
        exchange_refuse(stream, 408, NULL)
    else:
        exchange_stop(exchange, H2_CANCEL if kind == DEADLINE_BODY else H2_INTERNAL_ERROR)
