"""The client side of HTTP/1.1.

Idea: a connection reads one head, makes the canonical request of it, hands it to its exchange
(`exchange/request`), and writes what that wants written (`ClientCodec`). One request is in work at a
time; bytes of later requests wait in `pending` and nothing more is read (http-safety.md 38).

This file accepts connections and hands each event to the part that the connection's state names;
from the lowest to the highest the parts are h1_connection (memory, writing, closing),
answer (own answers, what comes behind an answer), tunnel, h1_response, h1_request and handshake.

States: HEAD -> BUSY -> HEAD ..., with DRAIN (answered while the request body still arrives), LINGER
(our end is closed, the client's last bytes are read so that it is not reset before it has read the
answer) and TUNNEL (after 101).

Invariants
* Every state has a deadline, except BUSY with the whole request read: then the upstream connection
  has one.
* Nothing recurses: the next pipelined request is started from the run queue.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t
from libc.stdlib cimport free

from fastproxy.engine.loop.buffers cimport queue_consume, queue_vector
from fastproxy.engine.client.answer cimport downstream_refuse
from fastproxy.engine.client.h1_connection cimport (
    DOWNSTREAM_BUSY, DOWNSTREAM_DRAIN, DOWNSTREAM_HANDSHAKE, DOWNSTREAM_HEAD, DOWNSTREAM_HTTP2, DOWNSTREAM_LINGER,
    DOWNSTREAM_PROXY, DOWNSTREAM_TUNNEL, Downstream, downstream_close, downstream_end, downstream_end_half,
    downstream_free, downstream_left, downstream_name_client, downstream_new, downstream_sent,
    downstream_set_client,
)
from fastproxy.engine.client.h2 cimport http2_deadline, http2_drain, http2_event, http2_flush, http2_idle
from fastproxy.engine.client.handshake cimport handshake_begin, handshake_event, handshake_reset
from fastproxy.engine.client.h1_request cimport downstream_read_body, downstream_read_head
from fastproxy.engine.client.h1_response cimport downstream_ask_body, downstream_codec
from fastproxy.engine.exchange.end cimport exchange_end
from fastproxy.engine.exchange.request cimport exchange_writable
from fastproxy.engine.exchange.response cimport exchange_owner
from fastproxy.engine.client.tunnel cimport downstream_read_tunnel, downstream_settle_tunnel
from fastproxy.engine.http.llhttp cimport HTTP_REQUEST
from fastproxy.engine.loop.posix cimport (
    EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, close, iovec, ssize_t,
)
from fastproxy.engine.stream.proxy_protocol cimport proxy_header
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_BODY, DEADLINE_CONTINUE, DEADLINE_HANDSHAKE, DEADLINE_HEAD, DEADLINE_IDLE,
    DEADLINE_LEFT, DEADLINE_REQUEST, DEADLINE_STALL, DEADLINE_TUNNEL, Deadline, Source,
    deadline_clear, deadline_set, source_add, source_run,
)
from fastproxy.engine.stream.record cimport RECORD_CLIENT_SLOW, RECORD_SHUTDOWN
from fastproxy.engine.stream.stream cimport MAX_PROBES, Engine
from fastproxy.engine.stream.transport cimport (
    TRANSPORT_AGAIN, TRANSPORT_FAILED, transport_read, transport_write,
)
from fastproxy.engine.http.h1_parser cimport wire_init

cdef enum:
    LINGER_BYTES = 65536
    LOOKS = 16 + MAX_PROBES  # at connections that may give way
    SILENCE = 1000  # milliseconds after which a client that has said nothing may have to


cdef void downstream_accept(
    Engine* engine, int descriptor, uint32_t entry_point, const void* address, bint over
) noexcept nogil:
    """Take over an accepted socket and read from it at once. `over`: there is no room for it, unless
    it asks for `/ping` or `/ready`; there are at most MAX_PROBES of them."""
    cdef Downstream* downstream = downstream_new(engine)
    if downstream == NULL:
        close(descriptor)
        return
    downstream.source.on_event = _on_event
    downstream.source.on_deadline = _on_deadline
    downstream.source.on_flush = _on_flush
    downstream.source.on_free = downstream_free
    downstream.engine = engine
    downstream.stream.owner = &exchange_owner
    downstream.stream.codec = &downstream_codec
    downstream.stream.engine = engine
    downstream.stream.client.entry_point = entry_point
    downstream.stream.client.tls = engine.entry_points[entry_point].tls
    downstream_set_client(downstream, address)
    wire_init(&downstream.wire, HTTP_REQUEST)
    downstream.wire.max_lines = <uint16_t> engine.header_lines
    downstream.wire.max_body = engine.max_body
    if source_add(engine.reactor, &downstream.source, descriptor, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) < 0:
        close(descriptor)
        free(downstream)
        return
    downstream.next_connection = <Downstream*> engine.connections_first
    if downstream.next_connection != NULL:
        downstream.next_connection.previous_connection = downstream
    engine.connections_first = &downstream.source
    engine.connections += 1
    engine.counters.accepted += 1
    if over:
        if engine.over_count == MAX_PROBES:
            downstream_close(<Downstream*> engine.over[0])
        engine.over[engine.over_count] = &downstream.source
        engine.over_count += 1
        downstream.stream.over = 1
    downstream.readable = 1
    if engine.entry_points[entry_point].proxy_protocol:
        downstream.state = DOWNSTREAM_PROXY
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_HEAD)
        _read_proxy(downstream)
    else:
        _begin(downstream)


cdef void _begin(Downstream* downstream) noexcept nogil:
    if downstream.stream.client.tls:
        handshake_begin(downstream)
        return
    downstream.state = DOWNSTREAM_HEAD
    deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_HEAD)
    downstream_read_head(downstream)


cdef void _read_proxy(Downstream* downstream) noexcept nogil:
    """Wait for the PROXY header, which may also be absent."""
    cdef int code = proxy_header(
        downstream.source.descriptor, &downstream.engine.entry_points[downstream.stream.client.entry_point],
        downstream.stream.client.address,
    )
    if code < 0:
        downstream_close(downstream)
    elif code:
        downstream_name_client(downstream)
        _begin(downstream)
        if downstream.state == DOWNSTREAM_HANDSHAKE:
            handshake_event(downstream)  # the event of what came behind the header is over


cdef void _flush(Downstream* downstream) noexcept nogil:
    cdef iovec vector[16]
    cdef int count
    cdef ssize_t written
    while downstream.output.first != NULL:
        count = queue_vector(&downstream.output, vector, 16)
        written = transport_write(downstream.engine, downstream.source.descriptor, downstream.ssl, vector, count)
        if written == TRANSPORT_AGAIN:
            return
        if written == TRANSPORT_FAILED:
            downstream_close(downstream)
            return
        queue_consume(&downstream.output, written)
        downstream_sent(downstream, written)
        if downstream.output.first != NULL:
            deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_STALL)
    _written(downstream)


cdef void _written(Downstream* downstream) noexcept nogil:
    """The output queue has become empty."""
    if downstream.closing:
        exchange_end(&downstream.stream)
        downstream_end(downstream)
        return
    if downstream.stream.rest_size:
        exchange_writable(&downstream.stream)
        return
    if downstream.state == DOWNSTREAM_BUSY:
        if downstream.stream.request_done:
            deadline_clear(downstream.engine.reactor, &downstream.source.deadline)
        else:
            deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)
        exchange_writable(&downstream.stream)
    elif downstream.state == DOWNSTREAM_TUNNEL:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_TUNNEL)
        downstream_settle_tunnel(downstream)
        if not downstream.ended & 2:
            exchange_writable(&downstream.stream)
    elif downstream.state == DOWNSTREAM_HEAD:
        exchange_end(&downstream.stream)
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_IDLE)
        source_run(&downstream.source)
    elif downstream.state == DOWNSTREAM_DRAIN:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)


cdef void _on_event(Source* source, uint32_t events) noexcept nogil:
    cdef Downstream* downstream = <Downstream*> source
    if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        downstream.readable = 1
        if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            downstream.hung_up = 1
            if downstream.state == DOWNSTREAM_HANDSHAKE:
                if events & (EPOLLERR | EPOLLHUP):
                    handshake_reset(downstream)
                    return
            elif events & EPOLLERR or (events & EPOLLHUP and downstream.state != DOWNSTREAM_TUNNEL):
                downstream_close(downstream)  # both halves are gone: nobody is left to answer
                return
    if downstream.state == DOWNSTREAM_HTTP2:
        if events & EPOLLOUT:
            http2_flush(downstream)
        if not source.dead and downstream.state == DOWNSTREAM_HTTP2:
            http2_event(downstream)
        return
    if events & EPOLLOUT and downstream.output.first != NULL:
        _flush(downstream)
        if source.dead:
            return
    if events & EPOLLOUT and downstream.untold:
        downstream_end_half(downstream)
    if downstream.state == DOWNSTREAM_HEAD:
        if downstream.output.first == NULL:
            downstream_read_head(downstream)
    elif downstream.state == DOWNSTREAM_BUSY:
        if not (
            downstream.wire.message_done or downstream.paused or downstream.waiting_continue
            or downstream.stream.parked or downstream.closing
        ):
            downstream_read_body(downstream)
    elif downstream.state == DOWNSTREAM_DRAIN:
        downstream_read_body(downstream)
    elif downstream.state == DOWNSTREAM_LINGER:
        _read_linger(downstream)
    elif downstream.state == DOWNSTREAM_TUNNEL:
        if not downstream.paused:
            downstream_read_tunnel(downstream)
    elif downstream.state == DOWNSTREAM_HANDSHAKE:
        handshake_event(downstream)
    elif downstream.state == DOWNSTREAM_PROXY:
        _read_proxy(downstream)
    if downstream.hung_up and not source.dead and downstream.state == DOWNSTREAM_BUSY and not downstream.left.linked:
        downstream_left(downstream)


cdef void _on_flush(Source* source) noexcept nogil:
    """The end of a turn in which something was to be written."""
    cdef Downstream* downstream = <Downstream*> source
    if downstream.state == DOWNSTREAM_HTTP2:
        http2_flush(downstream)


cdef void _read_linger(Downstream* downstream) noexcept nogil:
    cdef Engine* engine = downstream.engine
    cdef ssize_t count = transport_read(engine, downstream.source.descriptor, NULL, engine.body, engine.body_size)
    if count == TRANSPORT_AGAIN or (count == 0 and downstream.untold):
        downstream.readable = 0
        return
    if count > 0:
        downstream.drained += <uint32_t> count
    if count <= 0 or downstream.drained > LINGER_BYTES:
        downstream_close(downstream)
    else:
        source_run(&downstream.source)


cdef void _on_deadline(Source* source, int kind) noexcept nogil:
    cdef Downstream* downstream = <Downstream*> source
    cdef bint unread = not downstream.wire.message_done
    if downstream.state == DOWNSTREAM_HTTP2 and not http2_deadline(downstream, kind):
        return
    if kind == DEADLINE_CONTINUE:
        downstream_ask_body(&downstream.stream)
        return
    if kind != DEADLINE_LEFT:
        downstream.stream.record.flags |= RECORD_CLIENT_SLOW
    if kind == DEADLINE_LEFT:
        if downstream.state == DOWNSTREAM_BUSY and downstream.output.first == NULL:
            downstream_close(downstream)
    elif kind == DEADLINE_HEAD and (downstream.window != NULL and downstream.state == DOWNSTREAM_HEAD):
        downstream_refuse(downstream, 408)
    elif (kind == DEADLINE_BODY or kind == DEADLINE_REQUEST) and (
        downstream.state == DOWNSTREAM_BUSY and unread and not downstream.stream.response_started
    ):
        if downstream.stream.parked:
            downstream_close(downstream)
            return
        downstream_refuse(downstream, 408)
    else:
        downstream_close(downstream)


cdef bint _idle(const Downstream* downstream) noexcept nogil:
    """It waits for the next request, of which nothing has come."""
    if downstream.state == DOWNSTREAM_HTTP2:
        return http2_idle(downstream)
    return (
        downstream.state == DOWNSTREAM_HEAD and downstream.window == NULL
        and downstream.output.first == NULL and downstream.pending_size == 0
    )


cdef void _close_unless_asked(Downstream* downstream) noexcept nogil:
    """Close an idle connection, unless a request has arrived that no event has told of yet."""
    downstream.readable = 1
    if downstream.state == DOWNSTREAM_HTTP2:
        http2_event(downstream)
    else:
        downstream_read_head(downstream)
    if not downstream.source.dead and _idle(downstream):
        downstream_close(downstream)


cdef bint _close_idle(Engine* engine, Deadline* deadline) noexcept nogil:
    """Close the first of a list that is still idle after a look at its socket."""
    cdef Downstream* downstream
    cdef Deadline* following
    cdef int _i
    for _i in range(LOOKS):
        if deadline == NULL:
            return False
        following = deadline.next
        downstream = <Downstream*> deadline.source
        if _idle(downstream) and not downstream.stream.over:
            _close_unless_asked(downstream)
            # Otherwise the list may be another by now; the next turn looks again.
            return downstream.source.dead
        deadline = following
    return False


cdef bint _close_silent(Engine* engine, int kind) noexcept nogil:
    """Close the oldest client that has connected some time ago and said nothing at all."""
    cdef Deadline* deadline = engine.reactor.deadlines[kind].first
    cdef int64_t soonest = engine.reactor.now + engine.reactor.deadlines[kind].duration - SILENCE
    cdef Downstream* downstream
    cdef int _i
    for _i in range(LOOKS):
        if deadline == NULL or deadline.expires > soonest:
            return False
        downstream = <Downstream*> deadline.source
        # Closing one beyond the limit would make no room below it.
        if not downstream.stream.over and (downstream.state == DOWNSTREAM_PROXY or (
            downstream.state == DOWNSTREAM_HANDSHAKE and downstream.ssl == NULL and not downstream.waiting
        ) or (_idle(downstream) and not downstream.readable and downstream.requests == 0)):
            downstream_close(downstream)
            return True
        deadline = deadline.next
    return False


cdef bint downstream_give_way(Engine* engine) noexcept nogil:
    """Make room for a new client: the connection that has been idle between requests for longest is
    closed, else one that has never said anything; False when all are in use."""
    if _close_idle(engine, engine.reactor.deadlines[<int> DEADLINE_IDLE].first):
        return True
    return _close_silent(engine, DEADLINE_HEAD) or _close_silent(engine, DEADLINE_HANDSHAKE)


cdef void downstream_drain(Engine* engine) noexcept nogil:
    """Close connections between requests; the others close after their response."""
    cdef Downstream* downstream = <Downstream*> engine.connections_first
    cdef Downstream* following
    engine.draining = 1
    while downstream != NULL:
        following = downstream.next_connection
        if downstream.state == DOWNSTREAM_HTTP2:
            http2_drain(downstream)
        elif _idle(downstream) and downstream.requests:
            _close_unless_asked(downstream)
        downstream = following


cdef void downstream_close_all(Engine* engine) noexcept nogil:
    while engine.connections_first != NULL:
        (<Downstream*> engine.connections_first).stream.record.flags |= RECORD_SHUTDOWN
        downstream_close(<Downstream*> engine.connections_first)
