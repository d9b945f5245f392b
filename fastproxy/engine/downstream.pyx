"""The client side of HTTP/1.1.

Idea: a connection reads one head, makes the canonical request of it, asks `steps` where it goes, has
the upstream side send it, and writes what comes back. One request is in work at a time; bytes of
later requests wait in `pending` and nothing more is read (http-safety.md 38).

States: HEAD -> BUSY -> HEAD ..., with DRAIN (answered while the request body still arrives), LINGER
(our end is closed, the client's last bytes are read so that it is not reset before it has read the
answer) and TUNNEL (after 101).

Invariants
* A response head is serialised into `engine.out` and sent together with the first piece of its
  body in one `sendmsg`; `head_waiting` is only set between `on_head` and `on_body` of one call.
* Every state has a deadline, except BUSY with the whole request read: then the upstream connection
  has one.
* `_finish` is the only end of an exchange: it releases what the steps took, exactly once.
* Nothing recurses: the next pipelined request is started from the run queue.

State-machine traps: an early response while the body still arrives (the upload goes on, the
connection closes after the response); a body read that runs into pipelined data (`pending`).
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset, strlen

from fastproxy.engine.buffers cimport queue_append_rest, queue_clear, queue_consume, queue_vector
from fastproxy.engine.compress cimport (
    WISH_GZIP, compress_answer, compress_decide, compress_end, compress_piece, compress_plan,
)
from fastproxy.engine.gather cimport (
    GATHER_FAILED, GATHERED, Gather, gather_add, gather_free, gather_new, gather_whole,
)
from fastproxy.engine.head cimport Head, request_head
from fastproxy.engine.head_writer cimport (
    Forwarding, Writer, status_text, write_number, write_request, write_response, write_text,
    write_field,
)
from fastproxy.engine.llhttp cimport HTTP_REQUEST, METHOD_GET, METHOD_HEAD, METHOD_OPTIONS, METHOD_TRACE
from fastproxy.engine.payload cimport Payload, i64
from fastproxy.engine.posix cimport (
    AF_INET, AF_INET6, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP,
    SHUT_WR, SOL_SOCKET, SO_LINGER, close, inet_ntop, iovec, linger, setsockopt,
    shutdown, sockaddr, sockaddr_in, sockaddr_in6, ssize_t, tm, gmtime_r, strftime, time_t,
)
from fastproxy.engine.reactor cimport (
    DEADLINE_BODY, DEADLINE_CONTINUE, DEADLINE_HANDSHAKE, DEADLINE_HEAD, DEADLINE_IDLE,
    DEADLINE_LINGER, DEADLINE_REQUEST, DEADLINE_STALL, DEADLINE_TUNNEL, DEADLINE_WRITE, Source,
    clock_ns, deadline_clear, deadline_set, source_add, source_retire, source_run,
)
from fastproxy.engine.proxy_protocol cimport proxy_header
from fastproxy.engine.replies cimport STEP_GO_ON, STEP_PARK, STEP_REPLY, plain_reply
from fastproxy.engine.retry cimport retry
from fastproxy.engine.step_access cimport trusts
from fastproxy.engine.steps cimport (
    end_steps, page_wanted, pick_endpoint, request_steps, response_steps, route_request,
)
from fastproxy.engine.splice cimport splice_body, splice_rest, splice_worthwhile
from fastproxy.engine.stream cimport (
    FAIL_MALFORMED, ROUTE_PRESERVE_HOST, Engine, Reply, Stream, StreamOwner,
)
from fastproxy.engine.transport cimport TRANSPORT_AGAIN, TRANSPORT_FAILED, transport_drained, transport_read, transport_write
from fastproxy.engine.upstream cimport (
    chunk_line, stream_forget_head, upstream_abort, upstream_begin, upstream_body, upstream_full, upstream_pause,
    upstream_raw, upstream_resume, upstream_shutdown, upstream_tunnel, upstream_waits,
)
from fastproxy.engine.wire cimport (
    WIRE_DONE, WIRE_MORE, WIRE_TOO_MUCH, Trailers, Window, wire_body, wire_free, wire_head,
    wire_init, wire_next,
    window_copy, window_free, window_grow, window_reset,
)

cdef enum:
    LINGER_BYTES = 65536
    REPLY_PIECE = 262144
    JOINED = 2048  # a body that is copied behind its head
    HANDSHAKING = 1000000  # nanoseconds of each turn; what is left over waits for the next

cdef StreamOwner _owner


cdef Downstream* downstream_of(Stream* stream) noexcept nogil:
    return <Downstream*> (<char*> stream - <size_t> &(<Downstream*> NULL).stream)


# --- life of a connection ---

cdef void _free(Source* source) noexcept nogil:
    cdef Downstream* downstream = <Downstream*> source
    source.next_dead = downstream.engine.free_downstream
    downstream.engine.free_downstream = source


cdef Downstream* _new(Engine* engine) noexcept nogil:
    cdef Downstream* downstream = <Downstream*> engine.free_downstream
    if downstream != NULL:
        engine.free_downstream = downstream.source.next_dead
    else:
        downstream = <Downstream*> malloc(sizeof(Downstream))
    if downstream != NULL:
        memset(downstream, 0, sizeof(Downstream))
    return downstream


cdef void _set_client(Downstream* downstream, const void* address) noexcept nogil:
    """The peer's address as text and as 16 bytes."""
    cdef const sockaddr* peer = <const sockaddr*> address
    cdef Stream* stream = &downstream.stream
    memset(stream.address, 0, 16)
    if peer.sa_family == AF_INET:
        stream.address[10] = 0xFF
        stream.address[11] = 0xFF
        memcpy(stream.address + 12, &(<const sockaddr_in*> address).sin_addr, 4)
    else:
        memcpy(stream.address, &(<const sockaddr_in6*> address).sin6_addr, 16)
    _name_client(downstream)


cdef void _name_client(Downstream* downstream) noexcept nogil:
    cdef Stream* stream = &downstream.stream
    cdef uint8_t* bytes6 = stream.address
    cdef bint mapped = bytes6[10] == 0xFF and bytes6[11] == 0xFF
    cdef int i
    for i in range(10):
        if bytes6[i]:
            mapped = False
    stream.client = downstream.client
    if mapped:
        stream.client_size = _write_ipv4(bytes6 + 12, downstream.client)
        return
    inet_ntop(AF_INET6, bytes6, downstream.client, sizeof(downstream.client))
    stream.client_size = <uint32_t> strlen(downstream.client)


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


cdef void downstream_accept(Engine* engine, int descriptor, uint32_t entry_point, const void* address) noexcept nogil:
    """Take over an accepted socket and read from it at once."""
    cdef Downstream* downstream = _new(engine)
    if downstream == NULL:
        close(descriptor)
        return
    downstream.source.on_event = _on_event
    downstream.source.on_deadline = _on_deadline
    downstream.source.on_free = _free
    downstream.engine = engine
    downstream.entry_point = entry_point
    downstream.stream.owner = &_owner
    downstream.stream.engine = engine
    downstream.stream.entry_point = entry_point
    downstream.stream.tls = engine.entry_points[entry_point].tls
    downstream.tls_varies = engine.entry_points[entry_point].tls_varies
    _set_client(downstream, address)
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
    downstream.readable = 1
    if engine.entry_points[entry_point].proxy_protocol:
        downstream.state = DOWNSTREAM_PROXY
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_HEAD)
        _read_proxy(downstream)
    else:
        _begin(downstream)


cdef void _begin(Downstream* downstream) noexcept nogil:
    if downstream.stream.tls:
        downstream.state = DOWNSTREAM_HANDSHAKE
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_HANDSHAKE)
        _handshake(downstream)
        return
    downstream.state = DOWNSTREAM_HEAD
    deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_HEAD)
    _read_head(downstream)


cdef bint _may_handshake(Engine* engine) noexcept nogil:
    """A step costs ten times as much as a request, and hundreds may be due in one turn."""
    if engine.handshake_turn != engine.reactor.now_ns:
        engine.handshake_turn = engine.reactor.now_ns
        engine.handshake_ns = 0
    return engine.handshake_ns < HANDSHAKING


cdef void _handshake(Downstream* downstream) noexcept nogil:
    cdef Engine* engine = downstream.engine
    cdef int64_t began
    cdef int code
    if not _may_handshake(engine):
        source_run(&downstream.source)
        return
    if downstream.ssl == NULL:
        if not downstream.hung_up and not engine.tls.greeted(downstream.source.descriptor):
            return
        downstream.ssl = engine.tls.accept(
            engine.entry_points[downstream.entry_point].tls_server, downstream.source.descriptor
        )
        if downstream.ssl == NULL:
            _close(downstream)
            return
    began = clock_ns()
    code = engine.tls.handshake(downstream.ssl)
    engine.handshake_ns += clock_ns() - began
    if code == 1:
        downstream.state = DOWNSTREAM_HEAD
        downstream.readable = 1
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_HEAD)
        _read_head(downstream)
    elif code != -1 and code != -2:
        engine.tls.refused(downstream.ssl, downstream.client)
        if engine.tls.plain_http(downstream.ssl):
            _refuse_plain(downstream)
        _close(downstream)


cdef void _refuse_plain(Downstream* downstream) noexcept nogil:
    """HTTP where TLS is spoken: say so in the clear, as Go's server does."""
    cdef const char* text = (
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    )
    cdef iovec vector[1]
    vector[0].iov_base = <void*> text
    vector[0].iov_len = strlen(text)
    transport_write(downstream.engine, downstream.source.descriptor, NULL, vector, 1)


cdef void _read_proxy(Downstream* downstream) noexcept nogil:
    """Wait for the PROXY header, which may also be absent."""
    cdef int code = proxy_header(
        downstream.source.descriptor, &downstream.engine.entry_points[downstream.entry_point],
        downstream.stream.address,
    )
    if code < 0:
        _close(downstream)
    elif code:
        _name_client(downstream)
        _begin(downstream)


cdef void _close(Downstream* downstream) noexcept nogil:
    """Close the connection now; an exchange in work is cancelled."""
    cdef Engine* engine = downstream.engine
    if downstream.source.dead:
        return
    upstream_abort(&downstream.stream)
    _release(downstream)
    if downstream.ssl != NULL:
        engine.tls.shutdown(downstream.ssl)
        engine.tls.free(downstream.ssl)
        downstream.ssl = NULL
    queue_clear(&downstream.output)
    window_free(downstream.window)
    downstream.window = NULL
    free(downstream.pending)
    downstream.pending = NULL
    free(downstream.stream.remembered)
    downstream.stream.remembered = NULL
    wire_free(&downstream.wire)
    deadline_clear(engine.reactor, &downstream.total)
    close(downstream.source.descriptor)
    if downstream.previous_connection == NULL:
        engine.connections_first = <Source*> downstream.next_connection
    else:
        downstream.previous_connection.next_connection = downstream.next_connection
    if downstream.next_connection != NULL:
        downstream.next_connection.previous_connection = downstream.previous_connection
    engine.connections -= 1
    source_retire(&downstream.source)


cdef void _reset(Downstream* downstream) noexcept nogil:
    """Close so that the client cannot take what it has for a whole response."""
    cdef linger hard
    hard.l_onoff = 1
    hard.l_linger = 0
    setsockopt(downstream.source.descriptor, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard))
    if downstream.ssl != NULL:
        # Without close_notify: it would say that nothing is missing.
        downstream.engine.tls.free(downstream.ssl)
        downstream.ssl = NULL
    _close(downstream)


cdef void _release(Downstream* downstream) noexcept nogil:
    """Give back what the exchange holds."""
    cdef Stream* stream = &downstream.stream
    end_steps(stream)
    stream_forget_head(stream)
    compress_end(&downstream.compression)
    downstream.rest_size = 0
    downstream.first_head = NULL
    if downstream.gather != NULL:
        gather_free(downstream.gather)
        downstream.gather = NULL
    if stream.trailers != NULL:
        free(stream.trailers)
        stream.trailers = NULL


cdef void _end(Downstream* downstream) noexcept nogil:
    """Everything is written: close, after reading what would otherwise cause a reset."""
    if downstream.readable or not downstream.wire.message_done or downstream.pending_size:
        if downstream.ssl != NULL:
            downstream.engine.tls.shutdown(downstream.ssl)
        shutdown(downstream.source.descriptor, SHUT_WR)
        downstream.state = DOWNSTREAM_LINGER
        downstream.drained = 0
        downstream.readable = 1
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_LINGER)
        source_run(&downstream.source)
    else:
        _close(downstream)


# --- writing ---

cdef bint _send(Downstream* downstream, const iovec* vector, int count, size_t total) noexcept nogil:
    """Write now what the socket takes, queue the rest; False when the client is gone."""
    cdef ssize_t written = 0
    if downstream.output.first == NULL:
        written = transport_write(downstream.engine, downstream.source.descriptor, downstream.ssl, vector, count)
        if written == TRANSPORT_FAILED:
            return False
        if written == TRANSPORT_AGAIN:
            written = 0
    if <size_t> written < total:
        if queue_append_rest(&downstream.output, vector, count, written) < 0:
            return False
        if written or downstream.source.deadline.kind != DEADLINE_STALL or not downstream.source.deadline.linked:
            deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_STALL)
    return True


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
            _close(downstream)
            return
        queue_consume(&downstream.output, written)
        if downstream.output.first != NULL:
            deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_STALL)
    _written(downstream)


cdef void _written(Downstream* downstream) noexcept nogil:
    """The output queue has become empty."""
    if downstream.closing:
        _end(downstream)
        return
    if downstream.rest_size:
        _reply_on(downstream)
        return
    if downstream.state == DOWNSTREAM_BUSY:
        if downstream.stream.request_done:
            deadline_clear(downstream.engine.reactor, &downstream.source.deadline)
        else:
            deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)
        upstream_resume(&downstream.stream)
    elif downstream.state == DOWNSTREAM_TUNNEL:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_TUNNEL)
        _settle_tunnel(downstream)
        if not downstream.ended & 2:
            upstream_resume(&downstream.stream)
    elif downstream.state == DOWNSTREAM_HEAD:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_IDLE)
        source_run(&downstream.source)
    elif downstream.state == DOWNSTREAM_DRAIN:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)


cdef void _date(Engine* engine) noexcept nogil:
    cdef tm parts
    cdef time_t seconds
    if engine.date_second != engine.reactor.wall:
        engine.date_second = engine.reactor.wall
        seconds = <time_t> engine.date_second
        gmtime_r(&seconds, &parts)
        strftime(engine.date, sizeof(engine.date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts)


# --- the end of an exchange ---

cdef void _finish(Downstream* downstream) noexcept nogil:
    """Request read and response handed over completely: next request, or close."""
    _release(downstream)
    deadline_clear(downstream.engine.reactor, &downstream.total)
    if not downstream.keep_alive or downstream.engine.draining:
        if downstream.output.first == NULL:
            _end(downstream)
        else:
            downstream.closing = 1
        return
    wire_next(&downstream.wire)
    downstream.state = DOWNSTREAM_HEAD
    if downstream.output.first != NULL:
        return  # DEADLINE_STALL is running; _written goes on
    deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_IDLE)
    if downstream.pending_size or downstream.readable:
        source_run(&downstream.source)


cdef void _answered(Downstream* downstream) noexcept nogil:
    """The response is complete. What becomes of a request body that is still arriving?"""
    cdef Engine* engine = downstream.engine
    cdef uint64_t left = downstream.wire.parser.content_length
    if downstream.wire.message_done:
        _finish(downstream)
        return
    upstream_abort(&downstream.stream)
    if not downstream.keep_alive or downstream.waiting_continue or downstream.wire.error:
        downstream.keep_alive = 0
        _finish(downstream)
        return
    # llhttp counts down the present chunk or the whole body here.
    if left > engine.unread_body:
        downstream.keep_alive = 0
        _finish(downstream)
        return
    _release(downstream)
    downstream.state = DOWNSTREAM_DRAIN
    downstream.drained = 0
    if downstream.output.first == NULL:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)
    downstream.paused = 0
    source_run(&downstream.source)


cdef bint _intercept(Downstream* downstream, int status) noexcept nogil:
    """An error page replaces this response: Python fetches it, the stream waits."""
    cdef Stream* stream = &downstream.stream
    cdef uint32_t slot
    memcpy(&slot, stream.pages, 4)
    stream.pages = NULL  # a page is never itself replaced
    if downstream.engine.intercept(stream, slot, status) != 0:
        return False
    upstream_abort(stream)
    downstream.parked = 1
    return True


cdef void downstream_reply(Stream* stream, const Reply* reply) noexcept nogil:
    """Send an answer of our own and end the exchange (`features.md` 1.2)."""
    cdef Downstream* downstream = downstream_of(stream)
    cdef Engine* engine = downstream.engine
    cdef Writer writer
    cdef iovec vector[2]
    cdef const char* reason = status_text(reply.status)
    cdef const char* kind = reply.type
    cdef bint body_allowed = reply.status >= 200 and reply.status != 204 and reply.status != 304
    cdef char* body = <char*> reply.body
    cdef size_t body_size = reply.body_size
    cdef bint gzip = False
    if page_wanted(stream, reply.status) and _intercept(downstream, reply.status):
        return
    if stream.compress & WISH_GZIP and body_allowed and not stream.is_head:
        gzip = compress_answer(&downstream.compression, reply.lines, reply.lines_size, &body, &body_size)
    writer.data = engine.out
    writer.size = 0
    writer.capacity = engine.out_size
    writer.failed = 0
    if reply.close or engine.draining:
        downstream.keep_alive = 0
    if not downstream.wire.message_done and (
        downstream.waiting_continue or downstream.wire.parser.content_length > engine.unread_body
    ):
        downstream.keep_alive = 0
    engine.counters.replies += 1
    stream.status = <uint16_t> reply.status
    _date(engine)
    write_text(&writer, "HTTP/1.1 ", 9)
    write_number(&writer, reply.status)
    write_text(&writer, " ", 1)
    write_text(&writer, reason, strlen(reason))
    write_text(&writer, "\r\n", 2)
    if not reply.has_date:
        write_text(&writer, engine.date, strlen(engine.date))
    if not reply.has_server:
        write_text(&writer, "Server: fastproxy\r\n", 19)
    if body_allowed:
        if (reply.body_size or kind != NULL) and not reply.raw:
            if kind == NULL:
                kind = "text/plain; charset=utf-8"
            write_field(&writer, "Content-Type", 12, kind, strlen(kind))
        write_text(&writer, "Content-Length: ", 16)
        write_number(&writer, body_size)
        write_text(&writer, "\r\n", 2)
    if stream.compress:
        write_text(&writer, "Vary: Accept-Encoding\r\n", 23)
    if gzip:
        write_text(&writer, "Content-Encoding: gzip\r\n", 24)
    if reply.nosniff:
        write_text(&writer, "X-Content-Type-Options: nosniff\r\n", 33)
    if reply.lines_size:
        write_text(&writer, reply.lines, reply.lines_size)
    if not downstream.keep_alive:
        write_text(&writer, "Connection: close\r\n", 19)
    elif downstream.http10:
        write_text(&writer, "Connection: keep-alive\r\n", 24)
    write_text(&writer, "\r\n", 2)
    vector[0].iov_base = writer.data
    vector[0].iov_len = writer.size
    vector[1].iov_base = body
    vector[1].iov_len = body_size if body_allowed and not stream.is_head else 0
    if reply.raw and not gzip and vector[1].iov_len > REPLY_PIECE:
        downstream.rest = body + REPLY_PIECE
        downstream.rest_size = vector[1].iov_len - REPLY_PIECE
        vector[1].iov_len = REPLY_PIECE
        stream.response_started = 1
    if writer.failed or not _send(downstream, vector, 2 if vector[1].iov_len else 1, writer.size + vector[1].iov_len):
        _close(downstream)
        return
    _reply_on(downstream)


cdef void _reply_on(Downstream* downstream) noexcept nogil:
    """Send more of a long answer of our own, piece by piece, as the client takes them."""
    cdef iovec piece
    while downstream.rest_size and downstream.output.first == NULL:
        piece.iov_base = <void*> downstream.rest
        piece.iov_len = downstream.rest_size if downstream.rest_size < REPLY_PIECE else REPLY_PIECE
        downstream.rest += piece.iov_len
        downstream.rest_size -= piece.iov_len
        if not _send(downstream, &piece, 1, piece.iov_len):
            _close(downstream)
            return
    if downstream.rest_size == 0:
        _answered(downstream)


# --- reading a head ---

cdef void _refuse(Downstream* downstream, int status) noexcept nogil:
    """Answer a message that cannot be understood, and close without parsing further."""
    cdef Engine* engine = downstream.engine
    downstream.keep_alive = 0
    downstream.state = DOWNSTREAM_BUSY
    downstream.stream.is_head = 0
    plain_reply(engine, status, status_text(status))
    if status == 426:
        engine.reply.lines = "Sec-WebSocket-Version: 13\r\n"
        engine.reply.lines_size = 27
    engine.reply.close = 1
    downstream.wire.error = 400
    downstream_reply(&downstream.stream, &engine.reply)


cdef void _read_head(Downstream* downstream) noexcept nogil:
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
            _close(downstream)
        return
    if transport_drained(engine, downstream.ssl, count, room) and not downstream.hung_up:
        downstream.readable = 0
    window.used += <uint32_t> count
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
        _refuse(downstream, code)
        return
    _dispatch(downstream)


cdef void _keep_head(Downstream* downstream, bint first) noexcept nogil:
    """The head is not complete: keep it in a private window, within the limits."""
    cdef Engine* engine = downstream.engine
    cdef Window* window = downstream.wire.window
    if window.count == 0 and window.used > engine.request_line + 2:
        _refuse(downstream, 414)
        return
    if window.used >= engine.header_block:
        _refuse(downstream, 431)
        return
    if not window.private:
        downstream.window = window_copy(window, window.used + 1024)
        downstream.wire.window = downstream.window
        if downstream.window == NULL:
            _close(downstream)
            return
    elif window.used == window.capacity and window_grow(window, engine.header_block + 1024) < 0:
        _close(downstream)
        return
    if first and downstream.requests:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_HEAD)
    if downstream.readable:
        source_run(&downstream.source)


# --- one request ---

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
    downstream.body_received = 0
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
    stream.started_ns = engine.reactor.now_ns
    downstream.wire.parser.upgrade = 0
    downstream.wire.keep_trailers = head.te_trailers
    code = wire_body(&downstream.wire, rest, size, &consumed)
    if code != WIRE_DONE and code != WIRE_MORE:
        _refuse(downstream, WIRE_TOO_MUCH if code == WIRE_TOO_MUCH else 400)
        return
    if code == WIRE_DONE and consumed < size and not head.upgrade:
        if _keep_pending(downstream, rest + consumed, size - consumed) < 0:
            _close(downstream)
            return
    elif head.upgrade and size and _keep_pending(downstream, rest, size) < 0:
        _close(downstream)
        return
    # Expect: the body is read only after the endpoint has asked for it, unless some of it is here.
    downstream.waiting_continue = code == WIRE_MORE and head.expect_continue and downstream.wire.body_size == 0
    stream.expect = downstream.waiting_continue
    stream.whole = code == WIRE_DONE
    stream.is_safe = code == WIRE_DONE and head.content_length <= 0 and not head.chunked and (
        head.method == METHOD_GET or head.method == METHOD_HEAD or head.method == METHOD_OPTIONS
        or head.method == METHOD_TRACE
    )
    if code == WIRE_MORE:
        deadline_set(
            &downstream.source, &downstream.source.deadline,
            DEADLINE_CONTINUE if downstream.waiting_continue else DEADLINE_BODY,
        )
        deadline_set(&downstream.source, &downstream.total, DEADLINE_REQUEST)
    else:
        deadline_clear(engine.reactor, &downstream.source.deadline)
        deadline_set(&downstream.source, &downstream.total, DEADLINE_WRITE)
    if engine.max_body and (
        head.content_length > <int64_t> engine.max_body or downstream.wire.body_size > engine.max_body
    ):
        _refuse(downstream, 413)
        return
    downstream.body_received = downstream.wire.body_size
    if downstream.tls_varies and engine.tls.misdirected(downstream.ssl, head.name, head.name_size):
        code = plain_reply(engine, 421, status_text(421))
    else:
        code = route_request(stream, head)
    if code == STEP_GO_ON:
        code = request_steps(stream, head, 0)
    _after_steps(downstream, head, code)


cdef void _after_steps(Downstream* downstream, Head* head, int code) noexcept nogil:
    if code == STEP_PARK:
        downstream.parked = 1
        _drop_window(downstream)
        return
    if code == STEP_GO_ON:
        code = pick_endpoint(&downstream.stream, head)
    if code == STEP_GO_ON:
        _forward(downstream, head)
    else:
        downstream_reply(&downstream.stream, &downstream.engine.reply)
    if not downstream.source.dead:
        _drop_window(downstream)


cdef void downstream_continue(Stream* stream, Head* head, char* body, size_t body_size, int code) noexcept nogil:
    """Python lets a parked stream go on; `code` is what the remaining steps came to."""
    cdef Downstream* downstream = downstream_of(stream)
    downstream.parked = 0
    downstream.collecting = 0
    downstream.wire.body = body
    downstream.wire.body_size = body_size
    _after_steps(downstream, head, code)
    if not downstream.source.dead and (downstream.readable or downstream.pending_size):
        source_run(&downstream.source)


cdef void downstream_collect(Stream* stream) noexcept nogil:
    """Python wants the whole request body of a parked stream; `engine.collected` gets it."""
    cdef Downstream* downstream = downstream_of(stream)
    downstream.collecting = 1
    if downstream.waiting_continue:
        _on_continue(stream)
    if not downstream.source.dead:
        source_run(&downstream.source)


cdef void _forward(Downstream* downstream, Head* head) noexcept nogil:
    """Write the request head for the endpoint that was picked and send it off."""
    cdef Engine* engine = downstream.engine
    cdef Stream* stream = &downstream.stream
    cdef Forwarding forwarding
    cdef Writer writer
    cdef int failure
    cdef uint8_t last = downstream.wire.message_done
    cdef Trailers* trailers = downstream.wire.trailers
    cdef bint trailing = last and trailers != NULL and trailers.size and downstream.wire.keep_trailers
    forwarding.client = stream.client
    forwarding.client_size = stream.client_size
    forwarding.server = engine.server
    forwarding.server_size = engine.server_size
    forwarding.host = NULL
    forwarding.host_size = 0
    if head.host_size == 0 or not stream.flags & ROUTE_PRESERVE_HOST:
        forwarding.host = stream.pool.host
        forwarding.host_size = stream.pool.host_size
    forwarding.trusted = trusts(&engine.entry_points[stream.entry_point], stream.address)
    forwarding.tls = stream.tls
    forwarding.expect = stream.expect
    forwarding.anonymous = 0
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
    stream.host_offset = head.method_size + 1 + head.path_size + (1 + head.query_size if head.query_size else 0) + 17
    stream.host_size = head.host_size if forwarding.host == NULL else forwarding.host_size
    failure = upstream_begin(
        stream, writer.data, writer.size, downstream.wire.body, downstream.wire.body_size, last and not trailing
    )
    if failure:
        _failed(stream, failure)
    elif trailing:
        downstream.wire.body_size = 0
        _send_last(downstream)
    elif not last and upstream_full(stream):
        downstream.paused = 1
    elif not last and downstream.readable and not downstream.waiting_continue:
        source_run(&downstream.source)
    if last and downstream.wire.trailers != NULL:
        wire_free(&downstream.wire)


cdef inline void _drop_window(Downstream* downstream) noexcept nogil:
    downstream.wire.window = NULL
    if downstream.window != NULL:
        window_free(downstream.window)
        downstream.window = NULL


cdef int _keep_pending(Downstream* downstream, const char* data, size_t size) noexcept nogil:
    downstream.pending = <char*> malloc(size)
    if downstream.pending == NULL:
        return -1
    memcpy(downstream.pending, data, size)
    downstream.pending_size = <uint32_t> size
    return 0


# --- the request body ---

cdef void _read_body(Downstream* downstream) noexcept nogil:
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
            _close(downstream)
        return
    if transport_drained(engine, downstream.ssl, count, engine.body_size) and not downstream.hung_up:
        downstream.readable = 0
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
    downstream.body_received += count
    if downstream.output.first == NULL:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)
    part = splice_rest(engine, count - moved)
    while part:
        moved += part
        upstream_body(stream, engine.body, part, 0, NULL, 0)
        part = splice_rest(engine, count - moved)
    if moved < count:
        _reset(downstream)
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
            _close(downstream)
        else:
            _refuse(downstream, WIRE_TOO_MUCH if code == WIRE_TOO_MUCH else 400)
        return
    downstream.body_received += downstream.wire.body_size
    if downstream.collecting:
        _collect(downstream, code, count, consumed)
        return
    if engine.max_body and downstream.body_received > <int64_t> engine.max_body:
        upstream_abort(stream)
        if stream.response_started:
            _close(downstream)
        else:
            _refuse(downstream, 413)
        return
    if code == WIRE_DONE:
        if consumed < count and _keep_pending(downstream, engine.body + consumed, count - consumed) < 0:
            _close(downstream)
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
        if consumed < count and _keep_pending(downstream, engine.body + consumed, count - consumed) < 0:
            _close(downstream)
            return
        deadline_clear(engine.reactor, &downstream.source.deadline)
        deadline_set(&downstream.source, &downstream.total, DEADLINE_WRITE)
        downstream.collecting = 0
        wire_free(&downstream.wire)
    else:
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)
        if downstream.readable:
            source_run(&downstream.source)
    engine.collected(&downstream.stream, engine.body, downstream.wire.body_size, code == WIRE_DONE)


cdef void _send_last(Downstream* downstream) noexcept nogil:
    """The last piece of the body, with the trailers if they were negotiated."""
    cdef Trailers* trailers = downstream.wire.trailers
    cdef Engine* engine = downstream.engine
    cdef char block[8192 + 2]
    if trailers != NULL and trailers.size and downstream.wire.keep_trailers:
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
    if code == WIRE_DONE:
        if consumed < count and _keep_pending(downstream, engine.body + consumed, count - consumed) < 0:
            _close(downstream)
            return
        _finish(downstream)
    elif code != WIRE_MORE or downstream.drained > engine.unread_body:
        downstream.keep_alive = 0
        _finish(downstream)
    elif downstream.readable:
        source_run(&downstream.source)


# --- what the upstream side reports ---

cdef inline bint _is_bodiless(const Stream* stream, const Head* head) noexcept nogil:
    return stream.is_head or head.status == 204 or head.status == 304 or head.status == 101


cdef void _on_head(Stream* stream, Head* head) noexcept nogil:
    """Serialise the response head; `_on_body`, which follows at once, sends it."""
    cdef Downstream* downstream = downstream_of(stream)
    stream.status = head.status
    if page_wanted(stream, head.status) and _intercept(downstream, head.status):
        return
    if stream.buffer != NULL and head.content_length != 0 and not _is_bodiless(stream, head):
        downstream.first_head = head
        return
    _begin_response(downstream, head)


cdef void _begin_response(Downstream* downstream, Head* head) noexcept nogil:
    cdef Stream* stream = &downstream.stream
    cdef Engine* engine = downstream.engine
    cdef Writer writer
    cdef bint bodiless = _is_bodiless(stream, head)
    response_steps(stream, head)
    if stream.compress:
        compress_plan(&downstream.compression, stream.compress, head, bodiless)
    downstream.response_chunked = 0
    downstream.until_close = 0
    if not bodiless and head.content_length < 0:
        if downstream.http10:
            downstream.until_close = 1
            downstream.keep_alive = 0
        else:
            downstream.response_chunked = 1
    if not stream.request_done and head.status != 101:
        downstream.keep_alive = 0  # an early answer: what is left of the body is unknown
    if engine.draining:
        downstream.keep_alive = 0
    _date(engine)
    writer.data = engine.out
    writer.size = 0
    writer.capacity = engine.out_size
    writer.failed = 0
    write_response(
        &writer, head,
        downstream.response_chunked or (stream.is_head and head.chunked and not downstream.http10),
        not downstream.keep_alive, downstream.http10 and downstream.keep_alive, engine.date, NULL, 0,
    )
    if writer.failed:
        upstream_abort(stream)
        _failed(stream, FAIL_MALFORMED)
        return
    downstream.head_waiting = writer.size


# --- responses that are read completely first ---

cdef bint _gather(Downstream* downstream, char** data, size_t* size, uint8_t last) noexcept nogil:
    """False while the response is not complete; then its head is ready to be sent, and `data` is
    the body, unless it is long: that is sent piece by piece, as the client takes it."""
    cdef Stream* stream = &downstream.stream
    cdef Head* head = downstream.first_head
    cdef Gather* gather = downstream.gather
    cdef Payload payload
    cdef uint64_t limit, memory
    cdef int code
    payload.at = stream.buffer + sizeof(uint64_t)
    limit = <uint64_t> i64(&payload)
    memory = <uint64_t> i64(&payload)
    downstream.first_head = NULL
    if gather == NULL and last:
        if limit and size[0] > limit:
            _not_gathered(downstream)
            return False
        head.content_length = size[0]
        head.chunked = 0
        _begin_response(downstream, head)
        return downstream.head_waiting != 0
    if gather == NULL:
        if limit and head.content_length > <int64_t> limit:
            _not_gathered(downstream)
            return False
        gather = downstream.gather = gather_new(head, downstream.engine.scratch)
    code = GATHER_FAILED
    if gather != NULL:
        code = gather_add(gather, data[0], size[0], limit, memory)
    if code == GATHERED and not last:
        return False
    if code == GATHERED:
        data[0] = gather_whole(gather)
        size[0] = gather.size
    if code != GATHERED or data[0] == NULL:
        _not_gathered(downstream)
        return False
    head = &gather.saved.head
    head.content_length = gather.size
    head.chunked = 0
    _begin_response(downstream, head)
    if downstream.head_waiting == 0:
        return False
    if size[0] <= REPLY_PIECE or downstream.compression.undecided:
        return True
    _send_gathered(downstream, data[0], size[0])
    return False


cdef void _send_gathered(Downstream* downstream, char* data, size_t size) noexcept nogil:
    cdef iovec vector[2]
    vector[0].iov_base = downstream.engine.out
    vector[0].iov_len = downstream.head_waiting
    vector[1].iov_base = data
    vector[1].iov_len = REPLY_PIECE
    downstream.rest = data + REPLY_PIECE
    downstream.rest_size = size - REPLY_PIECE
    downstream.stream.response_started = 1
    downstream.head_waiting = 0
    if not _send(downstream, vector, 2, vector[0].iov_len + REPLY_PIECE):
        _close(downstream)
        return
    _reply_on(downstream)


cdef void _not_gathered(Downstream* downstream) noexcept nogil:
    """Larger than allowed, or no room for it: never a truncated response (FIX 23)."""
    upstream_abort(&downstream.stream)
    plain_reply(downstream.engine, 500, "Internal Server Error")
    downstream_reply(&downstream.stream, &downstream.engine.reply)


cdef void _on_body(Stream* stream, char* data, size_t size, uint8_t last) noexcept nogil:
    cdef Downstream* downstream = downstream_of(stream)
    cdef Engine* engine = downstream.engine
    cdef iovec vector[6]
    cdef char line[24]
    cdef char block[8192 + 8]
    cdef int count = 0, i
    cdef size_t total = 0
    if (downstream.first_head != NULL or downstream.gather != NULL) and not _gather(
        downstream, &data, &size, last
    ):
        return
    if downstream.compression.undecided and not compress_decide(
        &downstream.compression, engine.out, &downstream.head_waiting, engine.out_size, data, size, last
    ):
        return
    if downstream.compression.compressor != NULL:
        if compress_piece(downstream.compression.compressor, data, size, last, &data, &size) < 0:
            upstream_abort(stream)
            _close(downstream)
            return
    if downstream.head_waiting:
        if size <= JOINED and not downstream.response_chunked and downstream.head_waiting + size <= engine.out_size:
            memcpy(engine.out + downstream.head_waiting, data, size)  # one piece is cheaper to send
            downstream.head_waiting += size
            size = 0
        vector[0].iov_base = engine.out
        vector[0].iov_len = downstream.head_waiting
        downstream.head_waiting = 0
        stream.response_started = 1
        count = 1
    if downstream.response_chunked:
        count += _frame(stream, vector + count, line, block, data, size, last)
    elif size:
        vector[count].iov_base = data
        vector[count].iov_len = size
        count += 1
    for i in range(count):
        total += vector[i].iov_len
    if total and not _send(downstream, vector, count, total):
        _close(downstream)
        return
    if downstream.state == DOWNSTREAM_TUNNEL:
        if last:
            downstream.ended |= 2
            _settle_tunnel(downstream)
        else:
            deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_TUNNEL)
    if last:
        if downstream.state == DOWNSTREAM_BUSY:
            _answered(downstream)
    elif downstream.output.size > engine.high_water:
        upstream_pause(stream)


cdef int _raw(Stream* stream) noexcept nogil:
    """The client's socket, when nothing waits before the next byte of an unframed body."""
    cdef Downstream* downstream = downstream_of(stream)
    if (
        downstream.ssl != NULL or downstream.response_chunked or downstream.head_waiting
        or downstream.output.first != NULL or downstream.state != DOWNSTREAM_BUSY
        or downstream.compression.undecided or downstream.compression.compressor != NULL or stream.buffer != NULL
    ):
        return -1
    return downstream.source.descriptor


cdef int _frame(Stream* stream, iovec* vector, char* line, char* block, char* data, size_t size, uint8_t last) noexcept nogil:
    """Describe one piece of a chunked response; at most 4 entries."""
    cdef int count = 0, i
    if size:
        vector[0].iov_base = line
        vector[0].iov_len = chunk_line(line, size)
        vector[1].iov_base = data
        vector[1].iov_len = size
        count = 2
    if last and stream.trailers != NULL and stream.te_trailers and stream.trailers.size:
        if size:
            memcpy(block, "\r\n0\r\n", 5)
        else:
            memcpy(block, "0\r\n", 3)
        i = 5 if size else 3
        memcpy(block + i, stream.trailers.data, stream.trailers.size)
        memcpy(block + i + stream.trailers.size, "\r\n", 2)
        vector[count].iov_base = block
        vector[count].iov_len = i + stream.trailers.size + 2
        return count + 1
    if last:
        vector[count].iov_base = <void*> (<const char*> "\r\n0\r\n\r\n" if size else <const char*> "0\r\n\r\n")
        vector[count].iov_len = 7 if size else 5
        return count + 1
    if size:
        vector[count].iov_base = <void*> <const char*> "\r\n"
        vector[count].iov_len = 2
        count += 1
    return count


cdef void _failed(Stream* stream, int failure) noexcept nogil:
    """No response, or not all of it."""
    cdef Downstream* downstream = downstream_of(stream)
    cdef Engine* engine = downstream.engine
    downstream.head_waiting = 0
    if stream.response_started:
        stream.status = 502
        if downstream.until_close or downstream.state == DOWNSTREAM_TUNNEL:
            _reset(downstream)
        else:
            _close(downstream)
        return
    if retry(stream, failure) == STEP_REPLY:
        downstream_reply(stream, &engine.reply)


cdef void _on_writable(Stream* stream) noexcept nogil:
    cdef Downstream* downstream = downstream_of(stream)
    downstream.paused = 0
    if downstream.readable:
        source_run(&downstream.source)


cdef void _on_continue(Stream* stream) noexcept nogil:
    """The endpoint (or its silence) asks for the body; so do we."""
    cdef Downstream* downstream = downstream_of(stream)
    cdef iovec vector[1]
    if not downstream.waiting_continue:
        return
    downstream.waiting_continue = 0
    stream.expect = 0
    vector[0].iov_base = <void*> <const char*> "HTTP/1.1 100 Continue\r\n\r\n"
    vector[0].iov_len = 25
    if not _send(downstream, vector, 1, 25):
        _close(downstream)
        return
    deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_BODY)
    if downstream.readable:
        source_run(&downstream.source)


# --- tunnels ---

cdef void _on_upgraded(Stream* stream, char* data, size_t size) noexcept nogil:
    """After 101: send its head, then bytes go both ways as they come."""
    cdef Downstream* downstream = downstream_of(stream)
    downstream.state = DOWNSTREAM_TUNNEL
    downstream.keep_alive = 0
    downstream.ended = 0
    deadline_clear(downstream.engine.reactor, &downstream.total)
    deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_TUNNEL)
    _on_body(stream, data, size, 0)
    if downstream.source.dead:
        return
    if downstream.pending_size:
        upstream_tunnel(stream, downstream.pending, downstream.pending_size)
        free(downstream.pending)
        downstream.pending = NULL
        downstream.pending_size = 0
    if downstream.readable:
        source_run(&downstream.source)


cdef void _read_tunnel(Downstream* downstream) noexcept nogil:
    cdef Engine* engine = downstream.engine
    cdef Stream* stream = &downstream.stream
    cdef ssize_t count
    if downstream.ended & 1:
        _settle_tunnel(downstream)
        return
    if stream.upstream == NULL or not downstream.readable:
        return
    count = transport_read(engine, downstream.source.descriptor, downstream.ssl, engine.body, engine.body_size)
    if count == TRANSPORT_FAILED and downstream.ssl != NULL and engine.tls.cut(downstream.ssl):
        count = 0  # as without TLS: what it sent before is delivered
    if count == TRANSPORT_AGAIN:
        downstream.readable = 0
    elif count == TRANSPORT_FAILED:
        _close(downstream)
    elif count == 0:
        downstream.ended |= 1
        upstream_shutdown(stream)
        _settle_tunnel(downstream)
    else:
        if transport_drained(engine, downstream.ssl, count, engine.body_size) and not downstream.hung_up:
            downstream.readable = 0
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_TUNNEL)
        upstream_tunnel(stream, engine.body, count)
        if upstream_full(stream):
            downstream.paused = 1
        elif downstream.readable:
            source_run(&downstream.source)


cdef void _settle_tunnel(Downstream* downstream) noexcept nogil:
    """Once the client has everything, pass the endpoint's end on; once both have, close."""
    if not downstream.ended & 2 or downstream.output.first != NULL:
        return
    if downstream.ended & 1:
        if not upstream_waits(&downstream.stream):
            _close(downstream)
    elif not downstream.ended & 4:
        downstream.ended |= 4
        if downstream.ssl != NULL:
            downstream.engine.tls.shutdown(downstream.ssl)
        shutdown(downstream.source.descriptor, SHUT_WR)


# --- events ---

cdef void _on_event(Source* source, uint32_t events) noexcept nogil:
    cdef Downstream* downstream = <Downstream*> source
    if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        downstream.readable = 1
        if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            downstream.hung_up = 1
            if (events & EPOLLERR and downstream.state != DOWNSTREAM_HANDSHAKE) or (
                events & EPOLLHUP and downstream.state not in (DOWNSTREAM_HANDSHAKE, DOWNSTREAM_TUNNEL)
            ):
                _close(downstream)  # both halves are gone: nobody is left to answer
                return
    if events & EPOLLOUT and downstream.output.first != NULL:
        _flush(downstream)
        if source.dead:
            return
    if downstream.state == DOWNSTREAM_HEAD:
        if downstream.output.first == NULL:
            _read_head(downstream)
    elif downstream.state == DOWNSTREAM_BUSY:
        if not (
            downstream.wire.message_done or downstream.paused or downstream.waiting_continue
            or (downstream.parked and not downstream.collecting) or downstream.closing
        ):
            _read_body(downstream)
    elif downstream.state == DOWNSTREAM_DRAIN:
        _read_body(downstream)
    elif downstream.state == DOWNSTREAM_LINGER:
        _read_linger(downstream)
    elif downstream.state == DOWNSTREAM_TUNNEL:
        if not downstream.paused:
            _read_tunnel(downstream)
    elif downstream.state == DOWNSTREAM_HANDSHAKE:
        _handshake(downstream)
    elif downstream.state == DOWNSTREAM_PROXY:
        _read_proxy(downstream)


cdef void _read_linger(Downstream* downstream) noexcept nogil:
    cdef Engine* engine = downstream.engine
    cdef ssize_t count = transport_read(engine, downstream.source.descriptor, NULL, engine.body, engine.body_size)
    if count == TRANSPORT_AGAIN:
        downstream.readable = 0
        return
    if count > 0:
        downstream.drained += <uint32_t> count
    if count <= 0 or downstream.drained > LINGER_BYTES:
        _close(downstream)
    else:
        source_run(&downstream.source)


cdef void _on_deadline(Source* source, int kind) noexcept nogil:
    cdef Downstream* downstream = <Downstream*> source
    cdef bint unread = not downstream.wire.message_done
    if kind == DEADLINE_CONTINUE:
        _on_continue(&downstream.stream)
    elif kind == DEADLINE_HEAD and (downstream.window != NULL and downstream.state == DOWNSTREAM_HEAD):
        _refuse(downstream, 408)
    elif (kind == DEADLINE_BODY or kind == DEADLINE_REQUEST) and (
        downstream.state == DOWNSTREAM_BUSY and unread and not downstream.stream.response_started
    ):
        if downstream.parked:
            _close(downstream)
            return
        upstream_abort(&downstream.stream)
        _refuse(downstream, 408)
    else:
        _close(downstream)


# --- shutdown ---

cdef void downstream_drain(Engine* engine) noexcept nogil:
    """Close connections between requests; the others close after their response."""
    cdef Downstream* downstream = <Downstream*> engine.connections_first
    cdef Downstream* following
    engine.draining = 1
    while downstream != NULL:
        following = downstream.next_connection
        if (
            downstream.state == DOWNSTREAM_HEAD and downstream.window == NULL
            and downstream.output.first == NULL and downstream.pending_size == 0 and downstream.requests
        ):
            _read_head(downstream)  # a request may have arrived that we have not seen yet
            if not downstream.source.dead and downstream.state == DOWNSTREAM_HEAD and downstream.window == NULL:
                _close(downstream)
        downstream = following


cdef void downstream_close_all(Engine* engine) noexcept nogil:
    while engine.connections_first != NULL:
        _close(<Downstream*> engine.connections_first)


_owner.on_head = _on_head
_owner.on_body = _on_body
_owner.on_failed = _failed
_owner.on_writable = _on_writable
_owner.on_continue = _on_continue
_owner.on_upgraded = _on_upgraded
_owner.raw = _raw
