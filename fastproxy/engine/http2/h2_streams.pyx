"""One HTTP/2 connection as the protocol sees it: streams, windows, budgets, what is sent when.

Idea: no socket and no exchange. Bytes go into `h2_receive`, which answers with events about streams;
what is to be sent gathers in `out`, in the order of the wire, because a header block has to be sent
in the order in which it was encoded. DATA waits by stream and is cut into frames by `h2_schedule`,
one frame of each stream in turn, while little waits for the socket.

Both roles are one: a client's side has the same table, windows and budgets as a server's.

Invariants
* A stream is in the table until its owner has released it, and counts against the limit of streams
  so long, whatever its peer has done to it (CVE-2023-44487).
* Every byte of DATA that came is given back to the connection's window exactly once: padding, and
  what comes for a dead stream, at once; everything else by `h2_credit`, or by `h2_release` for what
  was not.
* A header block is decoded whether anybody wants it or not; the table has to stay in step.
* After a failure nothing is read, and nothing but GOAWAY is sent.

What we do not like: a stream that ends is remembered in a ring of 64, so a frame for a stream that
ended long ago is told PROTOCOL_ERROR where RFC 9113 5.1 says STREAM_CLOSED.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from fastproxy.engine.loop.buffers cimport Chunk, chunk_data, queue_append, queue_clear, queue_consume
from fastproxy.engine.http.writer cimport Writer
from fastproxy.engine.http2.h2_frames cimport (
    EVENT_DATA, EVENT_ERROR, EVENT_GOAWAY, EVENT_HEADERS, EVENT_MORE, EVENT_PING, EVENT_PING_ACK, EVENT_RESET,
    EVENT_SETTING, EVENT_SETTINGS, EVENT_SETTINGS_ACK, EVENT_STREAM_ERROR, EVENT_WINDOW, FLAG_END_STREAM,
    FRAME_DATA, FRAME_SIZE, H2_CANCEL, H2_COMPRESSION_ERROR, H2_ENHANCE_YOUR_CALM, H2_FLOW_CONTROL_ERROR,
    H2_INTERNAL_ERROR, H2_NO_ERROR, H2_PROTOCOL_ERROR, H2_REFUSED_STREAM, H2_SETTINGS_TIMEOUT, H2_STREAM_CLOSED, MOST_WINDOW,
    PREFACE_SIZE, SETTING_ENABLE_CONNECT_PROTOCOL, SETTING_ENABLE_PUSH, SETTING_HEADER_TABLE_SIZE, SETTING_INITIAL_WINDOW_SIZE,
    SETTING_MAX_CONCURRENT_STREAMS, SETTING_MAX_FRAME_SIZE, SETTING_MAX_HEADER_LIST_SIZE, SETTING_NO_RFC7540_PRIORITIES,
    FrameEvent, frame_block_begin, frame_block_end, frame_goaway, frame_head, frame_ping, frame_reset,
    frame_settings, frame_settings_ack, frame_window, frames_free, frames_init, frames_preface, frames_read,
)
from fastproxy.engine.http2.h2_guard cimport (
    WINDOWS_FOR_DATA, guard_complete, guard_frame, guard_init, guard_refill, guard_reset, guard_useful, guard_window,
)
from fastproxy.engine.http2.hpack cimport (
    HPACK_BAD, HPACK_DONE, HPACK_TABLE, HPACK_TOO_MUCH, HpackResult, hpack_block_free, hpack_block_new, hpack_decode,
    hpack_start, hpack_table_free, hpack_table_init,
)

cdef enum:
    BLOCK_MORE = 16 * 1024  # bytes of a block on the wire beyond what its fields may have
    BY_US = 0x80000000
    LAST_STREAM = 0x7FFFFFFF
    DEFAULT_WINDOW = 65535

cdef const char* DRAIN_PING = "draining"


# --- the worker ---

cdef int h2_worker_init(H2Worker* worker, uint32_t header_block) noexcept nogil:
    """Room for the header blocks of all connections; -1 without memory."""
    memset(worker, 0, sizeof(H2Worker))
    worker.block = hpack_block_new(header_block, header_block + BLOCK_MORE)
    worker.window_room = 64 << 20
    return -1 if worker.block == NULL else 0


cdef void h2_worker_free(H2Worker* worker) noexcept nogil:
    cdef H2Stream* stream
    hpack_block_free(worker.block)
    worker.block = NULL
    while worker.free != NULL:
        stream = worker.free
        worker.free = stream.next_in_bucket
        free(stream)


# --- the connection ---

cdef inline void _small(Writer* writer, char* room, size_t capacity) noexcept nogil:
    writer.data = room
    writer.size = 0
    writer.capacity = capacity
    writer.failed = 0


cdef void _send(H2Connection* connection, const Writer* writer) noexcept nogil:
    """Append whole frames; without memory the connection fails."""
    if not connection.failed and queue_append(&connection.out, writer.data, writer.size) < 0:
        connection.failed = 1
        connection.error = H2_INTERNAL_ERROR


cdef inline void _setting(uint32_t* pairs, uint32_t* count, uint32_t number, uint32_t value) noexcept nogil:
    pairs[2 * count[0]] = number
    pairs[2 * count[0] + 1] = value
    count[0] += 1


cdef void h2_init(H2Connection* connection, H2Worker* worker, bint client, uint32_t header_block, uint32_t data_size) noexcept nogil:
    """Start a connection and queue what it starts with.

    `client`: we opened it. `data_size` is the greatest payload of DATA, at most FRAME_SIZE: a little
    less where frame and head have to fill one TLS record.
    """
    cdef char room[128]
    cdef Writer writer
    cdef uint32_t pairs[16]
    cdef uint32_t count = 0
    memset(connection, 0, sizeof(H2Connection))
    connection.worker = worker
    connection.client = client
    connection.data_size = min(data_size, <uint32_t> FRAME_SIZE)
    connection.most_streams = MOST_STREAMS
    connection.send_window = DEFAULT_WINDOW
    connection.peer_window = DEFAULT_WINDOW
    connection.peer_frame = FRAME_SIZE
    connection.peer_streams = LAST_STREAM
    connection.window = ENDPOINT_WINDOW if client else CONNECTION_WINDOW
    connection.receive_window = connection.window
    connection.refused_above = LAST_STREAM
    connection.peer_last = LAST_STREAM
    connection.since = connection.given_at = worker.now
    frames_init(&connection.frames, client, header_block + BLOCK_MORE)
    hpack_table_init(&connection.table)
    guard_init(&connection.guard, worker.now)
    _small(&writer, room, sizeof(room))
    _setting(pairs, &count, SETTING_HEADER_TABLE_SIZE, HPACK_TABLE)
    _setting(pairs, &count, SETTING_INITIAL_WINDOW_SIZE, STREAM_WINDOW)
    _setting(pairs, &count, SETTING_MAX_FRAME_SIZE, FRAME_SIZE)
    _setting(pairs, &count, SETTING_MAX_HEADER_LIST_SIZE, header_block)
    if client:
        memcpy(room, frames_preface(), PREFACE_SIZE)
        writer.size = PREFACE_SIZE
        _setting(pairs, &count, SETTING_ENABLE_PUSH, 0)
    else:
        _setting(pairs, &count, SETTING_MAX_CONCURRENT_STREAMS, MOST_STREAMS)
        _setting(pairs, &count, SETTING_ENABLE_CONNECT_PROTOCOL, 1)
        _setting(pairs, &count, SETTING_NO_RFC7540_PRIORITIES, 1)
    frame_settings(&writer, pairs, count)
    frame_window(&writer, 0, connection.window - DEFAULT_WINDOW)
    connection.acks_awaited = 1
    _send(connection, &writer)


cdef void h2_free(H2Connection* connection) noexcept nogil:
    """Forget the connection; its streams have to be released before."""
    frames_free(&connection.frames)
    hpack_table_free(&connection.table)
    queue_clear(&connection.out)
    connection.worker.window_room += connection.grown
    connection.grown = 0


cdef void h2_fail(H2Connection* connection, uint32_t code) noexcept nogil:
    """End the connection by one GOAWAY; its owner aborts the streams, writes what waits and closes."""
    cdef char room[32]
    cdef Writer writer
    if connection.failed:
        return
    _small(&writer, room, sizeof(room))
    frame_goaway(&writer, 0 if connection.client else min(connection.highest, connection.refused_above), code)
    _send(connection, &writer)
    connection.failed = 1
    connection.error = code


# --- the table of streams ---

cdef inline H2Stream** _bucket(H2Connection* connection, uint32_t id) noexcept nogil:
    return &connection.buckets[(id >> 1) & (BUCKETS - 1)]


cdef H2Stream* _find(H2Connection* connection, uint32_t id) noexcept nogil:
    cdef H2Stream* stream = _bucket(connection, id)[0]
    while stream != NULL and stream.id != id:
        stream = stream.next_in_bucket
    return stream


cdef H2Stream* _add(H2Connection* connection, uint32_t id) noexcept nogil:
    """A new stream in the table; NULL without memory."""
    cdef H2Worker* worker = connection.worker
    cdef H2Stream* stream = worker.free
    cdef H2Stream** bucket
    if stream != NULL:
        worker.free = stream.next_in_bucket
        memset(stream, 0, sizeof(H2Stream))
    else:
        stream = <H2Stream*> calloc(1, sizeof(H2Stream))
        if stream == NULL:
            return NULL
    bucket = _bucket(connection, id)
    stream.next_in_bucket = bucket[0]
    bucket[0] = stream
    stream.id = id
    stream.length_left = -1
    stream.window = STREAM_WINDOW
    stream.receive_window = STREAM_WINDOW
    stream.given_at = connection.worker.now
    connection.live += 1
    return stream


cdef void _remember(H2Connection* connection, uint32_t id, bint by_us) noexcept nogil:
    connection.ended[connection.ended_at] = id | (BY_US if by_us else 0)
    connection.ended_at = (connection.ended_at + 1) & (ENDED - 1)


cdef uint32_t* _ended(H2Connection* connection, uint32_t id) noexcept nogil:
    """Where an ended stream is remembered; NULL when it is not."""
    cdef uint32_t i
    for i in range(ENDED):
        if connection.ended[i] & ~<uint32_t> BY_US == id:
            return &connection.ended[i]
    return NULL


cdef bint _ignored(H2Connection* connection, uint32_t id) noexcept nogil:
    """Whether what comes for a stream that is not in the table was sent before its peer knew better."""
    cdef uint32_t* ended = _ended(connection, id)
    return id > connection.refused_above or (ended != NULL and ended[0] & <uint32_t> BY_US)


cdef inline bint _is_idle(const H2Connection* connection, uint32_t id) noexcept nogil:
    return id > connection.highest or id & 1 == 0


cdef inline bint _only_the_end_is_missing(const H2Connection* connection, const H2Stream* stream) noexcept nogil:
    """All bytes of a request which has told its length have come. Many clients send END_STREAM in a frame
    of its own, which an answer may overtake: a reset would be right (RFC 9113 8.1), but some (curl) then
    throw away the answer."""
    return not connection.client and stream.length_left == 0 and not stream.remote_ended and not stream.reset


cdef void h2_release(H2Connection* connection, H2Stream* stream) noexcept nogil:
    """The owner has let go of a stream; one that has not ended is reset."""
    cdef H2Stream** link = _bucket(connection, stream.id)
    cdef uint32_t grown = stream.window - STREAM_WINDOW
    cdef bint end_to_come = _only_the_end_is_missing(connection, stream)
    if not stream.reset and not (stream.local_ended and (stream.remote_ended or end_to_come)):
        h2_reset(connection, stream, H2_CANCEL if connection.client else H2_INTERNAL_ERROR, False)
    _unready(connection, stream)
    queue_clear(&stream.output)
    queue_clear(&stream.trailers)
    _credit_connection(connection, stream.held)
    connection.grown -= grown
    connection.worker.window_room += grown
    while link[0] != stream:
        link = &link[0].next_in_bucket
    link[0] = stream.next_in_bucket
    connection.live -= 1
    _remember(connection, stream.id, stream.reset_by_us or end_to_come)
    stream.next_in_bucket = connection.worker.free
    connection.worker.free = stream


# --- what ends a stream ---

cdef void _reset_frame(H2Connection* connection, uint32_t id, uint32_t code) noexcept nogil:
    cdef char room[32]
    cdef Writer writer
    _small(&writer, room, sizeof(room))
    frame_reset(&writer, id, code)
    _send(connection, &writer)


cdef void _stop(H2Connection* connection, H2Stream* stream) noexcept nogil:
    """Nothing more is sent on a stream."""
    stream.reset = 1
    _unready(connection, stream)
    queue_clear(&stream.output)
    queue_clear(&stream.trailers)
    stream.end_queued = 0


cdef bint _blame(H2Connection* connection, const H2Stream* stream) noexcept nogil:
    """Charge the peer for a stream that ended before its time; whether that was once too often."""
    if stream != NULL and (stream.remote_ended if connection.client else stream.local_ended):
        return False  # the response was complete
    if guard_reset(&connection.guard):
        h2_fail(connection, H2_ENHANCE_YOUR_CALM)
        return True
    return False


cdef void h2_reset(H2Connection* connection, H2Stream* stream, uint32_t code, bint blame) noexcept nogil:
    """End a stream by RST_STREAM. `blame`: it is its peer's fault, and counts as such."""
    if stream.reset:
        return
    if blame:
        _blame(connection, stream)
    _stop(connection, stream)
    stream.reset_by_us = 1
    _reset_frame(connection, stream.id, code)


cdef H2EventKind _failed(H2Connection* connection, H2Event* event, uint32_t code) noexcept nogil:
    h2_fail(connection, code)
    event.kind = H2_FAILED
    event.value = connection.error
    return H2_FAILED


cdef H2EventKind _stream_error(H2Connection* connection, H2Stream* stream, H2Event* event, uint32_t code) noexcept nogil:
    """The peer broke a rule of one stream."""
    h2_reset(connection, stream, code, True)
    if connection.failed:
        return _failed(connection, event, connection.error)
    event.kind = H2_ABORTED
    event.stream = stream
    event.value = code
    return H2_ABORTED


cdef H2EventKind _error_without_stream(H2Connection* connection, H2Event* event, uint32_t id, uint32_t code) noexcept nogil:
    """The peer broke a rule of a stream that is not in the table."""
    cdef uint32_t* ended = _ended(connection, id)
    _reset_frame(connection, id, code)
    if ended != NULL:
        ended[0] |= <uint32_t> BY_US
    else:
        _remember(connection, id, True)
    if _blame(connection, NULL):
        return _failed(connection, event, connection.error)
    return H2_NOTHING


# --- windows for what comes ---

cdef void _give(H2Connection* connection, uint32_t id, uint32_t size) noexcept nogil:
    cdef char room[32]
    cdef Writer writer
    _small(&writer, room, sizeof(room))
    frame_window(&writer, id, size)
    _send(connection, &writer)


cdef inline bint _may_grow(const H2Connection* connection, uint32_t window, uint32_t most, uint32_t given_at) noexcept nogil:
    """Whether half a window was used up so fast that the window is what limits the peer.

    A peer that waits for its window uses half of it in half a round trip; twice two are still fast.
    """
    return (
        window < most and connection.worker.window_room >= window
        and connection.worker.now - given_at <= 2 * connection.round_trip + 1
    )


cdef uint32_t _grow(H2Connection* connection, uint32_t* window) noexcept nogil:
    """Double a window; what it grew by."""
    cdef uint32_t more = window[0]
    connection.worker.window_room -= more
    connection.grown += more
    window[0] += more
    return more


cdef void _credit_connection(H2Connection* connection, uint32_t size) noexcept nogil:
    connection.owed += size
    if connection.owed < connection.window // 2 or connection.failed:
        return
    if not connection.client and _may_grow(connection, connection.window, MOST_CONNECTION_WINDOW, connection.given_at):
        connection.owed += _grow(connection, &connection.window)
    connection.given_at = connection.worker.now
    _give(connection, 0, connection.owed)
    connection.receive_window += connection.owed
    connection.owed = 0


cdef void _credit_stream(H2Connection* connection, H2Stream* stream, uint32_t size) noexcept nogil:
    if stream.remote_ended or stream.reset:
        return
    stream.owed += size
    if stream.owed < stream.window // 2:
        return
    # Not while its bytes pile up here: then it is not the window that limits it.
    if stream.held < stream.window // 4 and _may_grow(connection, stream.window, MOST_STREAM_WINDOW, stream.given_at):
        stream.owed += _grow(connection, &stream.window)
    stream.given_at = connection.worker.now
    _give(connection, stream.id, stream.owed)
    stream.receive_window += stream.owed
    stream.owed = 0


cdef void h2_credit(H2Connection* connection, H2Stream* stream, uint32_t size) noexcept nogil:
    """`size` bytes of a stream's DATA have left for where they go: its peer may send as many more.

    In steps of half a window. Who is limited by a window gets twice the window, as long as the worker
    has room: with 64 KiB an upload over 100 ms would reach 0.6 MB/s.
    """
    stream.held -= size
    _credit_connection(connection, size)
    _credit_stream(connection, stream, size)


# --- what comes ---

cdef inline void _ended_there(H2Connection* connection, H2Stream* stream) noexcept nogil:
    """The peer has said all on a stream."""
    stream.remote_ended = 1
    if connection.client:
        guard_complete(&connection.guard)


cdef H2EventKind _on_headers(H2Connection* connection, const FrameEvent* frame, H2Event* event) noexcept nogil:
    cdef HpackResult result = hpack_decode(&connection.table, connection.worker.block, frame.data, frame.size)
    cdef H2Stream* stream
    if result != HPACK_DONE:
        return _failed(
            connection, event, H2_COMPRESSION_ERROR if result == HPACK_BAD
            else H2_ENHANCE_YOUR_CALM if result == HPACK_TOO_MUCH else H2_INTERNAL_ERROR,
        )
    stream = _find(connection, frame.stream)
    event.end = frame.end
    if stream == NULL:
        if connection.client or frame.stream <= connection.highest:
            if _ignored(connection, frame.stream):
                return H2_NOTHING
            # RFC 9113 5.1 and 5.1.1
            return _failed(connection, event, H2_PROTOCOL_ERROR if _ended(connection, frame.stream) == NULL else H2_STREAM_CLOSED)
        return _on_new_stream(connection, frame, event)
    if stream.reset:
        return H2_NOTHING
    if stream.remote_ended:
        return _stream_error(connection, stream, event, H2_STREAM_CLOSED)
    if frame.value:
        return _stream_error(connection, stream, event, frame.value)
    event.stream = stream
    if stream.head_received:
        if not frame.end or stream.length_left > 0:
            return _stream_error(connection, stream, event, H2_PROTOCOL_ERROR)
        event.kind = H2_TRAILERS
    else:
        event.kind = H2_HEAD
    if frame.end:
        _ended_there(connection, stream)
    return event.kind


cdef H2EventKind _on_new_stream(H2Connection* connection, const FrameEvent* frame, H2Event* event) noexcept nogil:
    cdef H2Stream* stream
    connection.highest = frame.stream
    if frame.stream > connection.refused_above:
        return H2_NOTHING  # the peer has been told that nobody listens (RFC 9113 6.8)
    guard_useful(&connection.guard)
    if frame.value:
        return _error_without_stream(connection, event, frame.stream, frame.value)
    if connection.live >= connection.most_streams:
        return _error_without_stream(connection, event, frame.stream, H2_REFUSED_STREAM)
    stream = _add(connection, frame.stream)
    if stream == NULL:
        return _failed(connection, event, H2_INTERNAL_ERROR)
    stream.head_received = 1
    stream.remote_ended = frame.end
    event.stream = stream
    event.kind = H2_HEAD
    return H2_HEAD


cdef H2EventKind _on_data(H2Connection* connection, const FrameEvent* frame, H2Event* event) noexcept nogil:
    cdef H2Stream* stream
    cdef H2EventKind kind
    if frame.first:
        # Windows count the whole frame, padding too (RFC 9113 6.9.1).
        if frame.frame > connection.receive_window:
            return _failed(connection, event, H2_FLOW_CONTROL_ERROR)
        connection.receive_window -= frame.frame
        _credit_connection(connection, frame.padding)
        if frame.frame > frame.padding:
            guard_useful(&connection.guard)
        elif not frame.end and guard_frame(&connection.guard):
            return _failed(connection, event, H2_ENHANCE_YOUR_CALM)
    stream = _find(connection, frame.stream)
    if stream == NULL:
        _credit_connection(connection, frame.size)
        if _is_idle(connection, frame.stream):
            return _failed(connection, event, H2_PROTOCOL_ERROR)
        if _ignored(connection, frame.stream):
            return H2_NOTHING
        if frame.first and guard_frame(&connection.guard):
            return _failed(connection, event, H2_ENHANCE_YOUR_CALM)
        return _error_without_stream(connection, event, frame.stream, H2_STREAM_CLOSED)
    if stream.reset:
        _credit_connection(connection, frame.size)
        return H2_NOTHING
    kind = _check_data(connection, stream, frame, event)
    if kind != H2_NOTHING:
        _credit_connection(connection, frame.size)
        return kind
    if frame.size == 0 and not frame.end:
        return H2_NOTHING
    stream.held += frame.size
    if frame.end:
        _ended_there(connection, stream)
    event.kind = H2_BODY
    event.stream = stream
    event.data = frame.data
    event.size = frame.size
    event.end = frame.end
    return H2_BODY


cdef H2EventKind _check_data(H2Connection* connection, H2Stream* stream, const FrameEvent* frame, H2Event* event) noexcept nogil:
    """Whether a stream may be sent this piece of DATA now."""
    if stream.remote_ended:
        return _stream_error(connection, stream, event, H2_STREAM_CLOSED)
    if not stream.head_received:
        return _stream_error(connection, stream, event, H2_PROTOCOL_ERROR)
    if frame.first:
        if frame.frame > stream.receive_window:
            return _stream_error(connection, stream, event, H2_FLOW_CONTROL_ERROR)
        stream.receive_window -= <int32_t> frame.frame
        _credit_stream(connection, stream, frame.padding)
    if stream.length_left >= 0:
        # More than the content-length, or less (RFC 9113 8.1.1)
        if frame.size > stream.length_left or (frame.end and frame.size != stream.length_left):
            return _stream_error(connection, stream, event, H2_PROTOCOL_ERROR)
        stream.length_left -= frame.size
    return H2_NOTHING


cdef H2EventKind _on_reset(H2Connection* connection, const FrameEvent* frame, H2Event* event) noexcept nogil:
    cdef H2Stream* stream = _find(connection, frame.stream)
    if stream == NULL:
        if _is_idle(connection, frame.stream):
            return _failed(connection, event, H2_PROTOCOL_ERROR)
        return _useless(connection, event)
    if stream.reset:
        return _useless(connection, event)
    if _blame(connection, stream):
        return _failed(connection, event, connection.error)
    _stop(connection, stream)
    event.kind = H2_ABORTED
    event.stream = stream
    event.value = frame.value
    return H2_ABORTED


cdef H2EventKind _useless(H2Connection* connection, H2Event* event) noexcept nogil:
    """A frame that moves nothing."""
    if guard_frame(&connection.guard):
        return _failed(connection, event, H2_ENHANCE_YOUR_CALM)
    return H2_NOTHING


cdef H2EventKind _on_window(H2Connection* connection, const FrameEvent* frame, H2Event* event) noexcept nogil:
    cdef H2Stream* stream
    if guard_window(&connection.guard):
        return _failed(connection, event, H2_ENHANCE_YOUR_CALM)
    if frame.stream == 0:
        connection.send_window += frame.value
        if connection.send_window > MOST_WINDOW:
            return _failed(connection, event, H2_FLOW_CONTROL_ERROR)
        return H2_NOTHING
    stream = _find(connection, frame.stream)
    if stream == NULL:
        return _failed(connection, event, H2_PROTOCOL_ERROR) if _is_idle(connection, frame.stream) else H2_NOTHING
    if stream.reset:
        return H2_NOTHING
    if h2_window(connection, stream) + frame.value > MOST_WINDOW:
        return _stream_error(connection, stream, event, H2_FLOW_CONTROL_ERROR)
    stream.send_more += frame.value
    _make_ready(connection, stream)
    return H2_NOTHING


cdef H2EventKind _on_setting(H2Connection* connection, const FrameEvent* frame, H2Event* event) noexcept nogil:
    if frame.setting == SETTING_INITIAL_WINDOW_SIZE:
        connection.peer_window = frame.value  # every stream's window has changed with it
    elif frame.setting == SETTING_MAX_FRAME_SIZE:
        connection.peer_frame = frame.value
    elif frame.setting == SETTING_MAX_CONCURRENT_STREAMS:
        connection.peer_streams = frame.value
    elif frame.setting == SETTING_ENABLE_CONNECT_PROTOCOL:
        if connection.peer_connect and frame.value == 0:  # RFC 8441 3
            return _failed(connection, event, H2_PROTOCOL_ERROR)
        connection.peer_connect = frame.value == 1
    return H2_NOTHING


cdef H2EventKind _on_settings(H2Connection* connection, H2Event* event) noexcept nogil:
    """The end of a SETTINGS frame."""
    cdef char room[32]
    cdef Writer writer
    cdef H2Stream* stream
    cdef int i
    for i in range(BUCKETS):
        stream = connection.buckets[i]
        while stream != NULL:
            if h2_window(connection, stream) > MOST_WINDOW:
                return _failed(connection, event, H2_FLOW_CONTROL_ERROR)
            _make_ready(connection, stream)
            stream = stream.next_in_bucket
    _small(&writer, room, sizeof(room))
    frame_settings_ack(&writer)
    _send(connection, &writer)
    if connection.settled and guard_frame(&connection.guard):
        return _failed(connection, event, H2_ENHANCE_YOUR_CALM)
    connection.settled = 1
    event.kind = H2_SETTLED
    return H2_SETTLED


cdef H2EventKind _on_ping(H2Connection* connection, const FrameEvent* frame, H2Event* event) noexcept nogil:
    cdef char room[32]
    cdef Writer writer
    _small(&writer, room, sizeof(room))
    frame_ping(&writer, frame.data, True)
    _send(connection, &writer)
    return _useless(connection, event)


cdef H2EventKind _on_stream_error(H2Connection* connection, const FrameEvent* frame, H2Event* event) noexcept nogil:
    """A frame that is wrong by itself."""
    cdef H2Stream* stream = _find(connection, frame.stream)
    if stream != NULL:
        return H2_NOTHING if stream.reset else _stream_error(connection, stream, event, frame.value)
    if _is_idle(connection, frame.stream):
        return _failed(connection, event, frame.value)  # RST_STREAM may not be sent there
    return _useless(connection, event)


cdef H2EventKind _on_frame(H2Connection* connection, const FrameEvent* frame, H2Event* event) noexcept nogil:
    if frame.kind == EVENT_DATA:
        return _on_data(connection, frame, event)
    if frame.kind == EVENT_HEADERS:
        return _on_headers(connection, frame, event)
    if frame.kind == EVENT_WINDOW:
        return _on_window(connection, frame, event)
    if frame.kind == EVENT_RESET:
        return _on_reset(connection, frame, event)
    if frame.kind == EVENT_SETTING:
        return _on_setting(connection, frame, event)
    if frame.kind == EVENT_SETTINGS:
        return _on_settings(connection, event)
    if frame.kind == EVENT_SETTINGS_ACK:
        if connection.acks_awaited == 0:
            return _useless(connection, event)
        connection.acks_awaited -= 1
        return H2_NOTHING
    if frame.kind == EVENT_PING:
        return _on_ping(connection, frame, event)
    if frame.kind == EVENT_PING_ACK:
        if connection.draining == 1:
            _drain_now(connection)
            return H2_NOTHING
        return _useless(connection, event)
    if frame.kind == EVENT_GOAWAY:
        if frame.stream > connection.peer_last:  # RFC 9113 6.8
            return _failed(connection, event, H2_PROTOCOL_ERROR)
        connection.peer_going = 1
        connection.peer_last = frame.stream
        event.kind = H2_GOING_AWAY
        event.value = frame.stream
        return H2_GOING_AWAY if not guard_frame(&connection.guard) else _failed(connection, event, H2_ENHANCE_YOUR_CALM)
    if frame.kind == EVENT_STREAM_ERROR:
        return _on_stream_error(connection, frame, event)
    if frame.kind == EVENT_ERROR:
        return _failed(connection, event, frame.value)
    return _useless(connection, event)  # PRIORITY, and frames nobody knows


cdef H2EventKind h2_receive(H2Connection* connection, const char** data, size_t* size, H2Event* event) noexcept nogil:
    """Take bytes up to the next event; `data` and `size` become what is left of them.

    To be called until it answers H2_NOTHING, which means that all were taken, or H2_FAILED. The fields
    of a block, and a body's bytes, are valid until the next call.
    """
    cdef FrameEvent frame
    cdef H2EventKind kind
    guard_refill(&connection.guard, connection.worker.now)
    if connection.frames.block_stream == 0:
        connection.block_since = connection.worker.now
    while True:
        memset(event, 0, sizeof(H2Event))
        if connection.failed:
            return _failed(connection, event, connection.error)
        if frames_read(&connection.frames, data, size, &frame) == EVENT_MORE:
            return H2_NOTHING
        kind = _on_frame(connection, &frame, event)
        if connection.failed:
            return _failed(connection, event, connection.error)
        if kind != H2_NOTHING:
            return kind


# --- what goes ---

cdef H2Stream* h2_open(H2Connection* connection, void* owner) noexcept nogil:
    """A new stream of ours; NULL when the peer takes none now, or there is no memory.

    Before its SETTINGS have come, a peer may allow but a few: one is tried.
    """
    cdef uint32_t most = min(connection.peer_streams, <uint32_t> MOST_OPENED) if connection.settled else 1
    cdef H2Stream* stream
    if connection.failed or connection.peer_going or connection.live >= most or connection.highest >= LAST_STREAM - 2:
        return NULL
    stream = _add(connection, connection.highest + (2 if connection.highest else 1))
    if stream != NULL:
        connection.highest = stream.id
        stream.owner = owner
    return stream


cdef inline bint _has_output(const H2Stream* stream) noexcept nogil:
    return stream.output.size or stream.trailers.size or stream.end_queued


cdef void _make_ready(H2Connection* connection, H2Stream* stream) noexcept nogil:
    """Put a stream at the end of the ring if it has something that its window allows."""
    if stream.ready or stream.reset or not _has_output(stream):
        return
    if stream.output.size and h2_window(connection, stream) <= 0:
        return
    stream.ready = 1
    if connection.ready == NULL:
        stream.next_ready = stream.previous_ready = stream
        connection.ready = stream
        return
    stream.next_ready = connection.ready
    stream.previous_ready = connection.ready.previous_ready
    stream.previous_ready.next_ready = stream
    connection.ready.previous_ready = stream


cdef void _unready(H2Connection* connection, H2Stream* stream) noexcept nogil:
    if not stream.ready:
        return
    stream.ready = 0
    if stream.next_ready == stream:
        connection.ready = NULL
        return
    stream.previous_ready.next_ready = stream.next_ready
    stream.next_ready.previous_ready = stream.previous_ready
    if connection.ready == stream:
        connection.ready = stream.next_ready


cdef size_t h2_block(H2Connection* connection, Writer* writer) noexcept nogil:
    """Begin a header block, whose fields are to be written next; what `h2_headers` is given."""
    cdef size_t begun = frame_block_begin(writer)
    if not connection.started:
        hpack_start(writer)
    return begun


cdef bint h2_headers(H2Connection* connection, H2Stream* stream, Writer* writer, size_t begun, bint end) noexcept nogil:
    """Send a head, or trailers behind what still waits; `end` ends the stream. False: it had no room.

    Blocks are sent in the order in which they were written: we encode without a table, so one that
    waits for its stream's data may be passed by others.
    """
    cdef Writer whole
    frame_block_end(writer, begun, stream.id, end, min(connection.peer_frame, <uint32_t> FRAME_SIZE))
    if writer.failed:
        return False
    if stream.reset or stream.local_ended:
        return True
    connection.started = 1
    whole.data = writer.data + begun
    whole.size = writer.size - begun
    if stream.output.size:
        if queue_append(&stream.trailers, whole.data, whole.size) < 0:
            h2_fail(connection, H2_INTERNAL_ERROR)
        stream.end_queued = end
        return True
    _send(connection, &whole)
    if end:
        _ended_here(connection, stream)
    return True


cdef void _ended_here(H2Connection* connection, H2Stream* stream) noexcept nogil:
    """We have said all on a stream."""
    stream.local_ended = 1
    stream.end_queued = 0
    if not connection.client:
        guard_complete(&connection.guard)
        if not stream.remote_ended and not stream.reset and not _only_the_end_is_missing(connection, stream):
            # The rest of the request is not wanted (RFC 9113 8.1).
            _stop(connection, stream)
            stream.reset_by_us = 1
            _reset_frame(connection, stream.id, H2_NO_ERROR)


cdef void _data_frame(H2Connection* connection, H2Stream* stream, const char* data, size_t size, bint end) noexcept nogil:
    """Queue the frame of bytes that lie together."""
    cdef char room[16]
    cdef Writer writer
    _small(&writer, room, sizeof(room))
    frame_head(&writer, <uint32_t> size, FRAME_DATA, FLAG_END_STREAM if end else 0, stream.id)
    _send(connection, &writer)
    if size and not connection.failed and queue_append(&connection.out, data, size) < 0:
        connection.failed = 1
        connection.error = H2_INTERNAL_ERROR
    _sent(connection, stream, size)


cdef void _sent(H2Connection* connection, H2Stream* stream, size_t size) noexcept nogil:
    stream.send_more -= size
    connection.send_window -= size
    stream.taken += <uint32_t> size
    connection.guard.windows += WINDOWS_FOR_DATA
    if connection.guard.windows > 1000000:
        connection.guard.windows = 1000000


cdef inline size_t _allowed(const H2Connection* connection, const H2Stream* stream) noexcept nogil:
    """Bytes the next frame of a stream may have."""
    cdef int64_t most = min(connection.send_window, h2_window(connection, stream))
    return <size_t> min(most, <int64_t> connection.data_size) if most > 0 else 0


cdef void h2_data(H2Connection* connection, H2Stream* stream, const char* data, size_t size, bint end) noexcept nogil:
    """Send bytes of a body, in the stream's order; `end` ends the stream.

    What may go now becomes frames at once, unless others wait for their turn; the rest waits in
    `output`, which the caller has to bound.
    """
    cdef size_t part
    if stream.reset or stream.local_ended or stream.end_queued or connection.failed:
        return
    while size and stream.output.size == 0 and connection.ready == NULL and connection.out.size < OUT_DATA:
        part = min(_allowed(connection, stream), size)
        if part == 0:
            break
        _data_frame(connection, stream, data, part, end and part == size)
        data += part
        size -= part
        if size == 0 and end:
            _ended_here(connection, stream)
            return
    if size:
        if stream.output.size == 0:
            stream.waits_since = connection.worker.now
            stream.taken = 0
        if queue_append(&stream.output, data, size) < 0:
            h2_fail(connection, H2_INTERNAL_ERROR)
            return
    if end:
        if stream.output.size == 0:
            _data_frame(connection, stream, NULL, 0, True)
            _ended_here(connection, stream)
            return
        stream.end_queued = 1
    _make_ready(connection, stream)


cdef void _queued_frame(H2Connection* connection, H2Stream* stream, size_t size) noexcept nogil:
    """Queue a frame of the first `size` bytes that wait."""
    cdef char room[16]
    cdef Writer writer
    cdef Chunk* chunk = stream.output.first
    cdef bint end = size == stream.output.size and stream.end_queued and stream.trailers.size == 0
    cdef size_t left = size, part
    _small(&writer, room, sizeof(room))
    frame_head(&writer, <uint32_t> size, FRAME_DATA, FLAG_END_STREAM if end else 0, stream.id)
    _send(connection, &writer)
    while left and not connection.failed:
        part = min(left, <size_t> (chunk.end - chunk.start))
        if queue_append(&connection.out, chunk_data(chunk) + chunk.start, part) < 0:
            connection.failed = 1
            connection.error = H2_INTERNAL_ERROR
        left -= part
        chunk = chunk.next
    queue_consume(&stream.output, size)
    _sent(connection, stream, size)


cdef void _finish_output(H2Connection* connection, H2Stream* stream) noexcept nogil:
    """The data of a stream has been sent; what stands behind it follows."""
    cdef Chunk* chunk = stream.trailers.first
    _unready(connection, stream)
    while chunk != NULL and not connection.failed:
        if queue_append(&connection.out, chunk_data(chunk) + chunk.start, chunk.end - chunk.start) < 0:
            connection.failed = 1
            connection.error = H2_INTERNAL_ERROR
        chunk = chunk.next
    queue_clear(&stream.trailers)
    if stream.end_queued:
        _ended_here(connection, stream)


cdef void h2_schedule(H2Connection* connection) noexcept nogil:
    """Cut waiting data into frames while little waits for the socket: one of each stream in turn."""
    cdef H2Stream* stream
    cdef size_t size
    while connection.ready != NULL and connection.out.size < OUT_DATA and not connection.failed:
        stream = connection.ready
        size = min(_allowed(connection, stream), stream.output.size)
        if size == 0:
            if connection.send_window <= 0:
                return
            _unready(connection, stream)
            continue
        _queued_frame(connection, stream, size)
        if stream.output.size == 0:
            _finish_output(connection, stream)
        elif h2_window(connection, stream) <= 0:
            _unready(connection, stream)
        else:
            connection.ready = stream.next_ready


# --- the end of a connection, and time ---

cdef void h2_drain(H2Connection* connection) noexcept nogil:
    """Announce that the connection will end (RFC 9113 6.8).

    The first GOAWAY names no stream, so that those on their way are still taken; the second follows
    when the peer has answered a PING, or after DRAIN_PATIENCE.
    """
    cdef char room[64]
    cdef Writer writer
    if connection.draining or connection.failed:
        return
    connection.draining = 1
    connection.drain_since = connection.worker.now
    _small(&writer, room, sizeof(room))
    frame_goaway(&writer, LAST_STREAM, H2_NO_ERROR)
    frame_ping(&writer, DRAIN_PING, False)
    _send(connection, &writer)


cdef void _drain_now(H2Connection* connection) noexcept nogil:
    cdef char room[32]
    cdef Writer writer
    connection.draining = 2
    connection.refused_above = connection.highest
    _small(&writer, room, sizeof(room))
    frame_goaway(&writer, connection.highest, H2_NO_ERROR)
    _send(connection, &writer)


cdef bint h2_drained(const H2Connection* connection) noexcept nogil:
    """Whether nothing is left to be done before the connection closes."""
    return (connection.draining == 2 or connection.failed or connection.peer_going) and connection.live == 0


cdef H2Stream* h2_overdue(H2Connection* connection) noexcept nogil:
    """Whether the peer has kept us waiting too long; to be asked about once a second.

    The connection fails, or the stream is answered which has taken too little: it has been reset, and
    its owner has to abort it.
    """
    cdef uint32_t now = connection.worker.now
    cdef H2Stream* stream
    cdef int i
    if connection.failed:
        return NULL
    if now - connection.since >= PATIENCE and (not connection.settled or connection.acks_awaited):
        h2_fail(connection, H2_SETTINGS_TIMEOUT)
        return NULL
    if connection.frames.block_stream and now - connection.block_since >= PATIENCE:
        h2_fail(connection, H2_ENHANCE_YOUR_CALM)
        return NULL
    if connection.draining == 1 and now - connection.drain_since >= DRAIN_PATIENCE:
        _drain_now(connection)
    for i in range(BUCKETS):
        stream = connection.buckets[i]
        while stream != NULL:
            if stream.output.size and not stream.reset and now - stream.waits_since >= (SLOW * 10 if stream.long_lived else SLOW):
                if stream.taken < SLOW_BYTES:
                    h2_reset(connection, stream, H2_CANCEL, True)
                    return stream
                stream.waits_since = now
                stream.taken = 0
            stream = stream.next_in_bucket
    return NULL
