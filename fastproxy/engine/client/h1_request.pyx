"""A request, from the first byte of its head to the last of its body.

A head that arrives whole is read in the engine's window; only an incomplete one gets its own. Bytes
of later requests wait in `pending` (http-safety.md 38).

State-machine trap: a body read that runs into pipelined data.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy

from fastproxy.engine.client.answer cimport downstream_finish, downstream_refuse
from fastproxy.engine.client.h1_connection cimport (
    DOWNSTREAM_BUSY, DOWNSTREAM_DRAIN, Downstream, downstream_close, downstream_count,
    downstream_drop_window, downstream_keep_pending, downstream_reset,
)
from fastproxy.engine.client.h2 cimport http2_begin
from fastproxy.engine.exchange.end cimport exchange_begin
from fastproxy.engine.exchange.request cimport (
    exchange_body, exchange_full, exchange_raw, exchange_request, exchange_spliced, exchange_unspliced,
    exchange_waits,
)
from fastproxy.engine.http.h1_parser cimport WIRE_DONE, WIRE_MORE, WIRE_TOO_MUCH, wire_body, wire_head
from fastproxy.engine.http.fields cimport Trailers, Window, window_copy, window_grow, window_reset
from fastproxy.engine.http.head cimport Head, request_head
from fastproxy.engine.http2.h2_frames cimport PREFACE_SIZE, frames_preface
from fastproxy.engine.loop.posix cimport ssize_t
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_BODY, DEADLINE_CONTINUE, DEADLINE_HEAD, DEADLINE_REQUEST, DEADLINE_WRITE,
    deadline_clear, deadline_set, source_run,
)
from fastproxy.engine.stream.splice cimport splice_body, splice_rest, splice_worthwhile
from fastproxy.engine.stream.stream cimport Engine, Stream
from fastproxy.engine.stream.transport cimport TRANSPORT_AGAIN, transport_drained, transport_read


cdef void downstream_read_head(Downstream* downstream) noexcept nogil:
    cdef Engine* engine = downstream.engine
    cdef Window* window = downstream.window
    cdef uint32_t start, room
    cdef ssize_t count
    if downstream.pending_size:
        _read_pending(downstream)
        return
    if not downstream.readable:
        return
    if window == NULL:
        window = engine.window
        window_reset(window)
        downstream.wire.window = window
    start = window.used
    room = window.capacity - start
    count = transport_read(engine, downstream.source.descriptor, downstream.ssl, window.data + start, room)
    if count <= 0:
        if count == TRANSPORT_AGAIN:
            downstream.readable = 0
        else:
            downstream_close(downstream)
        return
    if transport_drained(engine, downstream.ssl, count, room) and not downstream.hung_up:
        downstream.readable = 0
    window.used += <uint32_t> count
    if start == 0:
        exchange_begin(&downstream.stream)
        downstream.stream.record.received = count
    else:
        downstream.stream.record.received += count
    _parse_head(downstream, start)


cdef void _read_pending(Downstream* downstream) noexcept nogil:
    """The next pipelined request was read together with an earlier one."""
    cdef Window* window = downstream.engine.window
    cdef char* pending = downstream.pending
    cdef uint32_t size = downstream.pending_size
    window_reset(window)
    downstream.wire.window = window
    memcpy(window.data, pending, size)
    window.used = size
    downstream.pending = NULL
    downstream.pending_size = 0
    free(pending)
    exchange_begin(&downstream.stream)
    downstream.stream.record.received = size
    _parse_head(downstream, 0)


cdef void _parse_head(Downstream* downstream, uint32_t start) noexcept nogil:
    cdef Engine* engine = downstream.engine
    cdef int code
    if downstream.requests == 0 and engine.entry_points[downstream.stream.client.entry_point].http2 and _is_preface(downstream, start):
        return
    code = wire_head(&downstream.wire, start)
    if code == WIRE_MORE:
        _keep_head(downstream, start == 0)
        return
    if code == WIRE_DONE:
        if downstream.wire.window.head_size > engine.header_block:
            code = 431
        else:
            code = request_head(&engine.request, &downstream.wire, engine.scratch, engine.request_line)
    if code:
        downstream_refuse(downstream, code)
        return
    _dispatch(downstream)


cdef bint _is_preface(Downstream* downstream, uint32_t start) noexcept nogil:
    """Prior knowledge of HTTP/2 (RFC 9113 3.3): the first bytes are its preface, or may become it."""
    cdef Window* window = downstream.wire.window
    cdef uint32_t size = min(window.used, <uint32_t> PREFACE_SIZE)
    if window.data[0] != c'P':
        return False
    if memcmp(window.data, frames_preface(), size) != 0:
        if start < 4 or memcmp(window.data, frames_preface(), 4) != 0:
            return False
        downstream_refuse(downstream, 505)  # it began as one; the parser has not seen those bytes
        return True
    if size < PREFACE_SIZE:
        if size < 4:
            return False  # `PRI` comes back here; `POST` and `PUT` are told apart by then
        _keep_head(downstream, start == 0)
        return True
    # No request has begun with these bytes.
    downstream.stream.record.first_byte = 0
    downstream.engine.counters.begun -= 1
    http2_begin(downstream, window.data, window.used)
    if not downstream.source.dead:
        downstream_drop_window(downstream)
    return True


cdef void _keep_head(Downstream* downstream, bint first) noexcept nogil:
    """The head is not complete: keep it in a private window, within the limits."""
    cdef Engine* engine = downstream.engine
    cdef Window* window = downstream.wire.window
    if window.count == 0 and window.used > engine.request_line + 2:
        downstream_refuse(downstream, 414)
        return
    if window.used >= engine.header_block:
        downstream_refuse(downstream, 431)
        return
    if not window.private:
        downstream.window = window_copy(window, window.used + 1024)
        downstream.wire.window = downstream.window
        if downstream.window == NULL:
            downstream_close(downstream)
            return
    elif window.used == window.capacity and window_grow(window, engine.header_block + 1024) < 0:
        downstream_close(downstream)
        return
    if first and downstream.requests:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_HEAD)
    if downstream.readable:
        source_run(&downstream.source)


cdef void _dispatch(Downstream* downstream) noexcept nogil:
    """The head is complete and canonical: what of its body is here goes with it."""
    cdef Engine* engine = downstream.engine
    cdef Stream* stream = &downstream.stream
    cdef Head* head = &engine.request
    cdef Window* window = downstream.wire.window
    cdef char* rest = window.data + window.head_size
    cdef size_t size = window.used - window.head_size
    cdef size_t consumed
    cdef int code
    downstream.state = DOWNSTREAM_BUSY
    downstream.requests += 1
    downstream.keep_alive = head.keep_alive
    if engine.requests_per_connection and downstream.requests >= engine.requests_per_connection:
        downstream.keep_alive = 0
    if head.upgrade:
        # Unless it becomes a tunnel: what follows the head may be the other protocol already.
        downstream.keep_alive = 0
    downstream.http10 = head.version_minor == 0
    downstream.paused = 0
    downstream.wire.parser.upgrade = 0
    downstream.wire.keep_trailers = head.te_trailers
    code = wire_body(&downstream.wire, rest, size, &consumed)
    if code != WIRE_DONE and code != WIRE_MORE:
        stream.record.head = engine.reactor.now_ns
        downstream_refuse(downstream, WIRE_TOO_MUCH if code == WIRE_TOO_MUCH else 400)
        return
    if code == WIRE_DONE and consumed < size and (
        downstream_keep_pending(downstream, rest + consumed, size - consumed) < 0
    ):
        downstream_close(downstream)
        return
    # Expect: the body is read only after the endpoint has asked for it, unless some of it is here.
    downstream.waiting_continue = code == WIRE_MORE and head.expect_continue and downstream.wire.body_size == 0
    stream.expect = downstream.waiting_continue
    if code == WIRE_MORE:
        deadline_set(
            &downstream.source, &downstream.source.deadline,
            DEADLINE_CONTINUE if downstream.waiting_continue else DEADLINE_BODY,
        )
        deadline_set(&downstream.source, &downstream.total, DEADLINE_REQUEST)
    else:
        deadline_clear(engine.reactor, &downstream.source.deadline)
        deadline_set(&downstream.source, &downstream.total, DEADLINE_WRITE)
    if stream.over and engine.connections - engine.over_count < engine.max_connections:
        downstream_count(downstream)
    if stream.over:
        downstream.keep_alive = 0
    stream.request_trailers = _trailers(downstream)
    exchange_request(stream, head, downstream.wire.body, downstream.wire.body_size, code == WIRE_DONE)
    if not downstream.source.dead:
        downstream_drop_window(downstream)
        _read_on(downstream)


cdef inline Trailers* _trailers(Downstream* downstream) noexcept nogil:
    """What came behind the body, if that was negotiated; they stay until the next request."""
    return downstream.wire.trailers if downstream.wire.keep_trailers else NULL


cdef inline void _read_on(Downstream* downstream) noexcept nogil:
    """Go on with a body, unless somebody else says when."""
    if downstream.wire.message_done or downstream.stream.parked or downstream.state != DOWNSTREAM_BUSY:
        return
    if exchange_full(&downstream.stream):
        downstream.paused = 1
    elif downstream.readable and not downstream.waiting_continue:
        source_run(&downstream.source)


cdef void downstream_read_body(Downstream* downstream) noexcept nogil:
    cdef Engine* engine = downstream.engine
    cdef ssize_t count
    if not downstream.readable:
        return
    if downstream.ssl == NULL and splice_worthwhile(engine, &downstream.wire) and _splice_body(downstream):
        return
    count = transport_read(engine, downstream.source.descriptor, downstream.ssl, engine.body, engine.body_size)
    if count <= 0:
        if count == TRANSPORT_AGAIN:
            downstream.readable = 0
        else:
            downstream_close(downstream)
        return
    if transport_drained(engine, downstream.ssl, count, engine.body_size) and not downstream.hung_up:
        downstream.readable = 0
    downstream.stream.record.received += count
    if downstream.state == DOWNSTREAM_DRAIN:
        _drain_body(downstream, count)
    else:
        _forward_body(downstream, count)


cdef bint _splice_body(Downstream* downstream) noexcept nogil:
    """Move body bytes to the endpoint inside the kernel; False when they have to be read."""
    cdef Engine* engine = downstream.engine
    cdef Stream* stream = &downstream.stream
    cdef ssize_t count, part, moved
    cdef int target = exchange_raw(stream) if downstream.state == DOWNSTREAM_BUSY else -1
    if target < 0:
        return False
    count = splice_body(engine, &downstream.wire, downstream.source.descriptor, target, &moved)
    if count < 0:
        return False
    if count == 0:
        downstream.readable = 0
        return True
    exchange_spliced(stream, count, moved)
    if downstream.output.first == NULL:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)
    part = splice_rest(engine, count - moved)
    while part:
        moved += part
        exchange_unspliced(stream, engine.body, part)
        part = splice_rest(engine, count - moved)
    if moved < count:
        downstream_reset(downstream)
    elif exchange_waits(stream):
        downstream.paused = 1  # only now that something is queued; the queue's end wakes us
    elif downstream.readable:
        source_run(&downstream.source)
    return True


cdef void _forward_body(Downstream* downstream, size_t count) noexcept nogil:
    cdef Engine* engine = downstream.engine
    cdef Stream* stream = &downstream.stream
    cdef size_t consumed
    cdef int code = wire_body(&downstream.wire, engine.body, count, &consumed)
    if code != WIRE_DONE and code != WIRE_MORE:
        downstream_refuse(downstream, WIRE_TOO_MUCH if code == WIRE_TOO_MUCH else 400)
        return
    if code == WIRE_DONE:
        if consumed < count and downstream_keep_pending(downstream, engine.body + consumed, count - consumed) < 0:
            downstream_close(downstream)
            return
        if downstream.output.first == NULL:
            deadline_clear(engine.reactor, &downstream.source.deadline)
        deadline_set(&downstream.source, &downstream.total, DEADLINE_WRITE)
        stream.request_trailers = _trailers(downstream)
    elif downstream.output.first == NULL:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)
    exchange_body(stream, engine.body, downstream.wire.body_size, code == WIRE_DONE)
    if not downstream.source.dead:
        _read_on(downstream)


cdef void _drain_body(Downstream* downstream, size_t count) noexcept nogil:
    """Answered already: throw the rest of the body away, up to a limit."""
    cdef Engine* engine = downstream.engine
    cdef size_t consumed
    cdef int code = wire_body(&downstream.wire, engine.body, count, &consumed)
    downstream.drained += <uint32_t> count
    downstream.stream.record.request_body += downstream.wire.body_size
    if code == WIRE_DONE:
        downstream.stream.record.body = engine.reactor.now_ns
        if consumed < count and downstream_keep_pending(downstream, engine.body + consumed, count - consumed) < 0:
            downstream_close(downstream)
            return
        downstream_finish(downstream)
    elif code != WIRE_MORE or downstream.drained > engine.unread_body:
        downstream.keep_alive = 0
        downstream_finish(downstream)
    elif downstream.readable:
        source_run(&downstream.source)
