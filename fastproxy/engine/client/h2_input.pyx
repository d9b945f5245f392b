# DATA on its way to the exchange, and the credit for it.
#
# A client may send as much as its windows allow, whoever waits for what: what comes while an exchange is parked,
# or before a tunnel is open, waits in `input`, which its stream's window bounds. Credit goes back when the
# exchange wants more, so an endpoint that takes nothing stops its own stream only.

from libc.stdint cimport uint8_t
from libc.stdlib cimport free

from fastproxy.engine.client.h2_exchange cimport exchange_stop, http2_wake
from fastproxy.engine.exchange.request cimport exchange_body, exchange_full, exchange_tunnel, exchange_tunnel_ended
from fastproxy.engine.http2.h2_frames cimport H2_INTERNAL_ERROR
from fastproxy.engine.http2.h2_streams cimport h2_credit
from fastproxy.engine.loop.buffers cimport Chunk, chunk_data, queue_append
from fastproxy.engine.loop.reactor cimport DEADLINE_BODY, DEADLINE_TUNNEL, DEADLINE_WRITE, deadline_clear, deadline_set
from fastproxy.engine.stream.stream cimport Stream


cdef inline bint _must_wait(const Exchange* exchange) noexcept nogil:
    return exchange.stream.parked or (exchange.connect and not exchange.tunnel)


cdef void http2_take(Exchange* exchange, const char* data, size_t size, uint8_t end) noexcept nogil:
    """DATA has come; `end`: the last of it."""
    exchange.owed += <unsigned int> size
    exchange.stream.record.received += size
    if exchange.input.first == NULL and not _must_wait(exchange):
        _deliver(exchange, data, size, end)
        return
    if size and queue_append(&exchange.input, data, size) < 0:
        exchange_stop(exchange, H2_INTERNAL_ERROR)
        return
    exchange.input_ended = end


cdef void http2_feed(Exchange* exchange) noexcept nogil:
    """More is wanted: hand over what has waited, and give credit for more."""
    cdef Chunk* chunk
    cdef uint8_t end
    while exchange.input.first != NULL and not _must_wait(exchange):
        chunk = exchange.input.first
        exchange.input.first = chunk.next
        exchange.input.size -= chunk.end - chunk.start
        if chunk.next == NULL:
            exchange.input.last = NULL
        end = chunk.next == NULL and exchange.input_ended
        if end:
            exchange.input_ended = 0
        _deliver(exchange, chunk_data(chunk) + chunk.start, chunk.end - chunk.start, end)
        free(chunk)
        if exchange.http2 == NULL:
            return
    if exchange.input_ended and exchange.input.first == NULL and not _must_wait(exchange):
        exchange.input_ended = 0
        _deliver(exchange, NULL, 0, True)
    else:
        _credit(exchange)


cdef void _deliver(Exchange* exchange, const char* data, size_t size, uint8_t end) noexcept nogil:
    cdef Stream* stream = &exchange.stream
    if exchange.tunnel:
        if size:
            exchange_tunnel(stream, data, size)
        if exchange.http2 != NULL and end:
            exchange_tunnel_ended(stream)
        if exchange.http2 != NULL:
            deadline_set(&exchange.timer, &exchange.timer.deadline, DEADLINE_TUNNEL)
    else:
        if end:
            deadline_clear(stream.engine.reactor, &exchange.timer.deadline)
            deadline_set(&exchange.timer, &exchange.total, DEADLINE_WRITE)
        elif not exchange.grpc:
            deadline_set(&exchange.timer, &exchange.timer.deadline, DEADLINE_BODY)
        exchange_body(stream, <char*> data, size, end)
    _credit(exchange)


cdef void _credit(Exchange* exchange) noexcept nogil:
    """Let the client send as much again as has gone, unless the endpoint is behind."""
    if exchange.http2 == NULL or exchange.owed == 0 or exchange.stream.parked or exchange_full(&exchange.stream):
        return
    h2_credit(&exchange.http2.connection, exchange.wire, exchange.owed)
    exchange.owed = 0
    http2_wake(exchange.http2)
