"""Frames of HTTP/2 (RFC 9113 4 and 6), both directions and both roles.

Idea: `frames_read` takes bytes as they came and answers with one event at a time, until they are used
up. Payloads are not collected: DATA is handed on in the pieces in which it arrives, and nothing of a
frame that nobody needs is kept. Only what has to be seen together is copied, and only if it came in
pieces: a frame's head, a payload of fixed size (at most eight bytes), a header block.

Every rule that needs nothing but the frame and the role is enforced here: sizes, stream 0, padding,
what may stand between HEADERS and the end of its block, ranges of settings. What needs a stream's
state is the business of h2_streams.

Invariants
* Memory is at most `most_block` bytes, and only while a block is open.
* After an error nothing more is read: the same error is answered for ever.
* However the input is cut, the events are the same, but for the number of pieces of DATA.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

from fastproxy.engine.http.writer cimport Writer

cdef enum Stage:
    STAGE_PREFACE
    STAGE_HEAD
    STAGE_FIXED  # a payload, or the start of one, of `need` bytes
    STAGE_DATA
    STAGE_BLOCK
    STAGE_SKIP
    STAGE_FAILED

cdef enum:
    SMALLEST_BLOCK = 512

cdef const char* PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


cdef const char* frames_preface() noexcept nogil:
    """The PREFACE_SIZE bytes a client starts with (RFC 9113 3.4)."""
    return PREFACE


cdef void frames_init(FrameReader* reader, bint client, uint32_t most_block) noexcept nogil:
    """Start to read what a client sends, or what a server sends if `client`: we are the other one."""
    memset(reader, 0, sizeof(FrameReader))
    reader.client = client
    reader.most_block = most_block
    reader.stage = STAGE_HEAD if client else STAGE_PREFACE


cdef void frames_free(FrameReader* reader) noexcept nogil:
    free(reader.block)
    reader.block = NULL
    reader.block_capacity = 0


cdef inline uint32_t _number(const uint8_t* data) noexcept nogil:
    return <uint32_t> data[0] << 24 | <uint32_t> data[1] << 16 | <uint32_t> data[2] << 8 | data[3]


cdef FrameEventKind _fail(FrameReader* reader, FrameEvent* event, uint32_t code) noexcept nogil:
    reader.stage = STAGE_FAILED
    reader.error = code
    event.kind = EVENT_ERROR
    event.value = code
    frames_free(reader)
    return EVENT_ERROR


cdef inline FrameEventKind _skip(FrameReader* reader, FrameEvent* event, FrameEventKind kind, uint32_t value) noexcept nogil:
    """An event which the rest of the payload has no part in."""
    reader.stage = STAGE_SKIP
    event.kind = kind
    event.stream = reader.stream
    event.value = value
    return kind


cdef const uint8_t* _together(FrameReader* reader, const char** data, size_t* size, uint32_t need) noexcept nogil:
    """The next `need` bytes in one piece, of the input if they are; NULL when more have to come."""
    cdef const uint8_t* found
    cdef size_t part
    if reader.small_used == 0 and size[0] >= need:
        found = <const uint8_t*> data[0]
        data[0] += need
        size[0] -= need
        return found
    part = min(size[0], <size_t> (need - reader.small_used))
    if part:
        memcpy(reader.small + reader.small_used, data[0], part)
    reader.small_used += <uint8_t> part
    data[0] += part
    size[0] -= part
    if reader.small_used < need:
        return NULL
    reader.small_used = 0
    return reader.small


# --- the head of a frame ---

cdef inline void _fixed(FrameReader* reader, uint32_t need) noexcept nogil:
    reader.need = <uint8_t> need
    reader.stage = STAGE_FIXED


cdef uint32_t _check_head(FrameReader* reader) noexcept nogil:
    """What is wrong with a frame, by its head alone; an H2Error of the connection, or 0."""
    cdef uint32_t size = reader.length
    cdef bint zero = reader.stream == 0
    if not reader.settled and (reader.type != FRAME_SETTINGS or reader.flags & FLAG_ACK):
        return H2_PROTOCOL_ERROR  # RFC 9113 3.4
    if reader.block_stream and (reader.type != FRAME_CONTINUATION or reader.stream != reader.block_stream):
        return H2_PROTOCOL_ERROR  # RFC 9113 6.2
    if size > FRAME_SIZE:
        return H2_FRAME_SIZE_ERROR
    if reader.type == FRAME_DATA:
        return H2_PROTOCOL_ERROR if zero else H2_FRAME_SIZE_ERROR if reader.flags & FLAG_PADDED and size < 1 else 0
    if reader.type == FRAME_HEADERS:
        # Streams are opened by clients only, and pushed streams have been refused by our SETTINGS.
        if zero or reader.stream & 1 == 0:
            return H2_PROTOCOL_ERROR
        if size < _block_prefix(reader):
            return H2_FRAME_SIZE_ERROR
        return H2_ENHANCE_YOUR_CALM if size > reader.most_block else 0
    if reader.type == FRAME_PRIORITY:
        return H2_PROTOCOL_ERROR if zero else 0
    if reader.type == FRAME_RST_STREAM:
        return H2_PROTOCOL_ERROR if zero else H2_FRAME_SIZE_ERROR if size != 4 else 0
    if reader.type == FRAME_SETTINGS:
        if not zero:
            return H2_PROTOCOL_ERROR
        return H2_FRAME_SIZE_ERROR if size % 6 or (reader.flags & FLAG_ACK and size) else 0
    if reader.type == FRAME_PUSH_PROMISE:
        return H2_PROTOCOL_ERROR  # clients cannot, and servers have been told not to (RFC 9113 8.4)
    if reader.type == FRAME_PING:
        return H2_PROTOCOL_ERROR if not zero else H2_FRAME_SIZE_ERROR if size != 8 else 0
    if reader.type == FRAME_GOAWAY:
        return H2_PROTOCOL_ERROR if not zero else H2_FRAME_SIZE_ERROR if size < 8 else 0
    if reader.type == FRAME_WINDOW_UPDATE:
        return H2_FRAME_SIZE_ERROR if size != 4 else 0
    if reader.type == FRAME_CONTINUATION:
        if reader.block_stream == 0:
            return H2_PROTOCOL_ERROR
        if reader.continuations == MOST_CONTINUATIONS or reader.block_size + size > reader.most_block:
            return H2_ENHANCE_YOUR_CALM
    return 0


cdef inline uint32_t _block_prefix(const FrameReader* reader) noexcept nogil:
    """Bytes of a HEADERS frame's payload before its fragment."""
    return (1 if reader.flags & FLAG_PADDED else 0) + (5 if reader.flags & FLAG_PRIORITY else 0)


cdef FrameEventKind _begin(FrameReader* reader, FrameEvent* event, const uint8_t* head) noexcept nogil:
    """Take a frame's head; EVENT_MORE when its payload has to be read first."""
    cdef uint32_t error
    reader.length = <uint32_t> head[0] << 16 | <uint32_t> head[1] << 8 | head[2]
    reader.type = head[3]
    reader.flags = head[4]
    reader.stream = _number(head + 5) & 0x7FFFFFFF
    reader.left = reader.length
    reader.padding = 0
    reader.first = 1
    error = _check_head(reader)
    if error:
        return _fail(reader, event, error)
    if reader.type == FRAME_DATA:
        if reader.flags & FLAG_PADDED:
            _fixed(reader, 1)
        else:
            reader.stage = STAGE_DATA
    elif reader.type == FRAME_HEADERS:
        reader.block_stream = reader.stream
        reader.block_end = reader.flags & FLAG_END_STREAM
        reader.block_size = 0
        reader.continuations = 0
        reader.error = 0
        if _block_prefix(reader):
            _fixed(reader, _block_prefix(reader))
        else:
            reader.stage = STAGE_BLOCK
    elif reader.type == FRAME_CONTINUATION:
        reader.continuations += 1
        reader.stage = STAGE_BLOCK
    elif reader.type == FRAME_PRIORITY:
        if reader.length != 5:
            return _skip(reader, event, EVENT_STREAM_ERROR, H2_FRAME_SIZE_ERROR)
        _fixed(reader, 5)
    elif reader.type == FRAME_SETTINGS:
        reader.settled = 1
        if reader.flags & FLAG_ACK:
            return _skip(reader, event, EVENT_SETTINGS_ACK, 0)
        if reader.length == 0:
            return _skip(reader, event, EVENT_SETTINGS, 0)
        _fixed(reader, 6)
    elif reader.type == FRAME_PING or reader.type == FRAME_GOAWAY:
        _fixed(reader, 8)
    elif reader.type == FRAME_RST_STREAM or reader.type == FRAME_WINDOW_UPDATE:
        _fixed(reader, 4)
    else:
        return _skip(reader, event, EVENT_UNKNOWN, reader.type)
    return EVENT_MORE


# --- payloads of fixed size ---

cdef uint32_t _check_setting(const FrameReader* reader, uint32_t setting, uint32_t value) noexcept nogil:
    """RFC 9113 6.5.2, RFC 8441 3, RFC 9218 2.1."""
    if setting == SETTING_ENABLE_PUSH:
        return H2_PROTOCOL_ERROR if value > (0 if reader.client else 1) else 0
    if setting == SETTING_INITIAL_WINDOW_SIZE:
        return H2_FLOW_CONTROL_ERROR if value > MOST_WINDOW else 0
    if setting == SETTING_MAX_FRAME_SIZE:
        return H2_PROTOCOL_ERROR if value < FRAME_SIZE or value > MOST_FRAME_SIZE else 0
    if setting == SETTING_ENABLE_CONNECT_PROTOCOL or setting == SETTING_NO_RFC7540_PRIORITIES:
        return H2_PROTOCOL_ERROR if value > 1 else 0
    return 0


cdef FrameEventKind _fixed_payload(FrameReader* reader, FrameEvent* event, const uint8_t* data) noexcept nogil:
    """Take the `need` bytes of a payload; EVENT_MORE when there is no event yet."""
    cdef uint32_t value, error
    event.stream = reader.stream
    if reader.type == FRAME_DATA:
        # The length of the padding is a byte of the payload itself (RFC 9113 6.1).
        if data[0] > reader.left:
            return _fail(reader, event, H2_PROTOCOL_ERROR)
        reader.padding = data[0]
        reader.stage = STAGE_DATA
        return EVENT_MORE
    if reader.type == FRAME_HEADERS:
        if reader.flags & FLAG_PADDED:
            if data[0] > reader.left:
                return _fail(reader, event, H2_PROTOCOL_ERROR)
            reader.padding = data[0]
            data += 1
        if reader.flags & FLAG_PRIORITY and _number(data) & 0x7FFFFFFF == reader.stream:
            reader.error = H2_PROTOCOL_ERROR  # of the stream; its block has to be decoded all the same
        reader.stage = STAGE_BLOCK
        return EVENT_MORE
    if reader.type == FRAME_SETTINGS:
        event.setting = <uint16_t> (data[0] << 8 | data[1])
        value = _number(data + 2)
        error = _check_setting(reader, event.setting, value)
        if error:
            return _fail(reader, event, error)
        event.kind = EVENT_SETTING
        event.value = value
        return EVENT_SETTING
    value = _number(data)
    if reader.type == FRAME_PRIORITY:
        if value & 0x7FFFFFFF == reader.stream:  # RFC 7540 5.3.1
            return _skip(reader, event, EVENT_STREAM_ERROR, H2_PROTOCOL_ERROR)
        return _skip(reader, event, EVENT_PRIORITY, 0)
    if reader.type == FRAME_RST_STREAM:
        return _skip(reader, event, EVENT_RESET, value)
    if reader.type == FRAME_WINDOW_UPDATE:
        value &= 0x7FFFFFFF
        if value:
            return _skip(reader, event, EVENT_WINDOW, value)
        if reader.stream:
            return _skip(reader, event, EVENT_STREAM_ERROR, H2_PROTOCOL_ERROR)
        return _fail(reader, event, H2_PROTOCOL_ERROR)
    if reader.type == FRAME_PING:
        event.data = <const char*> data
        event.size = 8
        return _skip(reader, event, EVENT_PING_ACK if reader.flags & FLAG_ACK else EVENT_PING, 0)
    event.kind = EVENT_GOAWAY
    event.stream = value & 0x7FFFFFFF
    event.value = _number(data + 4)
    reader.stage = STAGE_SKIP
    return EVENT_GOAWAY


# --- DATA and header blocks ---

cdef FrameEventKind _data(FrameReader* reader, const char** data, size_t* size, FrameEvent* event) noexcept nogil:
    """The next piece of a DATA frame. One whose end has no bytes left is told by an empty piece."""
    cdef uint32_t part = reader.left - reader.padding
    if part > size[0]:
        part = <uint32_t> size[0]
    if part == 0 and reader.left > reader.padding:
        return EVENT_MORE
    if not reader.first and reader.left == reader.padding:  # only padding is left
        part = <uint32_t> min(size[0], <size_t> reader.left)
        reader.left -= part
        reader.padding -= part
        data[0] += part
        size[0] -= part
        if reader.left:
            return EVENT_MORE
        reader.stage = STAGE_HEAD
        if not reader.flags & FLAG_END_STREAM:
            return EVENT_MORE
        part = 0
    event.kind = EVENT_DATA
    event.stream = reader.stream
    event.first = reader.first
    event.frame = reader.length if reader.first else 0
    event.padding = reader.padding + (1 if reader.flags & FLAG_PADDED else 0) if reader.first else 0
    event.data = data[0]
    event.size = part
    reader.first = 0
    reader.left -= part
    data[0] += part
    size[0] -= part
    if reader.stage == STAGE_DATA and reader.left == reader.padding and size[0] >= reader.padding:
        data[0] += reader.padding
        size[0] -= reader.padding
        reader.left = reader.padding = 0
        reader.stage = STAGE_HEAD
    event.end = reader.flags & FLAG_END_STREAM if reader.left == 0 else 0
    return EVENT_DATA


cdef int _keep(FrameReader* reader, const char* data, uint32_t size) noexcept nogil:
    """Append to the block's fragments; -1 without memory."""
    cdef uint32_t capacity = reader.block_capacity
    cdef char* block
    if reader.block_size + size > capacity:
        if capacity == 0:
            capacity = SMALLEST_BLOCK
        while capacity < reader.block_size + size:
            capacity *= 2
        block = <char*> realloc(reader.block, capacity)
        if block == NULL:
            return -1
        reader.block = block
        reader.block_capacity = capacity
    if size:
        memcpy(reader.block + reader.block_size, data, size)
    reader.block_size += size
    return 0


cdef FrameEventKind _block(FrameReader* reader, const char** data, size_t* size, FrameEvent* event) noexcept nogil:
    """The next piece of a fragment; an event when the block is complete."""
    cdef uint32_t part = reader.left - reader.padding
    if part > size[0]:
        part = <uint32_t> size[0]
    event.data = data[0]
    event.size = part
    data[0] += part
    size[0] -= part
    reader.left -= part
    if reader.left > reader.padding or not reader.flags & FLAG_END_HEADERS or reader.block_size:
        if _keep(reader, event.data, part) < 0:
            return _fail(reader, event, H2_INTERNAL_ERROR)
        if reader.left > reader.padding:
            return EVENT_MORE
        event.data = reader.block
        event.size = reader.block_size
    reader.stage = STAGE_SKIP
    if not reader.flags & FLAG_END_HEADERS:
        return EVENT_MORE
    event.kind = EVENT_HEADERS
    event.stream = reader.stream
    event.value = reader.error
    event.end = reader.block_end
    reader.block_stream = 0
    return EVENT_HEADERS


cdef FrameEventKind frames_read(FrameReader* reader, const char** data, size_t* size, FrameEvent* event) noexcept nogil:
    """Read up to the next event; `data` and `size` become what is left of the input.

    To be called until it answers EVENT_MORE, which it does only when `size` is 0, or EVENT_ERROR.
    """
    cdef const uint8_t* found
    cdef FrameEventKind kind
    cdef uint32_t part
    memset(event, 0, sizeof(FrameEvent))
    if reader.block_capacity and reader.block_stream == 0:
        frames_free(reader)  # the block has been handed over by the call before
    while True:
        if reader.stage == STAGE_HEAD:
            found = _together(reader, data, size, FRAME_HEAD)
            if found == NULL:
                return EVENT_MORE
            kind = _begin(reader, event, found)
        elif reader.stage == STAGE_FIXED and reader.left == 0:  # behind the last setting
            reader.stage = STAGE_HEAD
            event.kind = EVENT_SETTINGS
            return EVENT_SETTINGS
        elif reader.stage == STAGE_FIXED:
            found = _together(reader, data, size, reader.need)
            if found == NULL:
                return EVENT_MORE
            reader.left -= reader.need
            kind = _fixed_payload(reader, event, found)
        elif reader.stage == STAGE_DATA:
            kind = _data(reader, data, size, event)
            if kind == EVENT_MORE and reader.stage == STAGE_DATA:
                return EVENT_MORE
        elif reader.stage == STAGE_BLOCK:
            kind = _block(reader, data, size, event)
            if kind == EVENT_MORE and reader.stage == STAGE_BLOCK:
                return EVENT_MORE
        elif reader.stage == STAGE_SKIP:
            part = min(reader.left, <uint32_t> min(size[0], <size_t> MOST_FRAME_SIZE))
            data[0] += part
            size[0] -= part
            reader.left -= part
            if reader.left:
                return EVENT_MORE
            reader.stage = STAGE_HEAD
            kind = EVENT_MORE
        elif reader.stage == STAGE_PREFACE:
            kind = _preface(reader, data, size, event)
            if kind == EVENT_MORE and reader.stage == STAGE_PREFACE:
                return EVENT_MORE
        else:
            event.kind = EVENT_ERROR
            event.value = reader.error
            return EVENT_ERROR
        if kind != EVENT_MORE:
            return kind


cdef FrameEventKind _preface(FrameReader* reader, const char** data, size_t* size, FrameEvent* event) noexcept nogil:
    """What a client starts with, compared as it comes: who sends something else hears of it at once."""
    cdef uint32_t part = <uint32_t> min(size[0], <size_t> (PREFACE_SIZE - reader.small_used))
    if part and memcmp(data[0], PREFACE + reader.small_used, part) != 0:
        return _fail(reader, event, H2_PROTOCOL_ERROR)
    data[0] += part
    size[0] -= part
    reader.small_used += <uint8_t> part
    if reader.small_used == PREFACE_SIZE:
        reader.small_used = 0
        reader.stage = STAGE_HEAD
    return EVENT_MORE


# --- writing ---

cdef inline void _put_number(char* out, uint32_t number) noexcept nogil:
    out[0] = <char> (number >> 24)
    out[1] = <char> (number >> 16)
    out[2] = <char> (number >> 8)
    out[3] = <char> number


cdef inline void _put_head(char* out, uint32_t size, uint8_t type, uint8_t flags, uint32_t stream) noexcept nogil:
    out[0] = <char> (size >> 16)
    out[1] = <char> (size >> 8)
    out[2] = <char> size
    out[3] = <char> type
    out[4] = <char> flags
    _put_number(out + 5, stream)


cdef inline char* _frame(Writer* writer, uint32_t size, uint8_t type, uint8_t flags, uint32_t stream) noexcept nogil:
    """A frame's head, and where its payload goes; NULL when the writer has no room for both."""
    cdef char* out = writer.data + writer.size
    if writer.capacity - writer.size < size + FRAME_HEAD:
        writer.failed = 1
        return NULL
    _put_head(out, size, type, flags, stream)
    writer.size += size + FRAME_HEAD
    return out + FRAME_HEAD


cdef void frame_head(Writer* writer, uint32_t size, uint8_t type, uint8_t flags, uint32_t stream) noexcept nogil:
    """The head of a frame whose `size` bytes of payload come from elsewhere."""
    if writer.capacity - writer.size < FRAME_HEAD:
        writer.failed = 1
        return
    _put_head(writer.data + writer.size, size, type, flags, stream)
    writer.size += FRAME_HEAD


cdef void frame_settings(Writer* writer, const uint32_t* pairs, uint32_t count) noexcept nogil:
    """SETTINGS of `count` pairs of number and value."""
    cdef char* out = _frame(writer, count * 6, FRAME_SETTINGS, 0, 0)
    cdef uint32_t i
    if out == NULL:
        return
    for i in range(count):
        out[0] = <char> (pairs[2 * i] >> 8)
        out[1] = <char> pairs[2 * i]
        _put_number(out + 2, pairs[2 * i + 1])
        out += 6


cdef void frame_settings_ack(Writer* writer) noexcept nogil:
    _frame(writer, 0, FRAME_SETTINGS, FLAG_ACK, 0)


cdef void frame_ping(Writer* writer, const char* data, bint ack) noexcept nogil:
    """PING with eight bytes, or the answer to one."""
    cdef char* out = _frame(writer, 8, FRAME_PING, FLAG_ACK if ack else 0, 0)
    if out != NULL:
        memcpy(out, data, 8)


cdef void frame_reset(Writer* writer, uint32_t stream, uint32_t code) noexcept nogil:
    cdef char* out = _frame(writer, 4, FRAME_RST_STREAM, 0, stream)
    if out != NULL:
        _put_number(out, code)


cdef void frame_goaway(Writer* writer, uint32_t last, uint32_t code) noexcept nogil:
    cdef char* out = _frame(writer, 8, FRAME_GOAWAY, 0, 0)
    if out != NULL:
        _put_number(out, last)
        _put_number(out + 4, code)


cdef void frame_window(Writer* writer, uint32_t stream, uint32_t increment) noexcept nogil:
    cdef char* out = _frame(writer, 4, FRAME_WINDOW_UPDATE, 0, stream)
    if out != NULL:
        _put_number(out, increment)


cdef size_t frame_block_begin(Writer* writer) noexcept nogil:
    """Leave room for the head of HEADERS; the block is written behind it. Returns where it begins."""
    cdef size_t begun = writer.size
    frame_head(writer, 0, FRAME_HEADERS, 0, 0)
    return begun


cdef void frame_block_end(Writer* writer, size_t begun, uint32_t stream, bint end_stream, uint32_t frame_size) noexcept nogil:
    """Make HEADERS, and as many CONTINUATION as it takes, of the block written since `begun`.

    `frame_size` is what the peer takes in one frame. Without room nothing of it stays.
    """
    cdef size_t size = writer.size - begun - FRAME_HEAD, heads, part, i
    cdef uint8_t end = FLAG_END_STREAM if end_stream else 0
    cdef char* out = writer.data + begun
    if writer.failed:
        writer.size = begun
        return
    if size <= frame_size:
        _put_head(out, <uint32_t> size, FRAME_HEADERS, end | FLAG_END_HEADERS, stream)
        return
    heads = (size - 1) // frame_size  # besides the first
    if writer.capacity - writer.size < heads * FRAME_HEAD:
        writer.failed = 1
        writer.size = begun
        return
    writer.size += heads * FRAME_HEAD
    for i in range(heads, 0, -1):  # from the end, where the room is
        part = min(size - i * frame_size, <size_t> frame_size)
        memmove(out + FRAME_HEAD + i * (frame_size + FRAME_HEAD), out + FRAME_HEAD + i * frame_size, part)
        _put_head(
            out + i * (frame_size + FRAME_HEAD), <uint32_t> part, FRAME_CONTINUATION, FLAG_END_HEADERS if i == heads else 0, stream
        )
    _put_head(out, frame_size, FRAME_HEADERS, end, stream)
