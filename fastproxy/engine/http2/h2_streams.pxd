"""One HTTP/2 connection as the protocol sees it, both roles. See h2_streams.pyx."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from fastproxy.engine.loop.buffers cimport Queue
from fastproxy.engine.http.writer cimport Writer
from fastproxy.engine.http2.h2_frames cimport FrameReader
from fastproxy.engine.http2.h2_guard cimport Guard
from fastproxy.engine.http2.hpack cimport HpackBlock, HpackTable

cdef enum:
    MOST_STREAMS = 128  # SETTINGS_MAX_CONCURRENT_STREAMS, ours
    MOST_OPENED = 100  # streams we open on one connection, if its peer allows as many
    STREAM_WINDOW = 65536
    MOST_STREAM_WINDOW = 1 << 20
    CONNECTION_WINDOW = 1 << 20  # towards clients
    MOST_CONNECTION_WINDOW = 1 << 22
    ENDPOINT_WINDOW = 128 * 65536  # of a connection to an endpoint: no client may block another
    BUCKETS = 64
    ENDED = 64  # streams remembered after their end
    OUT_DATA = 64 * 1024  # DATA is cut into frames while less than this waits for the socket
    OUT_CHOKED = 128 * 1024  # more waiting than this: nothing more is read
    PATIENCE = 10000  # ms for a preface, SETTINGS, their ACK, the end of a header block, an answer to PING
    SLOW = 60000  # ms in which a stream with waiting data has to take SLOW_BYTES
    SLOW_BYTES = 4096
    DRAIN_PATIENCE = 1000  # ms between both GOAWAY at most

cdef enum H2EventKind:
    H2_NOTHING  # the input is used up
    H2_FAILED  # the connection: GOAWAY is waiting to be written, `value` is its code
    H2_HEAD  # of a request or response; its fields are the worker's block
    H2_TRAILERS  # as H2_HEAD
    H2_BODY  # `data`, `size`
    H2_ABORTED  # the stream ended early, by its peer or by its peer's error; `value` is the code
    H2_SETTLED  # SETTINGS have been taken
    H2_GOING_AWAY  # the peer takes no streams above `value`

cdef struct H2Event:
    H2EventKind kind
    H2Stream* stream
    const char* data  # valid until the next call
    uint32_t size
    uint32_t value
    uint8_t end  # the peer has ended the stream

cdef struct H2Stream:
    H2Stream* next_in_bucket
    H2Stream* next_ready  # a ring of those with something to send
    H2Stream* previous_ready
    void* owner
    Queue output  # data, not cut into frames yet
    Queue trailers  # as frames, for when `output` is empty
    int64_t send_more  # window in excess of the peer's initial one
    int64_t length_left  # of the content-length the peer has promised; -1 = none
    int32_t receive_window  # what the peer may still send
    uint32_t window  # what it may have on the way at most
    uint32_t owed  # of it, to be given back
    uint32_t held  # bytes handed over and not given back
    uint32_t given_at  # ms; when the peer was last given back some
    uint32_t waits_since  # ms; data has been waiting since
    uint32_t taken  # bytes since then
    uint32_t id
    uint8_t head_received  # the peer's (final) head
    uint8_t remote_ended
    uint8_t local_ended
    uint8_t end_queued  # behind `output` and `trailers`
    uint8_t reset  # by either side: nothing more is sent, and what still comes is ignored
    uint8_t reset_by_us
    uint8_t ready
    uint8_t long_lived  # gRPC: silence is no fault

cdef struct H2Worker:
    # What the connections of one worker share.
    HpackBlock* block
    H2Stream* free  # streams to be used again
    int64_t window_room  # bytes by which windows may still grow
    uint32_t now  # ms; the owner sets it every turn

cdef struct H2Connection:
    H2Worker* worker
    FrameReader frames
    HpackTable table
    Guard guard
    Queue out  # frames, in the order of the wire
    H2Stream* buckets[BUCKETS]
    H2Stream* ready
    int64_t send_window
    int64_t receive_window
    uint32_t window  # as a stream's
    uint32_t owed
    uint32_t given_at
    uint32_t round_trip  # ms, as the owner has measured it
    uint32_t grown  # of the worker's room, by windows of this connection and its streams
    uint32_t peer_window  # SETTINGS_INITIAL_WINDOW_SIZE
    uint32_t peer_frame  # SETTINGS_MAX_FRAME_SIZE
    uint32_t peer_streams  # SETTINGS_MAX_CONCURRENT_STREAMS
    uint32_t data_size  # payload of a DATA frame at most
    uint32_t most_streams
    uint32_t live  # streams in the table
    uint32_t highest  # id of a stream that either side has opened
    uint32_t refused_above  # ids above it have been told to come again elsewhere
    uint32_t peer_last  # of the peer's GOAWAY
    uint32_t since  # ms; start of what PATIENCE is for
    uint32_t block_since
    uint32_t drain_since
    uint32_t ended[ENDED]  # ids; highest bit: reset by us
    uint32_t ended_at
    uint32_t error
    uint8_t client
    uint8_t failed
    uint8_t draining  # 1: announced, 2: the last id has been told
    uint8_t settled
    uint8_t acks_awaited
    uint8_t started  # the encoder has given up its table
    uint8_t peer_going
    uint8_t peer_connect  # SETTINGS_ENABLE_CONNECT_PROTOCOL

cdef int h2_worker_init(H2Worker* worker, uint32_t header_block) noexcept nogil
cdef void h2_worker_free(H2Worker* worker) noexcept nogil

cdef void h2_init(H2Connection* connection, H2Worker* worker, bint client, uint32_t header_block, uint32_t data_size) noexcept nogil
cdef void h2_free(H2Connection* connection) noexcept nogil
cdef H2EventKind h2_receive(H2Connection* connection, const char** data, size_t* size, H2Event* event) noexcept nogil
cdef H2Stream* h2_open(H2Connection* connection, void* owner) noexcept nogil
cdef size_t h2_block(H2Connection* connection, Writer* writer) noexcept nogil
cdef bint h2_headers(H2Connection* connection, H2Stream* stream, Writer* writer, size_t begun, bint end) noexcept nogil
cdef void h2_data(H2Connection* connection, H2Stream* stream, const char* data, size_t size, bint end) noexcept nogil
cdef void h2_credit(H2Connection* connection, H2Stream* stream, uint32_t size) noexcept nogil
cdef void h2_reset(H2Connection* connection, H2Stream* stream, uint32_t code, bint blame) noexcept nogil
cdef void h2_release(H2Connection* connection, H2Stream* stream) noexcept nogil
cdef void h2_schedule(H2Connection* connection) noexcept nogil
cdef void h2_fail(H2Connection* connection, uint32_t code) noexcept nogil
cdef void h2_drain(H2Connection* connection) noexcept nogil
cdef bint h2_drained(const H2Connection* connection) noexcept nogil
cdef H2Stream* h2_overdue(H2Connection* connection) noexcept nogil

cdef inline bint h2_choked(const H2Connection* connection) noexcept nogil:
    """Whether so much waits for the peer to read that nothing more of it should be read."""
    return connection.out.size > OUT_CHOKED

cdef inline int64_t h2_window(const H2Connection* connection, const H2Stream* stream) noexcept nogil:
    """Bytes the stream may send; negative after the peer has made it smaller (RFC 9113 6.9.2)."""
    return stream.send_more + connection.peer_window
