"""Bytes of a client after 101: they go to the endpoint as they come.

Each side may end its half first: `ended` says who has, and whether the other side was told.
"""

from libc.stdint cimport uint32_t

from fastproxy.engine.client.h1_connection cimport Downstream, downstream_close, downstream_end_half
from fastproxy.engine.loop.posix cimport ssize_t
from fastproxy.engine.loop.reactor cimport DEADLINE_TUNNEL, deadline_set, source_run
from fastproxy.engine.stream.record cimport RECORD_TUNNEL_CLIENT, RECORD_TUNNEL_ENDPOINT
from fastproxy.engine.stream.stream cimport Engine, Stream
from fastproxy.engine.stream.transport cimport (
    TRANSPORT_AGAIN, TRANSPORT_FAILED, transport_drained, transport_read,
)
from fastproxy.engine.exchange.request cimport (
    exchange_full, exchange_tunnel, exchange_tunnel_ended, exchange_waits,
)


cdef void downstream_read_tunnel(Downstream* downstream) noexcept nogil:
    cdef Engine* engine = downstream.engine
    cdef Stream* stream = &downstream.stream
    cdef ssize_t count
    if downstream.ended & 1:
        downstream_settle_tunnel(downstream)
        return
    if stream.upstream == NULL or not downstream.readable:
        return
    count = transport_read(engine, downstream.source.descriptor, downstream.ssl, engine.body, engine.body_size)
    if count == TRANSPORT_FAILED and downstream.ssl != NULL and engine.tls.cut(downstream.ssl):
        count = 0  # as without TLS: what it sent before is delivered
    if count == TRANSPORT_AGAIN:
        downstream.readable = 0
    elif count == TRANSPORT_FAILED:
        downstream_close(downstream)
    elif count == 0:
        downstream.ended |= 1
        _ended_by(stream, RECORD_TUNNEL_CLIENT)
        exchange_tunnel_ended(stream)
        downstream_settle_tunnel(downstream)
    else:
        if transport_drained(engine, downstream.ssl, count, engine.body_size) and not downstream.hung_up:
            downstream.readable = 0
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_TUNNEL)
        stream.record.received += count
        exchange_tunnel(stream, engine.body, count)
        if exchange_full(stream):
            downstream.paused = 1
        elif downstream.readable:
            source_run(&downstream.source)


cdef inline void _ended_by(Stream* stream, uint32_t flag) noexcept nogil:
    if not stream.record.flags & (RECORD_TUNNEL_CLIENT | RECORD_TUNNEL_ENDPOINT):
        stream.record.flags |= flag


cdef void downstream_settle_tunnel(Downstream* downstream) noexcept nogil:
    """Once the client has everything, pass the endpoint's end on; once both have, close."""
    if downstream.ended & 2:
        _ended_by(&downstream.stream, RECORD_TUNNEL_ENDPOINT)
    if not downstream.ended & 2 or downstream.output.first != NULL:
        return
    if downstream.ended & 1:
        if exchange_waits(&downstream.stream):
            return
        if downstream.ssl != NULL:
            _tell(downstream)
        if not downstream.untold:
            downstream_close(downstream)
    else:
        _tell(downstream)


cdef inline void _tell(Downstream* downstream) noexcept nogil:
    if not downstream.ended & 4:
        downstream.ended |= 4
        downstream_end_half(downstream)
