"""Connections to endpoints: taking one from the pool, sending a request, reading its response.

Idea: an upstream connection knows its stream and nothing about clients. It reports through the
stream's owner: head, body, end, failure, room for more. It never calls the owner after `on_failed`
or after the body piece marked `last`, and it gives the connection back to its pool *before* it
hands over that last piece, so that the owner may start the next exchange at once.

Invariants
* Bytes after the end of a response, bytes on an idle connection, a response that came before the
  request was sent completely: the connection is closed, never reused (http-safety.md 44, 45).
* A request is sent again only if none of its bytes was written, or if it is GET, HEAD, OPTIONS or
  TRACE without a body and a *reused* connection died before the first byte of a response; once,
  and on a fresh connection (http-safety.md 4).
* While a connection is being made the whole request waits in its output queue, so the next address
  of the endpoint can be tried with the same bytes. Requests to an endpoint whose name has not been
  looked up yet wait in the same way, on a connection whose descriptor is a mere stand-in.

State-machine trap: writing fails with EPIPE while the response that explains it is still unread.
So a failed write only makes the connection `deaf`; reading decides.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from fastproxy._block cimport ROUTE_PRESERVE_HOST
from fastproxy.engine.buffers cimport Chunk, Queue, chunk_data, queue_append, queue_append_rest, queue_clear, queue_consume, queue_vector
from fastproxy.engine.head cimport UPGRADE_WEBSOCKET, Head, response_head
from fastproxy.engine.llhttp cimport F_SKIPBODY, HTTP_RESPONSE
from fastproxy.engine.posix cimport (
    EFD_CLOEXEC, EFD_NONBLOCK, EINPROGRESS, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, IPPROTO_TCP,
    SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, SO_ERROR, TCP_NODELAY, close, connect, errno, eventfd,
    getsockopt, iovec, setsockopt, sockaddr, socket, socklen_t, ssize_t,
)
from fastproxy.engine.reactor cimport (
    DEADLINE_CONNECT, DEADLINE_NAME, DEADLINE_POOL, DEADLINE_RESPONSE, DEADLINE_TRY, DEADLINE_TUNNEL,
    DEADLINE_UPGRADE, DEADLINE_UPSTREAM_HANDSHAKE, DEADLINE_UPSTREAM_STALL, Source, deadline_clear, deadline_set,
    source_add, source_retire, source_run,
)
from fastproxy.engine.splice cimport splice_body, splice_rest, splice_worthwhile
from fastproxy.engine.stream cimport (
    FAIL_CLOSED, FAIL_CONNECT_TIMEOUT, FAIL_INTERNAL, FAIL_MALFORMED, FAIL_NAME, FAIL_NONE,
    FAIL_REFUSED, FAIL_RESPONSE_TIMEOUT, FAIL_TRUNCATED, TUNNEL_CLOSING, TUNNEL_ENDED,
    TUNNEL_OPEN, Engine, Pool, Stream, Upstream,
)
from fastproxy.engine.transport cimport (
    TRANSPORT_AGAIN, TRANSPORT_FAILED, transport_drained, transport_end, transport_read, transport_write,
)
from fastproxy.engine.wire cimport (
    WIRE_DONE, WIRE_MORE, Window, wire_body, wire_finish, wire_free, wire_head, wire_init, wire_next,
    window_copy, window_free, window_grow, window_reset,
)

cdef enum:
    MAX_INTERIM = 8
    SAVED_BLOCK = 2048


# --- pools ---

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


cdef Upstream* _take_idle(Pool* pool) noexcept nogil:
    cdef Upstream* upstream = pool.idle
    if upstream != NULL:
        _unlink_idle(upstream)
    return upstream


cdef void _give_back(Upstream* upstream) noexcept nogil:
    cdef Pool* pool = upstream.pool
    if (
        pool.retired or pool.idle_count >= upstream.engine.max_idle or upstream.engine.draining
        or upstream.version != pool.version
    ):
        _close(upstream)
        return
    upstream.reused = 1
    upstream.next_idle = pool.idle
    upstream.previous_idle = NULL
    if pool.idle != NULL:
        pool.idle.previous_idle = upstream
    pool.idle = upstream
    pool.idle_count += 1
    deadline_set(&upstream.source, &upstream.source.deadline, DEADLINE_POOL)


cdef void pool_close_idle(Pool* pool) noexcept nogil:
    """Close what nobody uses; connections in use are closed when their exchange ends."""
    while pool.idle != NULL:
        _close(pool.idle)


cdef void pool_free(Pool* pool) noexcept nogil:
    free(pool.url)
    free(pool.name)
    free(pool)


cdef void pool_resolved(Pool* pool) noexcept nogil:
    """The addresses were replaced: connections to the old ones end, requests that waited go on."""
    cdef Upstream* upstream
    pool.resolved = 1
    pool.version += 1
    pool_close_idle(pool)
    while pool.waiting != NULL:
        upstream = pool.waiting
        _unlink_waiting(upstream)
        _move_on(upstream, 0, FAIL_REFUSED if pool.address_count else FAIL_NAME)


cdef void _unlink_waiting(Upstream* upstream) noexcept nogil:
    upstream.waiting = 0
    if upstream.previous_idle == NULL:
        upstream.pool.waiting = upstream.next_idle
    else:
        upstream.previous_idle.next_idle = upstream.next_idle
    if upstream.next_idle != NULL:
        upstream.next_idle.previous_idle = upstream.previous_idle
    upstream.next_idle = NULL
    upstream.previous_idle = NULL


# --- life of a connection ---

cdef void _free(Source* source) noexcept nogil:
    cdef Upstream* upstream = <Upstream*> source
    cdef Engine* engine = upstream.engine
    source.next_dead = engine.free_upstream
    engine.free_upstream = source


cdef void _close(Upstream* upstream) noexcept nogil:
    """Close the connection, wherever it is. Its stream, if any, is not told."""
    if upstream.source.dead:
        return
    if upstream.waiting:
        _unlink_waiting(upstream)
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
    source_retire(&upstream.source)


cdef void _fail(Upstream* upstream, int failure) noexcept nogil:
    """Close, and tell the stream's owner."""
    cdef Stream* stream = upstream.stream
    if stream != NULL and not upstream.connected and not upstream.written and stream.unsent.first == NULL:
        stream.unsent = upstream.output
        memset(&upstream.output, 0, sizeof(upstream.output))
    _close(upstream)
    if stream != NULL:
        upstream.engine.counters.upstream_failures += 1
        stream.owner.on_failed(stream, failure)


cdef Upstream* _open(Engine* engine, Pool* pool, uint32_t address) noexcept nogil:
    """Start to connect to one address of the pool; NULL with errno."""
    cdef int one = 1
    cdef int descriptor = socket(
        pool.addresses[address].ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0
    )
    if descriptor < 0:
        return NULL
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    if connect(descriptor, <sockaddr*> &pool.addresses[address], pool.address_sizes[address]) < 0:
        if errno != EINPROGRESS:
            close(descriptor)
            return NULL
    engine.counters.upstream_connects += 1
    return _new(engine, pool, descriptor, address)


cdef Upstream* _wait_for_name(Engine* engine, Pool* pool) noexcept nogil:
    """A connection whose request is kept until the pool has addresses."""
    cdef int descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    cdef Upstream* upstream = NULL
    if descriptor >= 0:
        upstream = _new(engine, pool, descriptor, 0)
    if upstream == NULL:
        return NULL
    upstream.waiting = 1
    upstream.next_idle = pool.waiting
    if pool.waiting != NULL:
        pool.waiting.previous_idle = upstream
    pool.waiting = upstream
    return upstream


cdef Upstream* _new(Engine* engine, Pool* pool, int descriptor, uint32_t address) noexcept nogil:
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
    upstream.source.on_event = _on_event
    upstream.source.on_deadline = _on_deadline
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
    return upstream


cdef inline void _attach(Upstream* upstream, Stream* stream) noexcept nogil:
    upstream.stream = stream
    stream.upstream = upstream
    upstream.answered = 0
    upstream.written = 0
    upstream.interim = 0
    upstream.paused = 0
    upstream.blocked = 0


# --- sending ---

cdef void _send(Upstream* upstream, const iovec* vector, int count, size_t total) noexcept nogil:
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


cdef void _request_sent(Upstream* upstream) noexcept nogil:
    """Nothing of the request waits here; from now on the endpoint owes an answer."""
    if upstream.stream != NULL and upstream.stream.request_done and not upstream.answered:
        deadline_set(
            &upstream.source, &upstream.source.deadline,
            DEADLINE_UPGRADE if upstream.stream.upgrade == UPGRADE_WEBSOCKET else DEADLINE_RESPONSE,
        )
    else:
        deadline_clear(upstream.engine.reactor, &upstream.source.deadline)


cdef int stream_save_head(Stream* stream, const char* head, size_t size) noexcept nogil:
    """Keep the written head: it may have to be sent again; -1 without memory."""
    cdef Engine* engine = stream.engine
    if head == stream.saved:
        return 0
    if stream.saved == NULL or stream.saved_capacity < size:
        stream_forget_head(stream)
        if size <= SAVED_BLOCK and engine.free_saved != NULL:
            stream.saved = engine.free_saved
            engine.free_saved = (<char**> stream.saved)[0]
        else:
            stream.saved = <char*> malloc(size if size > SAVED_BLOCK else SAVED_BLOCK)
        if stream.saved == NULL:
            return -1
        stream.saved_capacity = <uint32_t> (size if size > SAVED_BLOCK else SAVED_BLOCK)
    memcpy(stream.saved, head, size)
    stream.saved_size = <uint32_t> size
    return 0


cdef void stream_forget_head(Stream* stream) noexcept nogil:
    """Give the saved head back: an idle connection must not hold one."""
    if stream.saved == NULL:
        return
    if stream.saved_capacity == SAVED_BLOCK:
        (<char**> stream.saved)[0] = stream.engine.free_saved
        stream.engine.free_saved = stream.saved
    else:
        free(stream.saved)
    stream.saved = NULL


cdef int _open_any(Stream* stream, Upstream** result) noexcept nogil:
    """Connect to the first address that does not refuse at once."""
    cdef Pool* pool = stream.pool
    cdef uint32_t i, address
    result[0] = NULL
    if pool.address_count == 0 and not pool.resolved:
        result[0] = _wait_for_name(stream.engine, pool)
        return FAIL_NAME if result[0] == NULL else FAIL_NONE
    if pool.address_count == 0:
        return FAIL_NAME
    for i in range(pool.address_count):
        address = (pool.preferred + i) % pool.address_count
        result[0] = _open(stream.engine, pool, address)
        if result[0] != NULL:
            return FAIL_NONE
    return FAIL_REFUSED


cdef int upstream_begin(
    Stream* stream, const char* head, size_t head_size, const char* body, size_t body_size, uint8_t last
) noexcept nogil:
    """Send a request head and the first piece of its body through a connection of `stream.pool`.

    FAIL_NONE, or the failure when not even a connection could be started (the owner is not called).
    `stream.chunked` frames the body.
    """
    cdef iovec vector[6]
    cdef char line[24]
    cdef int count, failure
    cdef size_t total
    cdef Upstream* upstream = NULL
    if not stream.fresh_only:
        upstream = _take_idle(stream.pool)
    if upstream == NULL:
        failure = _open_any(stream, &upstream)
        if failure:
            if stream.route != NULL and stream.route.retry_attempts > 1:
                _keep_unsent(stream, head, head_size, body, body_size, last)
            return failure
        _attach(upstream, stream)
        _limit_connecting(upstream)
    else:
        _attach(upstream, stream)
        deadline_clear(stream.engine.reactor, &upstream.source.deadline)
        if stream.is_safe and stream_save_head(stream, head, head_size) < 0:
            stream.is_safe = 0
    stream.request_done = last
    vector[0].iov_base = <void*> head
    vector[0].iov_len = head_size
    count = 1 + _frame(stream, vector + 1, line, body, body_size, last, NULL, 0)
    total = _size_of(vector, count)
    _send(upstream, vector, count, total)
    if upstream.deaf and not upstream.written:
        # The idle connection was closed under us and no byte left: a fresh one, now, with all of it.
        upstream.stream = NULL
        stream.upstream = NULL
        upstream.previous_idle = NULL
        _discard(upstream)
        stream.fresh_only = 1
        stream.engine.counters.retries += 1
        return upstream_begin(stream, head, head_size, body, body_size, last)
    if upstream.output.first == NULL and upstream.connected:
        _request_sent(upstream)
    return FAIL_NONE


cdef int upstream_again(Stream* stream) noexcept nogil:
    """Send what no endpoint has seen yet (`stream.unsent`) to the endpoint picked now."""
    cdef Upstream* upstream = NULL
    cdef int failure = _open_any(stream, &upstream)
    if failure:
        return failure
    if not stream.flags & ROUTE_PRESERVE_HOST and _replace_host(stream) < 0:
        upstream.stream = NULL
        _discard(upstream)
        return FAIL_INTERNAL
    _attach(upstream, stream)
    upstream.output = stream.unsent
    upstream.blocked = 1  # the owner may be waiting for room
    memset(&stream.unsent, 0, sizeof(stream.unsent))
    _limit_connecting(upstream)
    return FAIL_NONE


cdef void _keep_unsent(
    Stream* stream, const char* head, size_t head_size, const char* body, size_t body_size, uint8_t last
) noexcept nogil:
    """Not even a connection could be started: what would have waited in its queue."""
    cdef iovec vector[6]
    cdef char line[24]
    cdef int count
    stream.request_done = last
    vector[0].iov_base = <void*> head
    vector[0].iov_len = head_size
    count = 1 + _frame(stream, vector + 1, line, body, body_size, last, NULL, 0)
    if queue_append_rest(&stream.unsent, vector, count, 0) < 0:
        queue_clear(&stream.unsent)


cdef void _limit_connecting(Upstream* upstream) noexcept nogil:
    """Less patience while another address is left to try."""
    cdef Pool* pool = upstream.pool
    cdef int kind = DEADLINE_CONNECT
    if upstream.waiting:
        kind = DEADLINE_NAME
    elif (upstream.address + 1) % pool.address_count != pool.preferred:
        kind = DEADLINE_TRY
    deadline_set(&upstream.source, &upstream.source.deadline, kind)


cdef int _replace_host(Stream* stream) noexcept nogil:
    """The Host of the waiting head becomes the new endpoint's."""
    cdef Queue old = stream.unsent
    cdef Queue new
    cdef Chunk* chunk = old.first
    cdef const char* data = chunk_data(chunk) + chunk.start
    cdef uint32_t size = chunk.end - chunk.start
    cdef uint32_t after = stream.host_offset + stream.host_size
    memset(&new, 0, sizeof(new))
    if after > size:
        return -1
    if (
        queue_append(&new, data, stream.host_offset) < 0
        or queue_append(&new, stream.pool.host, stream.pool.host_size) < 0
        or queue_append(&new, data + after, size - after) < 0
    ):
        queue_clear(&new)
        return -1
    chunk = chunk.next
    while chunk != NULL:
        if queue_append(&new, chunk_data(chunk) + chunk.start, chunk.end - chunk.start) < 0:
            queue_clear(&new)
            return -1
        chunk = chunk.next
    queue_clear(&old)
    stream.unsent = new
    stream.host_size = stream.pool.host_size
    return 0


cdef void _discard(Upstream* upstream) noexcept nogil:
    """Close a connection that is neither in a pool nor attached."""
    cdef Stream nobody
    memset(&nobody, 0, sizeof(nobody))
    upstream.stream = &nobody
    _close(upstream)


cdef inline size_t _size_of(const iovec* vector, int count) noexcept nogil:
    cdef size_t total = 0
    cdef int i
    for i in range(count):
        total += vector[i].iov_len
    return total


cdef int _frame(
    Stream* stream, iovec* vector, char* line, const char* data, size_t size, uint8_t last,
    const char* trailers, size_t trailers_size
) noexcept nogil:
    """Describe one piece of the request body, chunked if the request is; at most 4 entries."""
    cdef int count = 0
    if not stream.chunked:
        if size:
            vector[0].iov_base = <void*> data
            vector[0].iov_len = size
            count = 1
        return count
    if size:
        vector[0].iov_base = line
        vector[0].iov_len = chunk_line(line, size)
        vector[1].iov_base = <void*> data
        vector[1].iov_len = size
        count = 2
    if last:
        if trailers_size:
            vector[count].iov_base = <void*> (<const char*> "\r\n0\r\n" if size else <const char*> "0\r\n")
            vector[count].iov_len = 5 if size else 3
            vector[count + 1].iov_base = <void*> trailers
            vector[count + 1].iov_len = trailers_size
            return count + 2
        vector[count].iov_base = <void*> (<const char*> "\r\n0\r\n\r\n" if size else <const char*> "0\r\n\r\n")
        vector[count].iov_len = 7 if size else 5
        count += 1
    elif size:
        vector[count].iov_base = <void*> <const char*> "\r\n"
        vector[count].iov_len = 2
        count += 1
    return count


cdef size_t chunk_line(char* line, size_t size) noexcept nogil:
    """Write the size line of a chunk; returns its length."""
    cdef char digits[16]
    cdef int used = 0, i
    while size:
        digits[used] = "0123456789abcdef"[size & 15]
        used += 1
        size >>= 4
    for i in range(used):
        line[i] = digits[used - 1 - i]
    line[used] = c'\r'
    line[used + 1] = c'\n'
    return used + 2


cdef void upstream_body(
    Stream* stream, const char* data, size_t size, uint8_t last, const char* trailers, size_t trailers_size
) noexcept nogil:
    """Send another piece of the request body; `trailers` are complete lines and a blank one."""
    cdef iovec vector[5]
    cdef char line[24]
    cdef int count
    cdef Upstream* upstream = stream.upstream
    stream.request_done = last
    if upstream == NULL:
        return
    count = _frame(stream, vector, line, data, size, last, trailers, trailers_size)
    _send(upstream, vector, count, _size_of(vector, count))
    if upstream.connected and upstream.output.first == NULL:
        _request_sent(upstream)


cdef bint upstream_full(Stream* stream) noexcept nogil:
    """True when the owner has to wait for `on_writable` before it sends more."""
    cdef Upstream* upstream = stream.upstream
    if upstream == NULL or upstream.output.size <= stream.engine.high_water:
        return False
    upstream.blocked = 1
    return True


cdef int upstream_raw(Stream* stream) noexcept nogil:
    """The endpoint's socket, when nothing waits before the next byte of an unframed request body."""
    cdef Upstream* upstream = stream.upstream
    if (
        upstream == NULL or not upstream.connected or upstream.deaf or upstream.ssl != NULL
        or upstream.output.first != NULL or stream.chunked
    ):
        return -1
    return upstream.source.descriptor


cdef bint upstream_waits(Stream* stream) noexcept nogil:
    """Whether anything is queued; `on_writable` then says when it has been sent."""
    cdef Upstream* upstream = stream.upstream
    if upstream == NULL or (upstream.output.first == NULL and not upstream.tunnel & TUNNEL_CLOSING):
        return False
    upstream.blocked = 1
    return True


cdef void upstream_tunnel(Stream* stream, const char* data, size_t size) noexcept nogil:
    """Send raw bytes after an upgrade."""
    cdef iovec vector[1]
    vector[0].iov_base = <void*> data
    vector[0].iov_len = size
    _send(stream.upstream, vector, 1, size)
    if stream.upstream.output.first == NULL:
        deadline_set(&stream.upstream.source, &stream.upstream.source.deadline, DEADLINE_TUNNEL)


cdef void upstream_shutdown(Stream* stream) noexcept nogil:
    """The client has ended its half of a tunnel."""
    cdef Upstream* upstream = stream.upstream
    if upstream.output.first == NULL:
        _end_half(upstream)
    else:
        upstream.tunnel |= TUNNEL_CLOSING


cdef void _end_half(Upstream* upstream) noexcept nogil:
    if not transport_end(upstream.engine, upstream.source.descriptor, upstream.ssl):
        upstream.tunnel |= TUNNEL_CLOSING


cdef void upstream_pause(Stream* stream) noexcept nogil:
    if stream.upstream != NULL:
        stream.upstream.paused = 1


cdef void upstream_resume(Stream* stream) noexcept nogil:
    cdef Upstream* upstream = stream.upstream
    if upstream != NULL and upstream.paused:
        upstream.paused = 0
        if upstream.readable:
            source_run(&upstream.source)


cdef void upstream_abort(Stream* stream) noexcept nogil:
    """Cancel the exchange: the connection is closed, the owner is not called."""
    if stream.upstream != NULL:
        _close(stream.upstream)


# --- events ---

cdef void _on_connected(Upstream* upstream) noexcept nogil:
    cdef Engine* engine = upstream.engine
    if upstream.version == upstream.pool.version:
        upstream.pool.preferred = upstream.address
    if upstream.pool.tls:
        upstream.ssl = engine.tls.connect(
            upstream.pool.tls_client, upstream.source.descriptor, upstream.pool.name,
            upstream.pool.name_size, <uint64_t> <size_t> upstream.pool,
        )
        if upstream.ssl == NULL:
            _fail(upstream, FAIL_INTERNAL)
            return
        upstream.handshaking = 1
        deadline_set(&upstream.source, &upstream.source.deadline, DEADLINE_UPSTREAM_HANDSHAKE)
        _handshake(upstream)
        return
    upstream.connected = 1
    _flush(upstream)


cdef void _handshake(Upstream* upstream) noexcept nogil:
    cdef int code = upstream.engine.tls.handshake(upstream.ssl)
    if code == 1:
        upstream.handshaking = 0
        upstream.connected = 1
        upstream.readable = 1
        _flush(upstream)
    elif code != -1 and code != -2:
        _fail(upstream, upstream.engine.tls.failed(upstream))


cdef void _try_next(Upstream* upstream, int failure) noexcept nogil:
    """This address does not take us: the next one, with the same bytes."""
    cdef Pool* pool = upstream.pool
    cdef uint32_t tried = 0
    if upstream.version == pool.version and pool.address_count:
        tried = 1 + (upstream.address + pool.address_count - pool.preferred) % pool.address_count
    _move_on(upstream, tried, failure)


cdef void _move_on(Upstream* upstream, uint32_t tried, int failure) noexcept nogil:
    """Hand the request to the first address behind the `tried` ones, counted from the preferred."""
    cdef Stream* stream = upstream.stream
    cdef Pool* pool = upstream.pool
    cdef Upstream* other = NULL
    cdef uint32_t i
    for i in range(tried, pool.address_count):
        other = _open(upstream.engine, pool, (pool.preferred + i) % pool.address_count)
        if other != NULL:
            break
    if other == NULL or stream == NULL:
        _fail(upstream, failure)
        return
    other.output = upstream.output
    memset(&upstream.output, 0, sizeof(upstream.output))
    _close(upstream)
    _attach(other, stream)
    other.blocked = 1  # the owner may be waiting for room
    _limit_connecting(other)


cdef void _flush(Upstream* upstream) noexcept nogil:
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
        queue_consume(&upstream.output, written)
        if upstream.output.first != NULL:
            deadline_set(&upstream.source, &upstream.source.deadline, DEADLINE_UPSTREAM_STALL)
    if upstream.tunnel & TUNNEL_CLOSING:
        upstream.tunnel &= ~TUNNEL_CLOSING
        _end_half(upstream)
    if not upstream.tunnel:
        _request_sent(upstream)
    if upstream.blocked and stream != NULL:
        upstream.blocked = 0
        stream.owner.on_writable(stream)


cdef void _on_event(Source* source, uint32_t events) noexcept nogil:
    cdef Upstream* upstream = <Upstream*> source
    cdef int error = 0
    cdef socklen_t size = sizeof(error)
    if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        upstream.readable = 1
        if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            upstream.hung_up = 1
    if upstream.waiting:
        return
    if not upstream.connected:
        if upstream.handshaking:
            _handshake(upstream)
        elif events & (EPOLLOUT | EPOLLERR | EPOLLHUP):
            getsockopt(source.descriptor, SOL_SOCKET, SO_ERROR, &error, &size)
            if error or events & EPOLLERR:
                _try_next(upstream, FAIL_REFUSED)
            else:
                _on_connected(upstream)
        if source.dead or not upstream.connected:
            return
    elif events & EPOLLOUT and (upstream.output.first != NULL or upstream.tunnel & TUNNEL_CLOSING):
        _flush(upstream)
        if source.dead:
            return
    if upstream.tunnel & TUNNEL_ENDED:
        if upstream.deaf or events & EPOLLERR:
            _fail(upstream, FAIL_TRUNCATED)  # it does not take what the client goes on to send
        return
    if not upstream.readable or (upstream.stream == NULL and events == 0):
        return
    if upstream.stream == NULL:
        if upstream.ssl == NULL or upstream.hung_up or not _only_tickets(upstream):
            _close(upstream)  # whatever an idle connection says, it is not an answer
    elif not upstream.paused:
        if upstream.tunnel:
            _read_tunnel(upstream)
        elif upstream.wire.headers_done:
            _read_body(upstream)
        else:
            _read_head(upstream)


cdef bint _only_tickets(Upstream* upstream) noexcept nogil:
    """TLS 1.3 session tickets may arrive on an idle connection; data may not."""
    cdef char byte
    if transport_read(upstream.engine, upstream.source.descriptor, upstream.ssl, &byte, 1) != TRANSPORT_AGAIN:
        return False
    upstream.readable = 0
    return True


cdef void _on_deadline(Source* source, int kind) noexcept nogil:
    cdef Upstream* upstream = <Upstream*> source
    if kind == DEADLINE_TRY:
        _try_next(upstream, FAIL_CONNECT_TIMEOUT)
    elif kind == DEADLINE_NAME:
        _fail(upstream, FAIL_NAME)
    elif kind == DEADLINE_CONNECT or kind == DEADLINE_UPSTREAM_HANDSHAKE:
        _fail(upstream, FAIL_CONNECT_TIMEOUT)
    elif kind == DEADLINE_POOL:
        _close(upstream)
    else:
        _fail(upstream, FAIL_RESPONSE_TIMEOUT)


# --- reading ---

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
    if upstream.wire.headers_done:
        if not failed and wire_finish(&upstream.wire) == WIRE_DONE:
            _close(upstream)
            stream.owner.on_body(stream, engine.body, 0, 1)
        else:
            _fail(upstream, FAIL_TRUNCATED)
        return
    if upstream.reused and not upstream.answered and not stream.fresh_only and stream.is_safe and stream.saved != NULL:
        _send_again(upstream)
        return
    _fail(upstream, FAIL_CLOSED)


cdef void _send_again(Upstream* upstream) noexcept nogil:
    """An idle connection turned out to be dead: the saved request on a fresh one, once."""
    cdef Stream* stream = upstream.stream
    cdef int failure
    _close(upstream)
    stream.fresh_only = 1
    stream.engine.counters.retries += 1
    failure = upstream_begin(stream, stream.saved, stream.saved_size, NULL, 0, 1)
    if failure:
        stream.owner.on_failed(stream, failure)


cdef void _read_head(Upstream* upstream) noexcept nogil:
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
    upstream.wire.window.used += <uint32_t> count
    while True:
        begin = upstream.wire.window.head_size  # behind the interim answers seen so far
        code = wire_head(&upstream.wire, start)
        if code == WIRE_MORE:
            if _keep_head(upstream) < 0:
                _fail(upstream, FAIL_MALFORMED)
                return
            _read_on(upstream)
            return
        if (
            code != WIRE_DONE
            or memcmp(upstream.wire.window.data + begin, "HTTP/", 5) != 0  # llhttp knows more names
            or response_head(&engine.response, &upstream.wire)
        ):
            _fail(upstream, FAIL_MALFORMED)
            return
        if engine.response.status >= 200 or engine.response.status == 101:
            break
        # an interim answer: forget it, look at what follows
        upstream.interim += 1
        start = upstream.wire.window.head_size
        if upstream.interim > MAX_INTERIM or wire_body(&upstream.wire, upstream.wire.window.data + start, 0, &consumed) != WIRE_DONE:
            _fail(upstream, FAIL_MALFORMED)
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
    deadline_clear(engine.reactor, &upstream.source.deadline)
    if head.status == 101:
        # http-safety.md 32: only what was asked for
        if not stream.upgrade or head.upgrade_hash != stream.upgrade_hash:
            _fail(upstream, FAIL_MALFORMED)
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
    if stream.is_head:
        upstream.wire.parser.flags |= F_SKIPBODY
    upstream.wire.parser.upgrade = 0
    stream.owner.on_head(stream, head)
    if upstream.stream != stream:
        return
    upstream.wire.skip_body = not keep_alive
    _deliver(upstream, data, size)


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
        _fail(upstream, FAIL_MALFORMED)
        return
    stream.trailers = upstream.wire.trailers
    upstream.wire.trailers = NULL
    stream.upstream = NULL
    upstream.stream = NULL
    if (
        upstream.wire.skip_body or consumed < size or upstream.hung_up or upstream.deaf
        or not stream.request_done or upstream.output.first != NULL
    ):
        _discard(upstream)
    else:
        wire_next(&upstream.wire)
        _give_back(upstream)
    stream.owner.on_body(stream, body, body_size, 1)
    window_free(window)


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
        _fail(upstream, FAIL_TRUNCATED)
        return True
    _read_on(upstream)
    return True


cdef void _read_body(Upstream* upstream) noexcept nogil:
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
    _deliver(upstream, engine.body, count)


cdef void _read_tunnel(Upstream* upstream) noexcept nogil:
    cdef Engine* engine = upstream.engine
    cdef Stream* stream = upstream.stream
    cdef ssize_t count = transport_read(engine, upstream.source.descriptor, upstream.ssl, engine.body, engine.body_size)
    if count == TRANSPORT_AGAIN:
        upstream.readable = 0
    elif count == TRANSPORT_FAILED:
        _fail(upstream, FAIL_TRUNCATED)
    elif count == 0:
        upstream.readable = 0
        upstream.paused = 1
        upstream.tunnel |= TUNNEL_ENDED
        stream.owner.on_body(stream, engine.body, 0, 1)
    else:
        _settle_readable(upstream, count, engine.body_size)
        deadline_set(&upstream.source, &upstream.source.deadline, DEADLINE_TUNNEL)
        stream.owner.on_body(stream, engine.body, count, 0)
        _read_on(upstream)
