"""Responses of endpoints: reading them, and reporting to the stream's owner.

Invariant: the connection goes back to its pool *before* the last piece of a body is handed over, so
that the owner may start the next exchange at once; after that piece, or after `on_failed`, the owner
is not called again.
"""

from libc.stdint cimport uint32_t, uint8_t
from libc.string cimport memcmp

from fastproxy.engine.stream.complaint cimport WHY_CLOSED, WHY_RESET, WHY_TOO_LONG, reason_is
from fastproxy.engine.http.head cimport Head, response_head
from fastproxy.engine.http.llhttp cimport F_SKIPBODY
from fastproxy.engine.http.mend cimport mend_head
from fastproxy.engine.loop.posix cimport errno, ssize_t
from fastproxy.engine.loop.reactor cimport DEADLINE_TUNNEL, deadline_clear, deadline_set, source_run
from fastproxy.engine.stream.splice cimport splice_body, splice_rest, splice_worthwhile
from fastproxy.engine.stream.record cimport Record, record_again
from fastproxy.engine.stream.stream cimport (
    FAIL_CLOSED, FAIL_MALFORMED, FAIL_TRUNCATED, TUNNEL_ENDED, TUNNEL_OPEN, Engine, Stream,
    Upstream,
)
from fastproxy.engine.stream.transport cimport (
    TRANSPORT_AGAIN, TRANSPORT_FAILED, transport_drained, transport_read,
)
from fastproxy.engine.upstream.connection cimport (
    upstream_close, upstream_fail, upstream_give_back,
)
from fastproxy.engine.upstream.h1_request cimport upstream_begin, upstream_pause
from fastproxy.engine.http.h1_parser cimport (
    WIRE_BAD, WIRE_DONE, WIRE_MORE, wire_body, wire_finish, wire_head, wire_next,
)
from fastproxy.engine.http.fields cimport Window, window_copy, window_free, window_grow, window_reset

cdef enum:
    MAX_INTERIM = 8


cdef void upstream_read_head(Upstream* upstream) noexcept nogil:
    cdef Engine* engine = upstream.engine
    cdef Stream* stream = upstream.stream
    cdef uint32_t start, begin, room
    cdef ssize_t count
    cdef int code
    cdef size_t consumed
    if upstream.window == NULL:
        upstream.wire.window = engine.window
        window_reset(engine.window)
    else:
        upstream.wire.window = upstream.window
    start = upstream.wire.window.used
    room = upstream.wire.window.capacity - start
    count = transport_read(engine, upstream.source.descriptor, upstream.ssl, upstream.wire.window.data + start, room)
    if count <= 0:
        if count == TRANSPORT_AGAIN:
            upstream.readable = 0
        else:
            _ended(upstream, count == TRANSPORT_FAILED)
        return
    _settle_readable(upstream, count, room)
    upstream.answered = 1
    stream.record.upstream_received += count
    upstream.wire.window.used += <uint32_t> count
    while True:
        begin = upstream.wire.window.head_size  # behind the interim answers seen so far
        code = WIRE_BAD if upstream.wire.mending else wire_head(&upstream.wire, start)
        if code == WIRE_BAD:
            code = mend_head(&upstream.wire, begin, stream.is_head)
        if code == WIRE_MORE:
            if _keep_head(upstream) < 0:
                reason_is(engine, WHY_TOO_LONG, 0)
                upstream_fail(upstream, FAIL_MALFORMED)
                return
            _read_on(upstream)
            return
        if (
            code != WIRE_DONE
            or upstream.wire.window.head_size - begin > engine.response_block
            or memcmp(upstream.wire.window.data + begin, "HTTP/", 5) != 0  # llhttp knows more names
            or response_head(&engine.response, &upstream.wire, stream.is_head)
        ):
            upstream_fail(upstream, FAIL_MALFORMED)
            return
        if engine.response.status >= 200 or engine.response.status == 101:
            break
        # an interim answer: forget it, look at what follows
        upstream.interim += 1
        start = upstream.wire.window.head_size
        upstream.wire.parser.flags |= F_SKIPBODY
        if upstream.interim > MAX_INTERIM or wire_body(&upstream.wire, upstream.wire.window.data + start, 0, &consumed) != WIRE_DONE:
            upstream_fail(upstream, FAIL_MALFORMED)
            return
        code = engine.response.status
        _next_message(upstream)
        if code == 100 and stream.expect:
            stream.owner.on_continue(stream)
            if upstream.source.dead or upstream.stream != stream:
                return
        if start == upstream.wire.window.used:
            window_free(upstream.window)
            upstream.window = NULL
            upstream.wire.window = NULL
            _read_on(upstream)
            return
    _head_complete(upstream)


cdef inline void _next_message(Upstream* upstream) noexcept nogil:
    cdef Window* window = upstream.wire.window
    wire_next(&upstream.wire)
    upstream.wire.window = window
    window.count = 0
    window.has_target = 0
    window.target_size = 0


cdef int _keep_head(Upstream* upstream) noexcept nogil:
    """The head is not complete: keep it in a window of our own."""
    cdef Engine* engine = upstream.engine
    if upstream.window == NULL:
        upstream.window = window_copy(engine.window, engine.window.used + 2048)
        upstream.wire.window = upstream.window
        return -1 if upstream.window == NULL else 0
    if upstream.window.used > engine.response_block:
        return -1
    if upstream.window.used == upstream.window.capacity:
        return window_grow(upstream.window, engine.response_block + 4096)
    return 0


cdef void _head_complete(Upstream* upstream) noexcept nogil:
    cdef Engine* engine = upstream.engine
    cdef Stream* stream = upstream.stream
    cdef char* data = upstream.wire.window.data + upstream.wire.window.head_size
    cdef size_t size = upstream.wire.window.used - upstream.wire.window.head_size
    cdef Head* head = &engine.response
    cdef uint8_t keep_alive = head.keep_alive
    stream.record.answered = engine.reactor.now_ns
    deadline_clear(engine.reactor, &upstream.source.deadline)
    if head.status == 101:
        # http-safety.md 32: only what was asked for
        if not stream.upgrade or head.upgrade_hash != stream.upgrade_hash:
            upstream_fail(upstream, FAIL_MALFORMED)
            return
        upstream.tunnel = TUNNEL_OPEN
        stream.owner.on_head(stream, head)
        if upstream.stream == stream:
            deadline_set(&upstream.source, &upstream.source.deadline, DEADLINE_TUNNEL)
            stream.owner.on_upgraded(stream, data, size)
        window_free(upstream.window)
        upstream.window = NULL
        upstream.wire.window = NULL
        _read_on(upstream)
        return
    if stream.is_head or head.status == 204 or head.status == 304:
        upstream.wire.parser.flags |= F_SKIPBODY
    upstream.wire.parser.upgrade = 0
    stream.owner.on_head(stream, head)
    if upstream.stream != stream:
        return
    upstream.wire.skip_body = not keep_alive
    _deliver(upstream, data, size)


cdef void upstream_read_body(Upstream* upstream) noexcept nogil:
    cdef Engine* engine = upstream.engine
    if upstream.ssl == NULL and splice_worthwhile(engine, &upstream.wire) and _splice(upstream):
        return
    cdef ssize_t count = transport_read(engine, upstream.source.descriptor, upstream.ssl, engine.body, engine.body_size)
    if count <= 0:
        if count == TRANSPORT_AGAIN:
            upstream.readable = 0
        else:
            _ended(upstream, count == TRANSPORT_FAILED)
        return
    _settle_readable(upstream, count, engine.body_size)
    upstream.stream.record.upstream_received += count
    _deliver(upstream, engine.body, count)


cdef bint _splice(Upstream* upstream) noexcept nogil:
    """Move body bytes to the client inside the kernel; False when they have to be read."""
    cdef Engine* engine = upstream.engine
    cdef Stream* stream = upstream.stream
    cdef ssize_t count, part, moved
    cdef int target = stream.owner.raw(stream)
    if target < 0:
        return False
    count = splice_body(engine, &upstream.wire, upstream.source.descriptor, target, &moved)
    if count < 0:
        return False
    if count == 0:
        upstream.readable = 0
        return True
    _note_spliced(stream, count, moved)
    part = splice_rest(engine, count - moved)
    while part:
        moved += part
        if not upstream.source.dead and upstream.stream == stream:
            stream.owner.on_body(stream, engine.body, part, 0)
            if upstream.stream == stream and stream.owner.raw(stream) < 0:
                # Only now that something waits: an empty queue would never wake us again.
                upstream_pause(stream)
        part = splice_rest(engine, count - moved)
    if moved < count and not upstream.source.dead and upstream.stream == stream:
        upstream_fail(upstream, FAIL_TRUNCATED)
        return True
    _read_on(upstream)
    return True


cdef void _note_spliced(Stream* stream, size_t count, size_t moved) noexcept nogil:
    """Bytes of the body that no owner sees: they are with the client's socket."""
    cdef Record* record = &stream.record
    record.upstream_received += count
    record.origin_body += moved
    record.response_body += moved
    record.sent += moved
    record.last_in = record.last_out = stream.engine.reactor.now_ns


cdef void _deliver(Upstream* upstream, char* data, size_t size) noexcept nogil:
    """Decode what was read and hand it to the owner."""
    cdef Stream* stream = upstream.stream
    cdef Window* window = upstream.window
    cdef size_t consumed
    cdef char* body
    cdef size_t body_size
    cdef int code = wire_body(&upstream.wire, data, size, &consumed)
    body = upstream.wire.body
    body_size = upstream.wire.body_size
    stream.record.last_in = stream.engine.reactor.now_ns
    upstream.window = NULL
    if code == WIRE_MORE:
        stream.owner.on_body(stream, body, body_size, 0)
        upstream.wire.window = NULL
        if window != NULL:
            window_free(window)
        _read_on(upstream)
        return
    if code != WIRE_DONE:
        window_free(window)
        upstream_fail(upstream, FAIL_MALFORMED)
        return
    stream.trailers = upstream.wire.trailers
    upstream.wire.trailers = NULL
    stream.upstream = NULL
    upstream.stream = NULL
    if (
        upstream.wire.skip_body or consumed < size or upstream.hung_up or upstream.deaf
        or not stream.request_done or upstream.output.first != NULL
    ):
        upstream_close(upstream)
    else:
        wire_next(&upstream.wire)
        upstream_give_back(upstream)
    stream.owner.on_body(stream, body, body_size, 1)
    window_free(window)


cdef void upstream_read_tunnel(Upstream* upstream) noexcept nogil:
    cdef Engine* engine = upstream.engine
    cdef Stream* stream = upstream.stream
    cdef ssize_t count = transport_read(engine, upstream.source.descriptor, upstream.ssl, engine.body, engine.body_size)
    if count == TRANSPORT_AGAIN:
        upstream.readable = 0
    elif count == TRANSPORT_FAILED:
        upstream_fail(upstream, FAIL_TRUNCATED)
    elif count == 0:
        upstream.readable = 0
        upstream.paused = 1
        upstream.tunnel |= TUNNEL_ENDED
        stream.owner.on_body(stream, engine.body, 0, 1)
    else:
        _settle_readable(upstream, count, engine.body_size)
        stream.record.upstream_received += count
        stream.record.last_in = engine.reactor.now_ns
        deadline_set(&upstream.source, &upstream.source.deadline, DEADLINE_TUNNEL)
        stream.owner.on_body(stream, engine.body, count, 0)
        _read_on(upstream)


cdef inline void _settle_readable(Upstream* upstream, size_t count, size_t asked) noexcept nogil:
    """A short read has drained a plain socket, unless its end is known to have come."""
    if transport_drained(upstream.engine, upstream.ssl, count, asked) and not upstream.hung_up:
        upstream.readable = 0


cdef void _read_on(Upstream* upstream) noexcept nogil:
    if not upstream.source.dead and upstream.readable and upstream.stream != NULL and not upstream.paused:
        source_run(&upstream.source)


cdef void _ended(Upstream* upstream, bint failed) noexcept nogil:
    """The endpoint has closed, or reading has failed."""
    cdef Stream* stream = upstream.stream
    cdef Engine* engine = upstream.engine
    cdef int error = errno if failed and upstream.ssl == NULL else 0
    if upstream.wire.headers_done:
        if not failed and wire_finish(&upstream.wire) == WIRE_DONE:
            upstream_close(upstream)
            stream.owner.on_body(stream, engine.body, 0, 1)
        else:
            upstream_fail(upstream, FAIL_TRUNCATED)
        return
    if upstream.reused and not upstream.answered and not stream.fresh_only and stream.is_safe and stream.saved != NULL:
        _send_again(upstream)
        return
    reason_is(engine, WHY_RESET if error else WHY_CLOSED, error)
    upstream_fail(upstream, FAIL_CLOSED)


cdef void _send_again(Upstream* upstream) noexcept nogil:
    """An idle connection turned out to be dead: the saved request on a fresh one, once."""
    cdef Stream* stream = upstream.stream
    cdef int failure
    upstream_close(upstream)
    record_again(&stream.record)
    stream.fresh_only = 1
    stream.engine.counters.retries += 1
    failure = upstream_begin(stream, stream.saved, stream.saved_size, NULL, 0, 1)
    if failure:
        stream.owner.on_failed(stream, failure)
