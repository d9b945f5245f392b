"""A client's request on its way to an endpoint, from its complete head to the last byte of its body.

Idea: a codec reads a head, and an exchange makes the rest of it: the route, its operations, the
endpoint, the request that goes there. Whatever parks it (a filter, forward authentication) lets it go on
through `StreamOwner.resume`. What comes back is response.pyx, what fastproxy answers itself answer.pyx.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from fastproxy.tables.block cimport ROUTE_PRESERVE_HOST
from fastproxy.engine.http.methods cimport METHOD_GET, METHOD_HEAD, METHOD_OPTIONS, METHOD_TRACE
from fastproxy.engine.exchange.answer cimport exchange_refuse, exchange_reply
from fastproxy.engine.exchange.balancing cimport pick_endpoint
from fastproxy.engine.exchange.buffering cimport collect_more, collect_request, replay_send, replay_steps
from fastproxy.engine.exchange.response cimport exchange_failed, exchange_owner
from fastproxy.engine.exchange.routing cimport route_probe, route_request
from fastproxy.engine.exchange.run cimport request_steps, request_steps_over
from fastproxy.engine.exchange.trailers cimport pass_trailers
from fastproxy.engine.http.fields cimport Trailers
from fastproxy.engine.http.h1_writer cimport Forwarding, write_request
from fastproxy.engine.http.writer cimport Writer, status_text
from fastproxy.engine.http.head cimport Head
from fastproxy.engine.operations.access cimport drop_claims, trusts
from fastproxy.engine.stream.record cimport RECORD_MISDIRECTED
from fastproxy.engine.stream.replies cimport (
    STEP_COLLECT, STEP_GO_ON, STEP_OVER, STEP_PARK, because, plain_reply,
)
from fastproxy.engine.stream.stream cimport Engine, EntryPoint, Stream
from fastproxy.engine.upstream.h1_request cimport upstream_begin, upstream_body


cdef void exchange_request(Stream* stream, Head* head, char* data, size_t size, uint8_t last) noexcept nogil:
    """The head is complete and canonical, and so much of the body came with it: route it, send it off.
    `stream.expect` says whether the client waits for 100, `stream.request_trailers` what it sent behind
    the body."""
    cdef Engine* engine = stream.engine
    cdef const EntryPoint* point = &engine.entry_points[stream.client.entry_point]
    cdef int code
    engine.counters.requests += 1
    stream.record.head = engine.reactor.now_ns
    if engine.note_request != NULL:
        engine.note_request(stream, head)
    stream.record.request_body = size
    if last:
        stream.record.body = stream.record.head
    stream.arrived = data
    stream.arrived_size = size
    stream.whole = last
    stream.is_head = head.method == METHOD_HEAD
    stream.te_trailers = head.te_trailers
    stream.upgrade = head.upgrade
    stream.upgrade_hash = head.upgrade_hash
    stream.chunked = head.chunked
    stream.status = 0
    stream.ssl = stream.client.tls
    stream.is_safe = last and head.content_length <= 0 and not head.chunked and (
        head.method == METHOD_GET or head.method == METHOD_HEAD or head.method == METHOD_OPTIONS
        or head.method == METHOD_TRACE
    )
    if engine.max_body and (head.content_length > <int64_t> engine.max_body or size > engine.max_body):
        exchange_refuse(stream, 413, NULL)
        return
    if head.has_forwarded and not trusts(point, stream.client.address):
        drop_claims(head)
    if stream.over:
        code = route_probe(stream, head)
    elif point.tls_varies and engine.tls.misdirected(stream.codec.tls(stream), head.name, head.name_size):
        plain_reply(engine, 421, status_text(421))
        code = because(engine, RECORD_MISDIRECTED)
    else:
        code = route_request(stream, head)
    if engine.note_routed != NULL and stream.route != NULL:
        engine.note_routed(stream)
    if code == STEP_GO_ON:
        code = request_steps(stream, head, 0)
    _after_steps(stream, head, code)


cdef void _after_steps(Stream* stream, Head* head, int code) noexcept nogil:
    if code == STEP_COLLECT:
        code = collect_request(stream, head)
        if code == STEP_COLLECT:
            return
    if code == STEP_PARK:
        stream.parked = 1
        return
    if code == STEP_GO_ON:
        code = pick_endpoint(stream, head)
    if code != STEP_GO_ON and stream.buffering.attempt:
        code = replay_steps(stream, head, code)
    if code == STEP_GO_ON:
        _forward(stream, head)
    else:
        exchange_reply(stream, &stream.engine.reply)


cdef void _resume(Stream* stream, Head* head, char* body, size_t body_size, int code) noexcept nogil:
    """Whatever parked the stream lets it go on."""
    stream.parked = 0
    stream.arrived = body
    stream.arrived_size = body_size
    if code == STEP_GO_ON or code == STEP_OVER:
        stream.engine.scratch.extra_used = 0
        if code == STEP_OVER:
            code = request_steps_over(stream, head)
        else:
            code = request_steps(stream, head, stream.step)
    _after_steps(stream, head, code)
    stream.codec.resume(stream)


cdef void _forward(Stream* stream, Head* head) noexcept nogil:
    """Write the request head for the endpoint that was picked and send it off."""
    cdef Engine* engine = stream.engine
    cdef Forwarding forwarding
    cdef Writer writer
    cdef int failure
    cdef uint32_t path_size = head.path_size if head.sent == NULL else head.sent_size
    cdef bint trailing = stream.request_trailers != NULL and stream.whole and (
        pass_trailers(stream.request_trailers, stream, True) > 0
    )
    forwarding.client = stream.client.text
    forwarding.client_size = stream.client.size
    forwarding.server = engine.server
    forwarding.server_size = engine.server_size
    forwarding.host = NULL
    forwarding.host_size = 0
    if head.host_size == 0 or not stream.flags & ROUTE_PRESERVE_HOST:
        forwarding.host = stream.pool.host
        forwarding.host_size = stream.pool.host_size
    forwarding.tls = stream.client.tls
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
        exchange_reply(stream, &engine.reply)
        return
    stream.host_offset = head.method_size + 1 + path_size + (1 + head.query_size if head.query_size else 0) + 17
    stream.host_size = head.host_size if forwarding.host == NULL else forwarding.host_size
    if stream.buffering.operation != NULL:
        trailing = False
        failure = replay_send(stream, writer.data, writer.size, stream.arrived, stream.arrived_size)
    else:
        failure = upstream_begin(
            stream, writer.data, writer.size, stream.arrived, stream.arrived_size, stream.whole and not trailing
        )
    if failure:
        exchange_failed(stream, failure)
    elif trailing:
        _send_last(stream, NULL, 0)


cdef void exchange_body(Stream* stream, char* data, size_t size, uint8_t last) noexcept nogil:
    """Another piece of the request's body; `exchange_full` then says whether to wait with more."""
    cdef Engine* engine = stream.engine
    cdef int code
    stream.record.request_body += size
    if last:
        stream.record.body = engine.reactor.now_ns
    if stream.buffering.collecting:
        code = collect_more(stream, data, size, last)
        if code != STEP_COLLECT:
            _after_steps(stream, &stream.buffering.body.saved.head if stream.buffering.body != NULL else NULL, code)
            stream.codec.resume(stream)
    elif engine.max_body and stream.record.request_body > engine.max_body:
        exchange_refuse(stream, 413, NULL)
    elif last:
        _send_last(stream, data, size)
    else:
        upstream_body(stream, data, size, 0, NULL, 0)


cdef void _send_last(Stream* stream, const char* data, size_t size) noexcept nogil:
    """The last piece of the body, with the trailers if they were negotiated."""
    cdef Trailers* trailers = stream.request_trailers
    cdef char block[8192 + 2]
    if trailers != NULL and pass_trailers(trailers, stream, True):
        memcpy(block, trailers.data, trailers.size)
        memcpy(block + trailers.size, "\r\n", 2)
        upstream_body(stream, data, size, 1, block, trailers.size + 2)
    else:
        upstream_body(stream, data, size, 1, NULL, 0)


cdef void exchange_spliced(Stream* stream, size_t count, size_t moved) noexcept nogil:
    """So much of the body was read into the kernel's pipe; `moved` of it is with the endpoint's socket."""
    stream.record.received += count
    stream.record.request_body += count
    stream.record.upstream_sent += moved


cdef void exchange_unspliced(Stream* stream, const char* data, size_t size) noexcept nogil:
    """What that socket did not take of it."""
    upstream_body(stream, data, size, 0, NULL, 0)


exchange_owner.resume = _resume
