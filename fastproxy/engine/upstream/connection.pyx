"""One connection to an endpoint: its memory, its place in the pool, writing to it, its end.

Invariant: only a connection whose last exchange ended where it said, with nothing behind it, goes
back to the pool; every other one is closed (http-safety.md 44, 45).

State-machine trap: writing fails with EPIPE while the response that explains it is still unread.
So a failed write only makes the connection `deaf`; reading decides.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastproxy.engine.loop.buffers cimport queue_append_rest, queue_clear, queue_consume, queue_vector
from fastproxy.engine.http.head cimport UPGRADE_WEBSOCKET
from fastproxy.engine.http.llhttp cimport HTTP_RESPONSE
from fastproxy.engine.loop.posix cimport (
    EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP, close, iovec, ssize_t,
)
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_POOL, DEADLINE_RESPONSE, DEADLINE_UPGRADE, DEADLINE_UPSTREAM_STALL, Deadline, Source,
    deadline_clear, deadline_set, source_add, source_retire, source_run,
)
from fastproxy.engine.stream.stream cimport TUNNEL_CLOSING, Engine, Pool, Stream, Upstream
from fastproxy.engine.stream.transport cimport (
    TRANSPORT_AGAIN, TRANSPORT_FAILED, transport_end, transport_write,
)
from fastproxy.engine.http.h1_parser cimport wire_free, wire_init
from fastproxy.engine.http.fields cimport window_free


cdef Upstream* upstream_take_idle(Pool* pool) noexcept nogil:
    cdef Upstream* upstream = pool.idle
    if upstream != NULL:
        _unlink_idle(upstream)
    return upstream


cdef inline void _unlink_idle(Upstream* upstream) noexcept nogil:
    cdef Pool* pool = upstream.pool
    if upstream.previous_idle == NULL:
        pool.idle = upstream.next_idle
    else:
        upstream.previous_idle.next_idle = upstream.next_idle
    if upstream.next_idle != NULL:
        upstream.next_idle.previous_idle = upstream.previous_idle
    upstream.next_idle = NULL
    upstream.previous_idle = NULL
    pool.idle_count -= 1


cdef void upstream_give_back(Upstream* upstream) noexcept nogil:
    cdef Pool* pool = upstream.pool
    if (
        pool.retired or pool.idle_count >= upstream.engine.max_idle or upstream.engine.draining
        or upstream.version != pool.version
    ):
        upstream_close(upstream)
        return
    upstream.reused = 1
    upstream.next_idle = pool.idle
    upstream.previous_idle = NULL
    if pool.idle != NULL:
        pool.idle.previous_idle = upstream
    pool.idle = upstream
    pool.idle_count += 1
    deadline_set(&upstream.source, &upstream.source.deadline, DEADLINE_POOL)


cdef void upstream_unlink_waiting(Upstream* upstream) noexcept nogil:
    upstream.waiting = 0
    if upstream.previous_idle == NULL:
        upstream.pool.waiting = upstream.next_idle
    else:
        upstream.previous_idle.next_idle = upstream.next_idle
    if upstream.next_idle != NULL:
        upstream.next_idle.previous_idle = upstream.previous_idle
    upstream.next_idle = NULL
    upstream.previous_idle = NULL


cdef void pool_close_idle(Pool* pool) noexcept nogil:
    """Close what nobody uses; connections in use are closed when their exchange ends."""
    while pool.idle != NULL:
        upstream_close(pool.idle)


cdef void pool_free(Pool* pool) noexcept nogil:
    free(pool.url)
    free(pool.name)
    free(pool)


cdef Upstream* upstream_new(Engine* engine, Pool* pool, int descriptor, uint32_t address) noexcept nogil:
    """Take over a descriptor; NULL with errno, and it is closed."""
    cdef Upstream* upstream = <Upstream*> engine.free_upstream
    if upstream != NULL:
        engine.free_upstream = upstream.source.next_dead
    else:
        upstream = <Upstream*> malloc(sizeof(Upstream))
        if upstream == NULL:
            close(descriptor)
            return NULL
    memset(upstream, 0, sizeof(Upstream))
    upstream.source.on_event = upstream_handlers.on_event
    upstream.source.on_deadline = upstream_handlers.on_deadline
    upstream.source.on_free = _free
    upstream.engine = engine
    upstream.pool = pool
    upstream.address = address
    upstream.version = pool.version
    wire_init(&upstream.wire, HTTP_RESPONSE)
    upstream.wire.max_lines = 1000
    if source_add(engine.reactor, &upstream.source, descriptor, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) < 0:
        close(descriptor)
        free(upstream)
        return NULL
    pool.connections += 1
    engine.upstreams += 1
    return upstream


cdef void _free(Source* source) noexcept nogil:
    cdef Upstream* upstream = <Upstream*> source
    cdef Engine* engine = upstream.engine
    source.next_dead = engine.free_upstream
    engine.free_upstream = source


cdef void upstream_close(Upstream* upstream) noexcept nogil:
    """Close the connection: idle, attached to a stream (which is not told), or neither."""
    if upstream.source.dead:
        return
    if upstream.waiting:
        upstream_unlink_waiting(upstream)
    if upstream.stream != NULL:
        upstream.stream.upstream = NULL
        upstream.stream = NULL
    elif upstream.pool.idle == upstream or upstream.previous_idle != NULL:
        _unlink_idle(upstream)
    if upstream.ssl != NULL:
        upstream.engine.tls.shutdown(upstream.ssl)
        upstream.engine.tls.free(upstream.ssl)
        upstream.ssl = NULL
    queue_clear(&upstream.output)
    window_free(upstream.window)
    upstream.window = NULL
    wire_free(&upstream.wire)
    close(upstream.source.descriptor)
    upstream.pool.connections -= 1
    upstream.engine.upstreams -= 1
    source_retire(&upstream.source)


cdef bint upstream_give_way(Engine* engine) noexcept nogil:
    """Close the connection that has been idle in a pool for longest; False without one."""
    cdef Deadline* oldest = engine.reactor.deadlines[<int> DEADLINE_POOL].first
    if oldest == NULL:
        return False
    upstream_close(<Upstream*> oldest.source)
    return True


cdef void upstream_fail(Upstream* upstream, int failure) noexcept nogil:
    """Close, and tell the stream's owner."""
    cdef Stream* stream = upstream.stream
    if stream != NULL and not upstream.connected and not upstream.written and stream.unsent.first == NULL:
        stream.unsent = upstream.output
        memset(&upstream.output, 0, sizeof(upstream.output))
    upstream_close(upstream)
    if stream != NULL:
        upstream.engine.counters.upstream_failures += 1
        stream.owner.on_failed(stream, failure)


cdef void upstream_send(Upstream* upstream, const iovec* vector, int count, size_t total) noexcept nogil:
    """Write now what the socket takes, queue the rest."""
    cdef ssize_t written = 0
    if upstream.deaf or total == 0:
        return
    if upstream.connected and upstream.output.first == NULL:
        written = transport_write(upstream.engine, upstream.source.descriptor, upstream.ssl, vector, count)
        if written == TRANSPORT_FAILED:
            _deafen(upstream)
            return
        if written == TRANSPORT_AGAIN:
            written = 0
        if written:
            upstream.written = 1
            if upstream.stream != NULL:
                upstream.stream.record.upstream_sent += written
    if <size_t> written < total:
        if queue_append_rest(&upstream.output, vector, count, written) < 0:
            _deafen(upstream)
            return
        if upstream.connected:
            deadline_set(&upstream.source, &upstream.source.deadline, DEADLINE_UPSTREAM_STALL)


cdef void _deafen(Upstream* upstream) noexcept nogil:
    upstream.deaf = 1
    upstream.hung_up = 1
    upstream.readable = 1
    queue_clear(&upstream.output)
    source_run(&upstream.source)


cdef void upstream_flush(Upstream* upstream) noexcept nogil:
    cdef iovec vector[16]
    cdef int count
    cdef ssize_t written
    cdef Stream* stream = upstream.stream
    while upstream.output.first != NULL and not upstream.deaf:
        count = queue_vector(&upstream.output, vector, 16)
        written = transport_write(upstream.engine, upstream.source.descriptor, upstream.ssl, vector, count)
        if written == TRANSPORT_AGAIN:
            return
        if written == TRANSPORT_FAILED:
            _deafen(upstream)
            break
        upstream.written = 1
        if stream != NULL:
            stream.record.upstream_sent += written
        queue_consume(&upstream.output, written)
        if upstream.output.first != NULL:
            deadline_set(&upstream.source, &upstream.source.deadline, DEADLINE_UPSTREAM_STALL)
    if upstream.tunnel & TUNNEL_CLOSING:
        upstream.tunnel &= ~TUNNEL_CLOSING
        upstream_end_half(upstream)
    if not upstream.tunnel:
        upstream_request_sent(upstream)
    if upstream.blocked and stream != NULL:
        upstream.blocked = 0
        stream.owner.on_writable(stream)


cdef void upstream_request_sent(Upstream* upstream) noexcept nogil:
    """Nothing of the request waits here; from now on the endpoint owes an answer."""
    cdef Stream* stream = upstream.stream
    if stream != NULL and stream.request_done:
        stream.record.written = upstream.engine.reactor.now_ns
        if not upstream.answered:
            deadline_set(
                &upstream.source, &upstream.source.deadline,
                DEADLINE_UPGRADE if stream.upgrade == UPGRADE_WEBSOCKET else DEADLINE_RESPONSE,
            )
            return
    deadline_clear(upstream.engine.reactor, &upstream.source.deadline)


cdef void upstream_end_half(Upstream* upstream) noexcept nogil:
    if not transport_end(upstream.engine, upstream.source.descriptor, upstream.ssl):
        upstream.tunnel |= TUNNEL_CLOSING
