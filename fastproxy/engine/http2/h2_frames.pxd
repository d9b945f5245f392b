"""Frames of HTTP/2, both directions and both roles. See h2_frames.pyx."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.engine.http.writer cimport Writer

cdef enum:
    FRAME_HEAD = 9  # bytes
    FRAME_SIZE = 16384  # SETTINGS_MAX_FRAME_SIZE, ours and a peer's least
    MOST_FRAME_SIZE = 16777215
    MOST_WINDOW = 0x7FFFFFFF
    PREFACE_SIZE = 24
    MOST_CONTINUATIONS = 8

cdef enum FrameType:
    FRAME_DATA
    FRAME_HEADERS
    FRAME_PRIORITY
    FRAME_RST_STREAM
    FRAME_SETTINGS
    FRAME_PUSH_PROMISE
    FRAME_PING
    FRAME_GOAWAY
    FRAME_WINDOW_UPDATE
    FRAME_CONTINUATION

cdef enum:
    FLAG_END_STREAM = 0x1
    FLAG_ACK = 0x1
    FLAG_END_HEADERS = 0x4
    FLAG_PADDED = 0x8
    FLAG_PRIORITY = 0x20

cdef enum H2Error:  # RFC 9113 7
    H2_NO_ERROR
    H2_PROTOCOL_ERROR
    H2_INTERNAL_ERROR
    H2_FLOW_CONTROL_ERROR
    H2_SETTINGS_TIMEOUT
    H2_STREAM_CLOSED
    H2_FRAME_SIZE_ERROR
    H2_REFUSED_STREAM
    H2_CANCEL
    H2_COMPRESSION_ERROR
    H2_CONNECT_ERROR
    H2_ENHANCE_YOUR_CALM
    H2_INADEQUATE_SECURITY
    H2_HTTP_1_1_REQUIRED

cdef enum:
    SETTING_HEADER_TABLE_SIZE = 1
    SETTING_ENABLE_PUSH = 2
    SETTING_MAX_CONCURRENT_STREAMS = 3
    SETTING_INITIAL_WINDOW_SIZE = 4
    SETTING_MAX_FRAME_SIZE = 5
    SETTING_MAX_HEADER_LIST_SIZE = 6
    SETTING_ENABLE_CONNECT_PROTOCOL = 8  # RFC 8441
    SETTING_NO_RFC7540_PRIORITIES = 9  # RFC 9218

cdef enum FrameEventKind:
    EVENT_MORE  # the input is used up
    EVENT_ERROR  # of the connection; `value` is its code, and nothing more is read
    EVENT_STREAM_ERROR  # of `stream` only; `value` is its code
    EVENT_DATA  # a piece of a DATA frame
    EVENT_HEADERS  # a complete block: `data`, `size`; `value`: a code to reset the stream with, or 0
    EVENT_PRIORITY
    EVENT_RESET  # `value` is the code
    EVENT_SETTING  # one of them: `setting`, `value`
    EVENT_SETTINGS  # the end of the frame, which is to be acknowledged
    EVENT_SETTINGS_ACK
    EVENT_PING  # `data` is its eight bytes
    EVENT_PING_ACK
    EVENT_GOAWAY  # `stream` is the last one, `value` the code
    EVENT_WINDOW  # `value` more bytes for `stream`, or for the connection
    EVENT_UNKNOWN  # a frame of another type

cdef struct FrameEvent:
    FrameEventKind kind
    uint32_t stream
    uint32_t value
    uint32_t size
    const char* data  # valid until the next call
    uint32_t frame  # DATA: payload of the whole frame, on its first piece
    uint32_t padding  # DATA: of it no data, on its first piece
    uint16_t setting
    uint8_t first  # DATA: the first piece of its frame
    uint8_t end  # DATA, HEADERS: END_STREAM, on the last piece

cdef struct FrameReader:
    char* block  # fragments of a header block that did not come in one piece
    uint32_t block_size
    uint32_t block_capacity
    uint32_t most_block  # bytes of a block's fragments
    uint32_t block_stream  # whose block is open; 0 = none
    uint32_t stream
    uint32_t length  # of the payload
    uint32_t left  # of the payload, still to come, padding included
    uint32_t padding  # at the end of the payload
    uint32_t error  # H2Error; of the block's stream until its end, then of the connection
    uint8_t small[PREFACE_SIZE]  # a head, or a payload of fixed size, that came in pieces
    uint8_t small_used
    uint8_t need  # bytes that have to be there together
    uint8_t stage
    uint8_t type
    uint8_t flags
    uint8_t block_end  # the block's HEADERS had END_STREAM
    uint8_t continuations
    uint8_t client  # we are the client: what comes in is a server's
    uint8_t settled  # the peer's first SETTINGS has come
    uint8_t first

cdef void frames_init(FrameReader* reader, bint client, uint32_t most_block) noexcept nogil
cdef void frames_free(FrameReader* reader) noexcept nogil
cdef FrameEventKind frames_read(FrameReader* reader, const char** data, size_t* size, FrameEvent* event) noexcept nogil

cdef const char* frames_preface() noexcept nogil
cdef void frame_head(Writer* writer, uint32_t size, uint8_t type, uint8_t flags, uint32_t stream) noexcept nogil
cdef void frame_settings(Writer* writer, const uint32_t* pairs, uint32_t count) noexcept nogil
cdef void frame_settings_ack(Writer* writer) noexcept nogil
cdef void frame_ping(Writer* writer, const char* data, bint ack) noexcept nogil
cdef void frame_reset(Writer* writer, uint32_t stream, uint32_t code) noexcept nogil
cdef void frame_goaway(Writer* writer, uint32_t last, uint32_t code) noexcept nogil
cdef void frame_window(Writer* writer, uint32_t stream, uint32_t increment) noexcept nogil
cdef size_t frame_block_begin(Writer* writer) noexcept nogil
cdef void frame_block_end(Writer* writer, size_t begun, uint32_t stream, bint end_stream, uint32_t frame_size) noexcept nogil
