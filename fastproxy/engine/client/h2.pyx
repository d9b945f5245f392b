"""The client side of HTTP/2: a connection, many exchanges.

Idea: socket, TLS, address and place in the list of connections are those of `Downstream`, which becomes a
connection of HTTP/2 when ALPN or the first bytes say so; what the protocol is, `http2/h2_streams` knows. This file is the
way between them: bytes in, events out to the parts (`h2_request`, `h2_input`), and one write for
everything that a turn has brought.

Invariants
* Nothing is written but by `http2_flush`, at the end of a turn or when the socket has room again.
* While much waits for the socket nothing is read (`h2_choked`).
* A connection that ends is announced in two steps (RFC 9113 6.8): no request is lost in between.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastproxy.engine.client.h1_connection cimport (
    DOWNSTREAM_HTTP2, Downstream, downstream_close, downstream_end,
)
from fastproxy.engine.client.h2_exchange cimport exchange_free, exchange_stop, http2_wake
from fastproxy.engine.client.h2_input cimport http2_take
from fastproxy.engine.client.h2_request cimport http2_request, http2_trailers
from fastproxy.engine.client.h2_response cimport http2_codec
from fastproxy.engine.client.h2_state cimport Exchange, Http2, Http2Worker
from fastproxy.engine.exchange.end cimport exchange_end
from fastproxy.engine.exchange.request cimport exchange_writable
from fastproxy.engine.http.h1_parser cimport wire_init
from fastproxy.engine.http.llhttp cimport HTTP_REQUEST
from fastproxy.engine.http2.h2_frames cimport FRAME_SIZE
from fastproxy.engine.http2.h2_streams cimport (
    H2_ABORTED, H2_BODY, H2_FAILED, H2_HEAD, H2_NOTHING, H2_TRAILERS, H2Event, H2EventKind, H2Stream, h2_choked, h2_drain,
    h2_drained, h2_free, h2_init, h2_overdue, h2_receive, h2_schedule, h2_worker_init,
)
from fastproxy.engine.loop.buffers cimport queue_consume, queue_vector
from fastproxy.engine.loop.posix cimport iovec, ssize_t
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_IDLE, DEADLINE_STALL, DEADLINE_TRY, deadline_clear, deadline_set, source_run,
)
from fastproxy.engine.stream.stream cimport Engine
from fastproxy.engine.stream.transport cimport (
    TRANSPORT_AGAIN, TRANSPORT_FAILED, transport_drained, transport_read, transport_write,
)

cdef enum:
    INPUT = 32 * 1024  # bytes of one connection in a turn
    OUTPUT = 256 * 1024
    TLS_DATA = 16375  # of a frame: with its head it fills one TLS record


cdef int http2_install(Engine* engine) except -1:
    """Make what the connections of a worker share. Raises MemoryError."""
    cdef Http2Worker* worker = <Http2Worker*> calloc(1, sizeof(Http2Worker))
    if worker == NULL or h2_worker_init(&worker.streams, engine.header_block) < 0:
        raise MemoryError
    wire_init(&worker.wire, HTTP_REQUEST)
    worker.wire.max_lines = 4096  # counted before
    worker.codec = &http2_codec
    engine.http2 = worker
    return 0


cdef inline Http2* _http2(const Downstream* downstream) noexcept nogil:
    return <Http2*> downstream.http2


cdef inline void _tell_time(Http2* http2) noexcept nogil:
    http2.worker.streams.now = <uint32_t> http2.engine.reactor.now


cdef void http2_begin(Downstream* downstream, const char* data, size_t size) noexcept nogil:
    """From here on a connection speaks HTTP/2; `data` has been read of it already."""
    cdef Engine* engine = downstream.engine
    cdef Http2* http2 = <Http2*> calloc(1, sizeof(Http2))
    if http2 == NULL:
        downstream_close(downstream)
        return
    http2.downstream = downstream
    http2.engine = engine
    http2.worker = <Http2Worker*> engine.http2
    _tell_time(http2)
    h2_init(
        &http2.connection, &http2.worker.streams, False, engine.header_block,
        FRAME_SIZE if downstream.ssl == NULL else TLS_DATA,
    )
    downstream.http2 = http2
    downstream.on_close = _on_close
    downstream.state = DOWNSTREAM_HTTP2
    deadline_clear(engine.reactor, &downstream.source.deadline)
    deadline_set(&downstream.source, &downstream.total, DEADLINE_TRY)
    if engine.draining:
        h2_drain(&http2.connection)
    http2_wake(http2)
    if size:
        memcpy(engine.body, data, size)  # heads are written into the window it stands in
        _take(http2, engine.body, size)
    if not downstream.source.dead and downstream.state == DOWNSTREAM_HTTP2:
        http2_event(downstream)


cdef void _on_close(Downstream* downstream) noexcept nogil:
    """The connection is going: nobody is left to answer."""
    cdef Http2* http2 = _http2(downstream)
    downstream.http2 = NULL
    while http2.exchanges != NULL:
        http2.exchanges.wire.reset = 1
        http2.exchanges.stream.record.flags |= downstream.stream.record.flags
        exchange_stop(http2.exchanges, 0)
    h2_free(&http2.connection)
    free(http2)


cdef void http2_event(Downstream* downstream) noexcept nogil:
    """The socket may be readable."""
    cdef Http2* http2 = _http2(downstream)
    cdef Engine* engine = downstream.engine
    cdef ssize_t count
    _tell_time(http2)
    while downstream.readable and not http2.connection.failed:
        if h2_choked(&http2.connection):
            return  # http2_flush goes on
        count = transport_read(engine, downstream.source.descriptor, downstream.ssl, engine.body, INPUT)
        if count == TRANSPORT_AGAIN:
            downstream.readable = 0
            return
        if count <= 0:
            downstream_close(downstream)
            return
        if transport_drained(engine, downstream.ssl, count, INPUT) and not downstream.hung_up:
            downstream.readable = 0
        _take(http2, engine.body, count)
        if downstream.source.dead or downstream.state != DOWNSTREAM_HTTP2:
            return
        if downstream.readable:
            source_run(&downstream.source)  # others first
            return


cdef void _take(Http2* http2, const char* data, size_t size) noexcept nogil:
    """Events of bytes that have come."""
    cdef H2Event event
    cdef H2EventKind kind
    cdef Exchange* exchange
    cdef Downstream* downstream = http2.downstream
    while True:
        kind = h2_receive(&http2.connection, &data, &size, &event)
        if kind == H2_NOTHING or kind == H2_FAILED:
            break
        exchange = NULL if event.stream == NULL else <Exchange*> event.stream.owner
        if kind == H2_HEAD:
            http2_request(http2, event.stream, event.end)
        elif exchange == NULL:
            continue
        elif kind == H2_BODY:
            http2_take(exchange, event.data, event.size, event.end)
        elif kind == H2_TRAILERS:
            http2_trailers(exchange)
        elif kind == H2_ABORTED:
            exchange_stop(exchange, 0)
        if downstream.source.dead or downstream.http2 == NULL:
            return
    if http2.engine.requests_per_connection and http2.taken >= http2.engine.requests_per_connection:
        h2_drain(&http2.connection)
    _rest(http2)
    http2_wake(http2)


cdef void _rest(Http2* http2) noexcept nogil:
    """Deadlines of the connection: an idle one may rest, others are looked at."""
    cdef Downstream* downstream = http2.downstream
    if http2.open == 0 and http2.connection.settled and not http2.connection.acks_awaited and http2.connection.draining != 1:
        deadline_clear(http2.engine.reactor, &downstream.total)
        if downstream.source.deadline.kind != DEADLINE_STALL or not downstream.source.deadline.linked:
            deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_IDLE)
        return
    if downstream.source.deadline.linked and downstream.source.deadline.kind == DEADLINE_IDLE:
        deadline_clear(http2.engine.reactor, &downstream.source.deadline)
    if not downstream.total.linked:
        deadline_set(&downstream.source, &downstream.total, DEADLINE_TRY)


cdef void http2_flush(Downstream* downstream) noexcept nogil:
    """Write what waits, as far as the socket takes it; then who waited for that goes on."""
    cdef Http2* http2 = _http2(downstream)
    cdef iovec vector[16]
    cdef ssize_t written
    cdef size_t total = 0
    cdef int count
    cdef bint was_choked = h2_choked(&http2.connection)
    _tell_time(http2)
    h2_schedule(&http2.connection)
    while http2.connection.out.first != NULL and total < OUTPUT:
        count = queue_vector(&http2.connection.out, vector, 16)
        written = transport_write(downstream.engine, downstream.source.descriptor, downstream.ssl, vector, count)
        if written == TRANSPORT_AGAIN:
            if not downstream.source.deadline.linked or downstream.source.deadline.kind != DEADLINE_STALL:
                deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_STALL)
            break
        if written == TRANSPORT_FAILED:
            downstream_close(downstream)
            return
        total += written
        queue_consume(&http2.connection.out, written)
        h2_schedule(&http2.connection)
    if http2.connection.out.first == NULL:
        if downstream.source.deadline.linked and downstream.source.deadline.kind == DEADLINE_STALL:
            deadline_clear(downstream.engine.reactor, &downstream.source.deadline)
    elif total:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_STALL)
        if total >= OUTPUT:
            http2_wake(http2)
    _settle(http2)
    if downstream.source.dead:
        return
    if http2.connection.out.first == NULL and (http2.connection.failed or h2_drained(&http2.connection)):
        _end(downstream)
        return
    _rest(http2)
    if was_choked and not h2_choked(&http2.connection) and downstream.readable:
        source_run(&downstream.source)


cdef void _settle(Http2* http2) noexcept nogil:
    """Exchanges whose last byte has gone end; those which have been told to wait go on."""
    cdef Exchange* exchange = http2.exchanges
    cdef Exchange* following
    cdef Downstream* downstream = http2.downstream
    while exchange != NULL:
        following = exchange.next
        if http2.connection.failed:
            exchange.wire.reset = 1
            exchange_stop(exchange, 0)
        elif exchange.answered:
            if exchange.wire.local_ended or exchange.wire.reset:
                exchange.stream.record.last_out = http2.engine.reactor.now_ns
                exchange_end(&exchange.stream)
                exchange_free(exchange)
        elif exchange.full and exchange.wire.output.size <= http2.engine.high_water // 2:
            exchange.full = 0
            exchange_writable(&exchange.stream)
            if downstream.source.dead or downstream.http2 == NULL:
                return
            following = http2.exchanges if exchange.http2 == NULL else exchange.next
        elif exchange.stream.rest_size and exchange.wire.output.size == 0:
            exchange_writable(&exchange.stream)
            if downstream.source.dead or downstream.http2 == NULL:
                return
            following = http2.exchanges if exchange.http2 == NULL else exchange.next
        exchange = following


cdef void _end(Downstream* downstream) noexcept nogil:
    """All is written: end our half and read off what the client still sends."""
    _on_close(downstream)
    downstream.on_close = NULL
    downstream.wire.message_done = 0
    deadline_clear(downstream.engine.reactor, &downstream.total)
    downstream_end(downstream)


cdef bint http2_deadline(Downstream* downstream, int kind) noexcept nogil:
    """A deadline of the connection; whether it is to be closed at once."""
    cdef Http2* http2 = _http2(downstream)
    cdef H2Stream* stream
    _tell_time(http2)
    if kind == DEADLINE_IDLE:
        h2_drain(&http2.connection)
        deadline_set(&downstream.source, &downstream.total, DEADLINE_TRY)
        http2_wake(http2)
        return False
    if kind != DEADLINE_TRY:
        return True
    while True:
        stream = h2_overdue(&http2.connection)
        if stream == NULL:
            break
        if stream.owner != NULL:
            exchange_stop(<Exchange*> stream.owner, 0)
    deadline_set(&downstream.source, &downstream.total, DEADLINE_TRY)
    http2_wake(http2)
    return False


cdef void http2_drain(Downstream* downstream) noexcept nogil:
    """Announce the end (SIGTERM)."""
    cdef Http2* http2 = _http2(downstream)
    _tell_time(http2)
    h2_drain(&http2.connection)
    if not downstream.total.linked:
        deadline_set(&downstream.source, &downstream.total, DEADLINE_TRY)
    http2_wake(http2)


cdef bint http2_idle(const Downstream* downstream) noexcept nogil:
    return _http2(downstream).open == 0 and _http2(downstream).connection.settled
