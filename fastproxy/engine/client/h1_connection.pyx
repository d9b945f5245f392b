"""One client's connection: its memory, its address, writing to it and the ways it ends.

`downstream_send` writes what the socket takes and queues the rest; the queue's end is an event
(h1.pyx). An end is `downstream_end` after a whole answer, `downstream_reset` where the
client must not take what it has for one, `downstream_close` in all other cases.
"""

from libc.stdint cimport uint32_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset, strlen

from fastproxy.engine.loop.buffers cimport queue_append_rest, queue_clear
from fastproxy.engine.exchange.end cimport exchange_abandon
from fastproxy.engine.loop.posix cimport (
    AF_INET, AF_INET6, SOL_SOCKET, SO_LINGER, close, gmtime_r, inet_ntop, iovec, linger,
    ntohs, setsockopt, sockaddr, sockaddr_in, sockaddr_in6, ssize_t, strftime, time_t, tm,
)
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_LEFT, DEADLINE_LINGER, DEADLINE_STALL, Source, deadline_clear, deadline_set, source_retire,
    source_run,
)
from fastproxy.engine.stream.stream cimport Engine, Stream
from fastproxy.engine.stream.transport cimport (
    TLS_FULL, TRANSPORT_AGAIN, TRANSPORT_FAILED, transport_end, transport_write,
)
from fastproxy.engine.http.h1_parser cimport wire_free
from fastproxy.engine.http.fields cimport window_free


cdef void downstream_free(Source* source) noexcept nogil:
    cdef Downstream* downstream = <Downstream*> source
    source.next_dead = downstream.engine.free_downstream
    downstream.engine.free_downstream = source


cdef Downstream* downstream_new(Engine* engine) noexcept nogil:
    cdef Downstream* downstream = <Downstream*> engine.free_downstream
    if downstream != NULL:
        engine.free_downstream = downstream.source.next_dead
    else:
        downstream = <Downstream*> malloc(sizeof(Downstream))
    if downstream != NULL:
        memset(downstream, 0, sizeof(Downstream))
    return downstream


cdef void downstream_set_client(Downstream* downstream, const void* address) noexcept nogil:
    """The peer's address as text and as 16 bytes."""
    cdef const sockaddr* peer = <const sockaddr*> address
    cdef Stream* stream = &downstream.stream
    memset(stream.client.address, 0, 16)
    if peer.sa_family == AF_INET:
        stream.client.address[10] = 0xFF
        stream.client.address[11] = 0xFF
        memcpy(stream.client.address + 12, &(<const sockaddr_in*> address).sin_addr, 4)
        stream.client.port = ntohs((<const sockaddr_in*> address).sin_port)
    else:
        memcpy(stream.client.address, &(<const sockaddr_in6*> address).sin6_addr, 16)
        stream.client.port = ntohs((<const sockaddr_in6*> address).sin6_port)
    downstream_name_client(downstream)


cdef void downstream_name_client(Downstream* downstream) noexcept nogil:
    cdef Stream* stream = &downstream.stream
    cdef uint8_t* bytes6 = stream.client.address
    cdef bint mapped = bytes6[10] == 0xFF and bytes6[11] == 0xFF
    cdef int i
    for i in range(10):
        if bytes6[i]:
            mapped = False
    stream.client.text = downstream.client
    if mapped:
        stream.client.size = _write_ipv4(bytes6 + 12, downstream.client)
        return
    inet_ntop(AF_INET6, bytes6, downstream.client, sizeof(downstream.client))
    stream.client.size = <uint32_t> strlen(downstream.client)


cdef uint32_t _write_ipv4(const uint8_t* octets, char* text) noexcept nogil:
    """Dotted decimal; inet_ntop formats with sprintf, which costs more than reading the request."""
    cdef uint32_t size = 0, i
    cdef uint8_t octet
    for i in range(4):
        octet = octets[i]
        if octet >= 100:
            text[size] = c'0' + octet // 100
            size += 1
        if octet >= 10:
            text[size] = c'0' + octet // 10 % 10
            size += 1
        text[size] = c'0' + octet % 10
        text[size + 1] = c'.'
        size += 2
    text[size - 1] = 0
    return size - 1


cdef void downstream_close(Downstream* downstream) noexcept nogil:
    """Close the connection now; an exchange in work is cancelled."""
    cdef Engine* engine = downstream.engine
    if downstream.source.dead:
        return
    if downstream.http2 != NULL:
        downstream.on_close(downstream)
    exchange_abandon(&downstream.stream)
    if downstream.waiting:
        downstream_wait_no_more(downstream)
    if downstream.ssl != NULL:
        if downstream.state != DOWNSTREAM_LINGER:
            engine.tls.shutdown(downstream.ssl)
        engine.tls.free(downstream.ssl)
        downstream.ssl = NULL
    queue_clear(&downstream.output)
    window_free(downstream.window)
    downstream.window = NULL
    free(downstream.pending)
    downstream.pending = NULL
    free(downstream.stream.client.remembered)
    downstream.stream.client.remembered = NULL
    wire_free(&downstream.wire)
    deadline_clear(engine.reactor, &downstream.total)
    deadline_clear(engine.reactor, &downstream.left)
    close(downstream.source.descriptor)
    if downstream.previous_connection == NULL:
        engine.connections_first = <Source*> downstream.next_connection
    else:
        downstream.previous_connection.next_connection = downstream.next_connection
    if downstream.next_connection != NULL:
        downstream.next_connection.previous_connection = downstream.previous_connection
    downstream_count(downstream)
    engine.connections -= 1
    source_retire(&downstream.source)


cdef void downstream_count(Downstream* downstream) noexcept nogil:
    """From now on it is one of those the limit allows."""
    cdef Engine* engine = downstream.engine
    cdef uint32_t kept = 0, i
    if not downstream.stream.over:
        return
    downstream.stream.over = 0
    for i in range(engine.over_count):
        if engine.over[i] != &downstream.source:
            engine.over[kept] = engine.over[i]
            kept += 1
    engine.over_count = kept


cdef void downstream_wait(Downstream* downstream) noexcept nogil:
    """Queue up for a step of the handshake."""
    cdef Engine* engine = downstream.engine
    downstream.waiting = 1
    downstream.next_waiting = NULL
    downstream.previous_waiting = <Downstream*> engine.waiting_last
    if engine.waiting_last == NULL:
        engine.waiting_first = &downstream.source
    else:
        downstream.previous_waiting.next_waiting = downstream
    engine.waiting_last = &downstream.source
    engine.waiting += 1


cdef void downstream_wait_no_more(Downstream* downstream) noexcept nogil:
    """Leave that queue."""
    cdef Engine* engine = downstream.engine
    downstream.waiting = 0
    if downstream.previous_waiting == NULL:
        engine.waiting_first = <Source*> downstream.next_waiting
    else:
        downstream.previous_waiting.next_waiting = downstream.next_waiting
    if downstream.next_waiting == NULL:
        engine.waiting_last = <Source*> downstream.previous_waiting
    else:
        downstream.next_waiting.previous_waiting = downstream.previous_waiting
    engine.waiting -= 1


cdef void downstream_reset(Downstream* downstream) noexcept nogil:
    """Close so that the client cannot take what it has for a whole response."""
    cdef linger hard
    hard.l_onoff = 1
    hard.l_linger = 0
    setsockopt(downstream.source.descriptor, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard))
    if downstream.ssl != NULL:
        # Without close_notify: it would say that nothing is missing.
        downstream.engine.tls.free(downstream.ssl)
        downstream.ssl = NULL
    downstream_close(downstream)


cdef void downstream_end(Downstream* downstream) noexcept nogil:
    """Everything is written: close, after reading what would otherwise cause a reset."""
    cdef bint unread = downstream.readable or not downstream.wire.message_done or downstream.pending_size
    downstream.state = DOWNSTREAM_LINGER
    if unread:
        downstream_end_half(downstream)
    elif downstream.ssl != NULL:
        downstream.untold = downstream.engine.tls.shutdown(downstream.ssl) == TLS_FULL
    if unread or downstream.untold:
        downstream.drained = 0
        downstream.readable = 1
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_LINGER)
        source_run(&downstream.source)
    else:
        downstream_close(downstream)


cdef void downstream_end_half(Downstream* downstream) noexcept nogil:
    """Nothing more will be written; what the socket has no room for is tried again."""
    downstream.untold = not transport_end(
        downstream.engine, downstream.source.descriptor, downstream.ssl
    )


cdef void downstream_left(Downstream* downstream) noexcept nogil:
    """The client has ended: it waits for its answer, or has gone, which shows only when something
    is written. So an endpoint may take LEFT_SECONDS for each part of it."""
    deadline_set(&downstream.source, &downstream.left, DEADLINE_LEFT)


cdef bint downstream_send(Downstream* downstream, const iovec* vector, int count, size_t total) noexcept nogil:
    """Write now what the socket takes, queue the rest; False when the client is gone."""
    cdef ssize_t written = 0
    if downstream.hung_up:
        downstream_left(downstream)
    if downstream.output.first == NULL:
        written = transport_write(downstream.engine, downstream.source.descriptor, downstream.ssl, vector, count)
        if written == TRANSPORT_FAILED:
            return False
        if written == TRANSPORT_AGAIN:
            written = 0
        downstream_sent(downstream, written)
    if <size_t> written < total:
        if queue_append_rest(&downstream.output, vector, count, written) < 0:
            return False
        if written or downstream.source.deadline.kind != DEADLINE_STALL or not downstream.source.deadline.linked:
            deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_STALL)
    return True


cdef int downstream_keep_pending(Downstream* downstream, const char* data, size_t size) noexcept nogil:
    downstream.pending = <char*> malloc(size)
    if downstream.pending == NULL:
        return -1
    memcpy(downstream.pending, data, size)
    downstream.pending_size = <uint32_t> size
    downstream.stream.record.received -= size  # it belongs to the next one
    return 0


cdef void downstream_date(Engine* engine) noexcept nogil:
    cdef tm parts
    cdef time_t seconds
    if engine.date_second != engine.reactor.wall:
        engine.date_second = engine.reactor.wall
        seconds = <time_t> engine.date_second
        gmtime_r(&seconds, &parts)
        strftime(engine.date, sizeof(engine.date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts)
