"""A request, from the first byte of its head to the last of its body.

A head that arrives whole is read in the engine's window; only an incomplete one gets its own. Bytes
of later requests wait in `pending` (http-safety.md 38).

State-machine trap: a body read that runs into pipelined data.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from fastproxy.tables.block cimport ROUTE_PRESERVE_HOST
from fastproxy.engine.exchange.balancing cimport pick_endpoint
from fastproxy.engine.client.answer cimport (
    downstream_finish, downstream_refuse, downstream_reply,
)
from fastproxy.engine.client.h1_connection cimport (
    DOWNSTREAM_BUSY, DOWNSTREAM_DRAIN, Downstream, downstream_close, downstream_count,
    downstream_drop_window,
    downstream_keep_pending, downstream_of, downstream_reset,
)
from fastproxy.engine.client.h1_response cimport (
    downstream_failed, downstream_on_continue, downstream_owner,
)
from fastproxy.engine.http.spool cimport (
    GATHERED, GATHER_FAILED, GATHER_TOO_LARGE, gather_add, gather_new, gather_whole,
)
from fastproxy.engine.http.head cimport Head, request_head
from fastproxy.engine.http.h1_writer cimport Forwarding, Writer, status_text, write_request
from fastproxy.engine.http.llhttp cimport METHOD_GET, METHOD_HEAD, METHOD_OPTIONS, METHOD_TRACE
from fastproxy.engine.operations.payload cimport Payload, i64
from fastproxy.engine.loop.posix cimport ssize_t
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_BODY, DEADLINE_CONTINUE, DEADLINE_HEAD, DEADLINE_REQUEST, DEADLINE_WRITE,
    deadline_clear, deadline_set, source_run,
)
from fastproxy.engine.exchange.end cimport exchange_begin
from fastproxy.engine.exchange.retry_expression cimport replay_send, replay_steps
from fastproxy.engine.stream.record cimport RECORD_BUFFERING, RECORD_MISDIRECTED
from fastproxy.engine.stream.replies cimport (
    STEP_COLLECT, STEP_GO_ON, STEP_OVER, STEP_PARK, because, plain_reply,
)
from fastproxy.engine.exchange.routing cimport route_probe, route_request
from fastproxy.engine.stream.splice cimport splice_body, splice_rest, splice_worthwhile
from fastproxy.engine.operations.access cimport drop_claims, trusts
from fastproxy.engine.operations.buffering cimport first_attempt
from fastproxy.engine.exchange.run cimport request_steps, request_steps_over
from fastproxy.engine.stream.stream cimport Engine, Stream
from fastproxy.engine.exchange.trailers cimport pass_trailers
from fastproxy.engine.stream.transport cimport TRANSPORT_AGAIN, transport_drained, transport_read
from fastproxy.engine.upstream.h1_request cimport (
    upstream_abort, upstream_begin, upstream_body, upstream_full, upstream_raw, upstream_waits,
)
from fastproxy.engine.http.h1_parser cimport (
    WIRE_DONE, WIRE_MORE, WIRE_TOO_MUCH, Trailers, Window, window_copy, window_grow, window_reset,
    wire_body, wire_free, wire_head,
)


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
    cdef int code = wire_head(&downstream.wire, start)
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
    """The head is complete and canonical: route it and send it off."""
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
    engine.counters.requests += 1
    downstream.keep_alive = head.keep_alive
    if engine.requests_per_connection and downstream.requests >= engine.requests_per_connection:
        downstream.keep_alive = 0
    if head.upgrade:
        # Unless it becomes a tunnel: what follows the head may be the other protocol already.
        downstream.keep_alive = 0
    downstream.http10 = head.version_minor == 0
    downstream.paused = 0
    stream.record.head = engine.reactor.now_ns
    stream.is_head = head.method == METHOD_HEAD
    stream.te_trailers = head.te_trailers
    stream.upgrade = head.upgrade
    stream.upgrade_hash = head.upgrade_hash
    stream.chunked = head.chunked
    stream.request_done = 0
    stream.response_started = 0
    stream.fresh_only = 0
    stream.attempts = 0
    stream.status = 0
    stream.ssl = stream.tls
    downstream.wire.parser.upgrade = 0
    downstream.wire.keep_trailers = head.te_trailers
    code = wire_body(&downstream.wire, rest, size, &consumed)
    if code != WIRE_DONE and code != WIRE_MORE:
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
    stream.whole = code == WIRE_DONE
    stream.is_safe = code == WIRE_DONE and head.content_length <= 0 and not head.chunked and (
        head.method == METHOD_GET or head.method == METHOD_HEAD or head.method == METHOD_OPTIONS
        or head.method == METHOD_TRACE
    )
    stream.record.request_body = downstream.wire.body_size
    if code == WIRE_MORE:
        deadline_set(
            &downstream.source, &downstream.source.deadline,
            DEADLINE_CONTINUE if downstream.waiting_continue else DEADLINE_BODY,
        )
        deadline_set(&downstream.source, &downstream.total, DEADLINE_REQUEST)
    else:
        stream.record.body = stream.record.head
        deadline_clear(engine.reactor, &downstream.source.deadline)
        deadline_set(&downstream.source, &downstream.total, DEADLINE_WRITE)
    if engine.max_body and (
        head.content_length > <int64_t> engine.max_body or downstream.wire.body_size > engine.max_body
    ):
        downstream_refuse(downstream, 413)
        return
    if head.has_forwarded and not trusts(&engine.entry_points[stream.entry_point], stream.address):
        drop_claims(head)
    if downstream.over and engine.connections - engine.over_count < engine.max_connections:
        downstream_count(downstream)
    if downstream.over:
        downstream.keep_alive = 0
        code = route_probe(stream, head)
    elif downstream.tls_varies and engine.tls.misdirected(downstream.ssl, head.name, head.name_size):
        plain_reply(engine, 421, status_text(421))
        code = because(engine, RECORD_MISDIRECTED)
    else:
        code = route_request(stream, head)
    if code == STEP_GO_ON:
        code = request_steps(stream, head, 0)
    _after_steps(downstream, head, code)


cdef void _after_steps(Downstream* downstream, Head* head, int code) noexcept nogil:
    cdef Stream* stream = &downstream.stream
    if code == STEP_COLLECT:
        code = _collect_body(downstream, head)
        if code == STEP_COLLECT:
            return
    if code == STEP_PARK:
        downstream.parked = 1
        downstream_drop_window(downstream)
        return
    if code == STEP_GO_ON:
        code = pick_endpoint(stream, head)
    if code != STEP_GO_ON and stream.attempt:
        code = replay_steps(stream, head, code)
    if code == STEP_GO_ON:
        _forward(downstream, head)
    else:
        downstream_reply(stream, &downstream.engine.reply)
    if not downstream.source.dead:
        downstream_drop_window(downstream)


cdef const char* _arrived(Stream* stream, size_t* size) noexcept nogil:
    cdef Downstream* downstream = downstream_of(stream)
    size[0] = downstream.wire.body_size
    return downstream.wire.body


cdef void* _client_tls(Stream* stream) noexcept nogil:
    return downstream_of(stream).ssl


cdef void _resume(Stream* stream, Head* head, char* body, size_t body_size, int code) noexcept nogil:
    """Whatever parked the stream lets it go on."""
    cdef Downstream* downstream = downstream_of(stream)
    downstream.parked = 0
    downstream.wire.body = body
    downstream.wire.body_size = body_size
    if code == STEP_GO_ON or code == STEP_OVER:
        stream.engine.scratch.extra_used = 0
        if code == STEP_OVER:
            code = request_steps_over(stream, head)
        else:
            code = request_steps(stream, head, stream.step)
    _after_steps(downstream, head, code)
    if not downstream.source.dead and (downstream.readable or downstream.pending_size):
        source_run(&downstream.source)


cdef int _collect_body(Downstream* downstream, Head* head) noexcept nogil:
    """Buffering wants the whole body: STEP_COLLECT while it is awaited."""
    cdef Stream* stream = &downstream.stream
    cdef int code
    if downstream.wire.message_done:
        wire_free(&downstream.wire)  # trailers do not go with a Content-Length
        return _collected_steps(stream, head, downstream.wire.body_size)
    stream.original_path = NULL  # its memory is not kept, and nobody asks for it any more
    stream.body = gather_new(head, stream.engine.scratch)
    code = _add_to_body(stream, downstream.wire.body, downstream.wire.body_size)
    if code != GATHERED:
        return _not_collected(stream.engine, code)
    downstream.collecting = 1
    if downstream.waiting_continue:
        downstream_on_continue(stream)
    if not downstream.source.dead:
        source_run(&downstream.source)
        downstream_drop_window(downstream)
    return STEP_COLLECT


cdef int _add_to_body(Stream* stream, const char* data, size_t size) noexcept nogil:
    cdef Payload payload
    cdef uint64_t limit, memory
    if stream.body == NULL:
        return GATHER_FAILED
    payload.at = stream.buffer
    limit = <uint64_t> i64(&payload)
    memory = <uint64_t> i64(&payload)
    return gather_add(stream.body, data, size, limit, memory)


cdef int _not_collected(Engine* engine, int code) noexcept nogil:
    if code == GATHER_TOO_LARGE:
        plain_reply(engine, 413, "Request Entity Too Large")
        return because(engine, RECORD_BUFFERING)
    return plain_reply(engine, 500, "Internal Server Error")


cdef int _collected_steps(Stream* stream, Head* head, size_t size) noexcept nogil:
    """The body is complete: what stands behind buffering, for a request that is not chunked."""
    cdef Payload payload
    cdef uint64_t limit
    payload.at = stream.buffer
    limit = <uint64_t> i64(&payload)
    if limit and size > limit:
        return _not_collected(stream.engine, GATHER_TOO_LARGE)
    if head.chunked or head.content_length >= 0:
        head.content_length = size
    head.chunked = 0
    first_attempt(stream)
    return request_steps(stream, head, stream.chain)


cdef void _forward(Downstream* downstream, Head* head) noexcept nogil:
    """Write the request head for the endpoint that was picked and send it off."""
    cdef Engine* engine = downstream.engine
    cdef Stream* stream = &downstream.stream
    cdef Forwarding forwarding
    cdef Writer writer
    cdef int failure
    cdef uint8_t last = downstream.wire.message_done
    cdef Trailers* trailers = downstream.wire.trailers
    cdef uint32_t path_size = head.path_size if head.sent == NULL else head.sent_size
    cdef bint trailing = last and trailers != NULL and downstream.wire.keep_trailers and (
        pass_trailers(trailers, &downstream.stream, True) > 0
    )
    forwarding.client = stream.client
    forwarding.client_size = stream.client_size
    forwarding.server = engine.server
    forwarding.server_size = engine.server_size
    forwarding.host = NULL
    forwarding.host_size = 0
    if head.host_size == 0 or not stream.flags & ROUTE_PRESERVE_HOST:
        forwarding.host = stream.pool.host
        forwarding.host_size = stream.pool.host_size
    forwarding.tls = stream.tls
    forwarding.expect = stream.expect
    forwarding.content_length = -2
    stream.chunked = head.chunked
    writer.data = engine.out
    writer.size = 0
    writer.capacity = engine.out_size
    writer.failed = 0
    write_request(&writer, head, &forwarding)
    if writer.failed:
        plain_reply(engine, 431, "Request Header Fields Too Large")
        downstream_reply(stream, &engine.reply)
        return
    stream.host_offset = head.method_size + 1 + path_size + (1 + head.query_size if head.query_size else 0) + 17
    stream.host_size = head.host_size if forwarding.host == NULL else forwarding.host_size
    if stream.buffer != NULL:
        trailing = False
        failure = replay_send(
            stream, writer.data, writer.size, downstream.wire.body, downstream.wire.body_size
        )
    else:
        failure = upstream_begin(
            stream, writer.data, writer.size, downstream.wire.body, downstream.wire.body_size,
            last and not trailing,
        )
    if failure:
        downstream_failed(stream, failure)
    elif trailing:
        downstream.wire.body_size = 0
        _send_last(downstream)
    elif not last and upstream_full(stream):
        downstream.paused = 1
    elif not last and downstream.readable and not downstream.waiting_continue:
        source_run(&downstream.source)
    if last and downstream.wire.trailers != NULL:
        wire_free(&downstream.wire)


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
    cdef int target = upstream_raw(stream) if downstream.state == DOWNSTREAM_BUSY and not downstream.collecting else -1
    if target < 0:
        return False
    count = splice_body(engine, &downstream.wire, downstream.source.descriptor, target, &moved)
    if count < 0:
        return False
    if count == 0:
        downstream.readable = 0
        return True
    stream.record.received += count
    stream.record.request_body += count
    stream.record.upstream_sent += moved
    if downstream.output.first == NULL:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)
    part = splice_rest(engine, count - moved)
    while part:
        moved += part
        upstream_body(stream, engine.body, part, 0, NULL, 0)
        part = splice_rest(engine, count - moved)
    if moved < count:
        downstream_reset(downstream)
    elif upstream_waits(stream):
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
        upstream_abort(stream)
        if stream.response_started:
            downstream_close(downstream)
        else:
            downstream_refuse(downstream, WIRE_TOO_MUCH if code == WIRE_TOO_MUCH else 400)
        return
    stream.record.request_body += downstream.wire.body_size
    if code == WIRE_DONE:
        stream.record.body = engine.reactor.now_ns
    if downstream.collecting:
        _collect(downstream, code, count, consumed)
        return
    if engine.max_body and stream.record.request_body > engine.max_body:
        upstream_abort(stream)
        if stream.response_started:
            downstream_close(downstream)
        else:
            downstream_refuse(downstream, 413)
        return
    if code == WIRE_DONE:
        if consumed < count and downstream_keep_pending(downstream, engine.body + consumed, count - consumed) < 0:
            downstream_close(downstream)
            return
        if downstream.output.first == NULL:
            deadline_clear(engine.reactor, &downstream.source.deadline)
        deadline_set(&downstream.source, &downstream.total, DEADLINE_WRITE)
        _send_last(downstream)
        return
    if downstream.output.first == NULL:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)
    upstream_body(stream, engine.body, downstream.wire.body_size, 0, NULL, 0)
    if upstream_full(stream):
        downstream.paused = 1
    elif downstream.readable:
        source_run(&downstream.source)


cdef void _collect(Downstream* downstream, int code, size_t count, size_t consumed) noexcept nogil:
    cdef Engine* engine = downstream.engine
    if code == WIRE_DONE:
        if consumed < count and downstream_keep_pending(downstream, engine.body + consumed, count - consumed) < 0:
            downstream_close(downstream)
            return
        deadline_clear(engine.reactor, &downstream.source.deadline)
        deadline_set(&downstream.source, &downstream.total, DEADLINE_WRITE)
        downstream.collecting = 0
        wire_free(&downstream.wire)
    else:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)
        if downstream.readable:
            source_run(&downstream.source)
    _gather_body(downstream, code == WIRE_DONE)


cdef void _gather_body(Downstream* downstream, bint last) noexcept nogil:
    """Another piece for buffering; with the last one the request goes on."""
    cdef Engine* engine = downstream.engine
    cdef Stream* stream = &downstream.stream
    cdef Head* head = &stream.body.saved.head
    cdef int code = _add_to_body(stream, engine.body, downstream.wire.body_size)
    if code == GATHERED and not last:
        return
    downstream.collecting = 0
    if code != GATHERED or gather_whole(stream.body) == NULL:
        code = _not_collected(engine, code)
    else:
        engine.scratch.extra_used = 0
        code = _collected_steps(stream, head, stream.body.size)
    _after_steps(downstream, head, code)
    if not downstream.source.dead and (downstream.readable or downstream.pending_size):
        source_run(&downstream.source)


cdef void _send_last(Downstream* downstream) noexcept nogil:
    """The last piece of the body, with the trailers if they were negotiated."""
    cdef Trailers* trailers = downstream.wire.trailers
    cdef Engine* engine = downstream.engine
    cdef char block[8192 + 2]
    if trailers != NULL and downstream.wire.keep_trailers and (
        pass_trailers(trailers, &downstream.stream, True)
    ):
        memcpy(block, trailers.data, trailers.size)
        memcpy(block + trailers.size, "\r\n", 2)
        upstream_body(&downstream.stream, engine.body, downstream.wire.body_size, 1, block, trailers.size + 2)
    else:
        upstream_body(&downstream.stream, engine.body, downstream.wire.body_size, 1, NULL, 0)
    wire_free(&downstream.wire)


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


downstream_owner.resume = _resume
downstream_owner.arrived = _arrived
downstream_owner.client_tls = _client_tls
