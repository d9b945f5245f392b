"""Requests on their way to an endpoint.

Invariant: a request is sent again only if none of its bytes was written, or if it is GET, HEAD,
OPTIONS or TRACE without a body and a *reused* connection died before the first byte of a response;
once, and on a fresh connection (http-safety.md 4).
"""

from libc.stdint cimport uint32_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastproxy.tables.block cimport ROUTE_PRESERVE_HOST
from fastproxy.engine.loop.buffers cimport (
    Chunk, Queue, chunk_data, queue_append, queue_append_rest, queue_clear,
)
from fastproxy.engine.http.h1_writer cimport chunk_line
from fastproxy.engine.loop.posix cimport iovec
from fastproxy.engine.loop.reactor cimport DEADLINE_TUNNEL, deadline_clear, deadline_set, source_run
from fastproxy.engine.stream.record cimport record_again
from fastproxy.engine.stream.stream cimport (
    FAIL_INTERNAL, FAIL_NONE, TUNNEL_CLOSING, Engine, Stream, Upstream,
)
from fastproxy.engine.upstream.connect cimport upstream_limit_connecting, upstream_open_any
from fastproxy.engine.upstream.connection cimport (
    upstream_attach, upstream_close, upstream_end_half, upstream_request_sent,
    upstream_send, upstream_take_idle,
)

cdef enum:
    SAVED_BLOCK = 2048


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
    stream.record.chosen = stream.engine.reactor.now_ns
    if not stream.fresh_only:
        upstream = upstream_take_idle(stream.pool)
    if upstream == NULL:
        failure = upstream_open_any(stream, &upstream)
        if failure:
            if stream.route != NULL and stream.route.retry_attempts > 1:
                _keep_unsent(stream, head, head_size, body, body_size, last)
            return failure
        upstream_attach(upstream, stream)
        upstream_limit_connecting(upstream)
    else:
        upstream_attach(upstream, stream)
        stream.record.reused = 1
        deadline_clear(stream.engine.reactor, &upstream.source.deadline)
        if stream.is_safe and stream_save_head(stream, head, head_size) < 0:
            stream.is_safe = 0
    stream.request_done = last
    vector[0].iov_base = <void*> head
    vector[0].iov_len = head_size
    count = 1 + _frame(stream, vector + 1, line, body, body_size, last, NULL, 0)
    total = _size_of(vector, count)
    upstream_send(upstream, vector, count, total)
    if upstream.deaf and not upstream.written:
        # The idle connection was closed under us and no byte left: a fresh one, now, with all of it.
        upstream_close(upstream)
        record_again(&stream.record)
        stream.fresh_only = 1
        stream.engine.counters.retries += 1
        return upstream_begin(stream, head, head_size, body, body_size, last)
    if upstream.output.first == NULL and upstream.connected:
        upstream_request_sent(upstream)
    return FAIL_NONE


cdef int upstream_again(Stream* stream) noexcept nogil:
    """Send what no endpoint has seen yet (`stream.unsent`) to the endpoint picked now."""
    cdef Upstream* upstream = NULL
    cdef int failure
    record_again(&stream.record)
    stream.record.chosen = stream.engine.reactor.now_ns
    failure = upstream_open_any(stream, &upstream)
    if failure:
        return failure
    if not stream.flags & ROUTE_PRESERVE_HOST and _replace_host(stream) < 0:
        upstream_close(upstream)
        return FAIL_INTERNAL
    upstream_attach(upstream, stream)
    upstream.output = stream.unsent
    upstream.blocked = 1  # the owner may be waiting for room
    memset(&stream.unsent, 0, sizeof(stream.unsent))
    upstream_limit_connecting(upstream)
    return FAIL_NONE


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
    upstream_send(upstream, vector, count, _size_of(vector, count))
    if upstream.connected and upstream.output.first == NULL:
        upstream_request_sent(upstream)


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
    upstream_send(stream.upstream, vector, 1, size)
    if stream.upstream.output.first == NULL:
        deadline_set(&stream.upstream.source, &stream.upstream.source.deadline, DEADLINE_TUNNEL)


cdef void upstream_shutdown(Stream* stream) noexcept nogil:
    """The client has ended its half of a tunnel."""
    cdef Upstream* upstream = stream.upstream
    if upstream.output.first == NULL:
        upstream_end_half(upstream)
    else:
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
        upstream_close(stream.upstream)


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
