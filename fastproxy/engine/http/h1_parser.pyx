"""One direction of a connection being parsed: llhttp plus what its callbacks collect.

Idea: the bytes of a head are contiguous in a window. llhttp reports spans of them, and we keep only
offsets, so a head may arrive in any number of pieces. A head that is complete in one read lives in
the worker's shared window; an incomplete one is copied into a private window which grows up to
the limit, so a slow connection holds little more than what it has sent.

llhttp pauses at the end of the headers and at the end of the message. Body bytes are decoded in
place: decoding only ever removes framing, so the pieces are moved together at the front of the read
buffer, and whoever forwards them sees one contiguous piece however small the chunks were.

What llhttp accepts and a proxy must not (`http-safety.md` 2) is counted here where it concerns
framing: the digits of a chunk size, the bytes of chunk extensions, the trailers.

Framing bytes are counted as the gap between the end of one piece of body and the start of the next.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from fastproxy.engine.http.fields cimport TRAILER_BLOCK, Field, Trailers, Window, window_more_fields
from fastproxy.engine.http.llhttp cimport (
    HPE_INVALID_METHOD, HPE_OK, HPE_PAUSED, HPE_PAUSED_H2_UPGRADE, HPE_USER,
    HTTP_RESPONSE, LENIENT_SPACES_AFTER_CHUNK_SIZE, llhttp, llhttp_settings_t, llhttp_t,
)

cdef enum:
    CHUNK_DIGITS = 16
    EXTENSION_LIMIT = 4096
    BLANKS_LIMIT = 256

cdef llhttp_settings_t _settings
# Of this process; the largest possible block is the size of `Trailers.data`.
cdef size_t trailer_limit = TRAILER_BLOCK
cdef uint32_t trailer_lines = 32


cdef void wire_limit_trailers(size_t size, uint32_t lines) noexcept nogil:
    """Let messages end with at most so many bytes and lines of trailers."""
    global trailer_limit, trailer_lines
    trailer_limit = min(size, <size_t> TRAILER_BLOCK)
    trailer_lines = lines


# --- callbacks: the head ---

cdef int _on_target(llhttp_t* parser, const char* at, size_t size) noexcept nogil:
    cdef Window* window = (<Wire*> parser).window
    if not window.has_target:
        window.has_target = 1
        window.target_start = <uint32_t> (at - window.data)
    window.target_size += <uint32_t> size
    return 0


cdef int _on_field(llhttp_t* parser, const char* at, size_t size) noexcept nogil:
    cdef Wire* wire = <Wire*> parser
    cdef Window* window = wire.window
    cdef Field* field
    cdef uintptr_t offset
    if wire.headers_done:
        return _on_trailer_name(wire, at, size)
    offset = at - window.data
    if window.count:
        field = &window.fields[window.count - 1]
        if field.value == NULL and <uintptr_t> field.name + field.name_size == offset:
            field.name_size += <uint32_t> size
            return 0
    if window.count == window.fields_capacity or window.count == wire.max_lines:
        if window.count == wire.max_lines or window_more_fields(window) < 0:
            wire.error = WIRE_TOO_LARGE
            return HPE_USER
    field = &window.fields[window.count]
    window.count += 1
    field.name = <char*> offset
    field.name_size = <uint32_t> size
    field.value = NULL
    field.value_size = 0
    field.dropped = 0
    field.added = 0
    return 0


cdef int _on_value(llhttp_t* parser, const char* at, size_t size) noexcept nogil:
    cdef Wire* wire = <Wire*> parser
    cdef Field* field
    if wire.headers_done:
        return _on_trailer_value(wire, at, size)
    field = &wire.window.fields[wire.window.count - 1]
    if field.value == NULL:
        field.value = <char*> (at - wire.window.data)
    field.value_size += <uint32_t> size
    return 0


cdef int _on_headers_complete(llhttp_t* parser) noexcept nogil:
    (<Wire*> parser).headers_done = 1
    return HPE_PAUSED


cdef int _on_message_complete(llhttp_t* parser) noexcept nogil:
    (<Wire*> parser).message_done = 1
    return HPE_PAUSED


# --- callbacks: the body ---

cdef inline void _account(Wire* wire, const char* at) noexcept nogil:
    wire.gap += <uint32_t> (at - wire.mark)
    wire.mark = at


cdef inline int _check_chunk_line(Wire* wire) noexcept nogil:
    """The gap so far holds one size line (and the CRLF of the chunk before it)."""
    if wire.gap > CHUNK_DIGITS + wire.extension_gap + wire.blank_room + (2 if wire.first_chunk else 4):
        wire.error = WIRE_BAD
        return HPE_USER
    return 0


cdef int _on_body(llhttp_t* parser, const char* at, size_t size) noexcept nogil:
    cdef Wire* wire = <Wire*> parser
    if wire.parser.flags & 0x8:  # chunked
        _account(wire, at)
        if wire.gap and _check_chunk_line(wire):
            return HPE_USER
        wire.first_chunk = 0
        wire.gap = 0
        wire.extension_gap = 0
        wire.mark = at + size
    if wire.body + wire.body_size != at:
        memmove(wire.body + wire.body_size, at, size)
    wire.body_size += size
    return 0


cdef int _on_chunk_header(llhttp_t* parser) noexcept nogil:
    """Refuse a chunk when its size is announced, not after it was passed on."""
    cdef Wire* wire = <Wire*> parser
    cdef uint64_t size = parser.content_length
    if size >= <uint64_t> 1 << 63:
        wire.error = WIRE_BAD
        return HPE_USER
    wire.chunked_size += size
    if wire.max_body and wire.chunked_size > wire.max_body:
        wire.error = WIRE_TOO_MUCH
        return HPE_USER
    return 0


cdef int _on_extension(llhttp_t* parser, const char* at, size_t size) noexcept nogil:
    # Two more bytes for `;` or `=` and a quote each: an upper bound is enough for the check.
    cdef Wire* wire = <Wire*> parser
    cdef size_t i
    wire.extension_gap += <uint32_t> size + 4
    wire.extension_size += <uint32_t> size + 2
    for i in range(size):
        if <uint8_t> at[i] < 0x20 or at[i] == 0x7F:
            wire.error = WIRE_BAD
            return HPE_USER
    if wire.extension_size > EXTENSION_LIMIT:
        wire.error = WIRE_BAD
        return HPE_USER
    return 0


# --- callbacks: trailers, which never become header fields ---

cdef int _trailer_put(Wire* wire, const char* at, size_t size) noexcept nogil:
    if wire.trailers == NULL:
        wire.trailers = <Trailers*> malloc(sizeof(Trailers))
        if wire.trailers == NULL:
            wire.error = WIRE_BAD
            return HPE_USER
        wire.trailers.size = 0
        wire.trailers.lines = 0
    if wire.trailers.size + size > trailer_limit:
        wire.error = WIRE_BAD
        return HPE_USER
    memcpy(wire.trailers.data + wire.trailers.size, at, size)
    wire.trailers.size += <uint32_t> size
    return 0


cdef int _on_trailer_name(Wire* wire, const char* at, size_t size) noexcept nogil:
    if wire.in_trailer_value or wire.trailers == NULL:
        if wire.trailers != NULL and _end_trailer(wire):
            return HPE_USER
    return _trailer_put(wire, at, size)


cdef int _on_trailer_value(Wire* wire, const char* at, size_t size) noexcept nogil:
    return _trailer_put(wire, at, size)


cdef int _on_field_complete(llhttp_t* parser) noexcept nogil:
    cdef Wire* wire = <Wire*> parser
    if not wire.headers_done:
        return 0
    wire.in_trailer_value = 1
    return _trailer_put(wire, ": ", 2)


cdef int _end_trailer(Wire* wire) noexcept nogil:
    cdef Trailers* trailers = wire.trailers
    wire.in_trailer_value = 0
    trailers.lines += 1
    if trailers.lines > trailer_lines:
        wire.error = WIRE_BAD
        return HPE_USER
    return _trailer_put(wire, "\r\n", 2)


cdef bint _forbidden_trailer(const char* line, size_t size) noexcept nogil:
    """Framing in a trailer is an attack (RFC 9110 6.5.1)."""
    return (
        _named(line, size, "content-length:", 15) or _named(line, size, "transfer-encoding:", 18)
        or _named(line, size, "content_length:", 15) or _named(line, size, "transfer_encoding:", 18)
    )


cdef bint _named(const char* line, size_t size, const char* name, size_t name_size) noexcept nogil:
    cdef size_t i
    if size < name_size:
        return False
    for i in range(name_size):
        if (line[i] | 0x20) != (name[i] | 0x20):
            return False
    return True


cdef int _check_trailers(Wire* wire) noexcept nogil:
    cdef Trailers* trailers = wire.trailers
    cdef size_t start = 0, end
    if trailers == NULL:
        return 0
    if wire.in_trailer_value and _end_trailer(wire):
        return WIRE_BAD
    while start < trailers.size:
        end = start
        while trailers.data[end] != c'\n':
            end += 1
        if _forbidden_trailer(trailers.data + start, end - start):
            return WIRE_BAD
        start = end + 1
    return 0


# --- windows ---


# --- the wire ---

cdef void wire_init(Wire* wire, int kind) noexcept nogil:
    """Start to read messages of a kind (HTTP_REQUEST or HTTP_RESPONSE)."""
    memset(wire, 0, sizeof(Wire))
    wire.max_lines = 128
    llhttp().init(&wire.parser, kind, &_settings)
    if kind == HTTP_RESPONSE:
        # Endpoints pad chunk sizes, and nobody is misled by it (http-safety.md 24).
        wire.parser.lenient_flags = LENIENT_SPACES_AFTER_CHUNK_SIZE
        wire.blank_room = BLANKS_LIMIT


cdef void wire_next(Wire* wire) noexcept nogil:
    """Forget the finished message; the next byte starts a new one."""
    llhttp().reset(&wire.parser)
    wire.headers_done = 0
    wire.message_done = 0
    wire.mending = 0
    wire.skip_body = 0
    wire.error = 0
    wire.window = NULL
    wire_free(wire)


cdef void wire_free(Wire* wire) noexcept nogil:
    if wire.trailers != NULL:
        free(wire.trailers)
        wire.trailers = NULL


cdef int _error(Wire* wire, int code) noexcept nogil:
    if wire.error:
        return wire.error
    if code == HPE_INVALID_METHOD:
        return WIRE_UNKNOWN_METHOD
    if code == HPE_PAUSED_H2_UPGRADE:
        return WIRE_VERSION
    return WIRE_BAD


cdef int wire_head(Wire* wire, uint32_t start) noexcept nogil:
    """Parse the window's bytes from `start` on; WIRE_DONE when the head is complete."""
    cdef Window* window = wire.window
    cdef int code = llhttp().execute(&wire.parser, window.data + start, window.used - start)
    if code == HPE_OK:
        return WIRE_MORE
    if code == HPE_PAUSED and wire.headers_done:
        window.head_size = <uint32_t> (wire.parser.error_pos - window.data)
        wire.gap = 0
        wire.extension_gap = 0
        wire.extension_size = 0
        wire.chunked_size = 0
        wire.first_chunk = 1
        wire.in_trailer_value = 0
        return WIRE_DONE
    return _error(wire, code)


cdef int wire_body(Wire* wire, char* data, size_t size, size_t* consumed) noexcept nogil:
    """Decode body bytes in place at the front of `data`; `wire.body`, `wire.body_size` hold them.

    WIRE_DONE at the end of the message (`consumed` bytes belong to it), WIRE_MORE, or an error. Also
    to be called with size 0 right after a head, so that a message without body can complete.
    """
    cdef int code
    wire.body = data
    wire.body_size = 0
    wire.mark = data
    consumed[0] = size
    if wire.parser.error == HPE_PAUSED:
        llhttp().resume(&wire.parser)
    code = llhttp().execute(&wire.parser, data, size)
    if wire.message_done:
        consumed[0] = wire.parser.error_pos - data
        if wire.parser.flags & 0x8:
            _account(wire, data + consumed[0])
            if wire.trailers == NULL and wire.gap > (
                CHUNK_DIGITS + wire.extension_gap + wire.blank_room + (4 if wire.first_chunk else 6)
            ):
                return WIRE_BAD
        return _check_trailers(wire) or WIRE_DONE
    if code == HPE_OK:
        if wire.parser.flags & 0x8:
            _account(wire, data + size)
            # a size line that never ends must not be read for ever
            if wire.trailers == NULL and wire.gap > CHUNK_DIGITS + wire.extension_gap + wire.blank_room + 16:
                return WIRE_BAD
        return WIRE_MORE
    return _error(wire, code)


cdef int wire_finish(Wire* wire) noexcept nogil:
    """The peer has closed: WIRE_DONE when that ends the message, else WIRE_BAD."""
    if not wire.headers_done:
        return WIRE_BAD
    if wire.parser.error == HPE_PAUSED:
        llhttp().resume(&wire.parser)
    llhttp().finish(&wire.parser)
    return WIRE_DONE if wire.message_done else WIRE_BAD


_settings.on_url = _on_target
_settings.on_header_field = _on_field
_settings.on_header_value = _on_value
_settings.on_headers_complete = _on_headers_complete
_settings.on_body = _on_body
_settings.on_message_complete = _on_message_complete
_settings.on_header_field_complete = _on_field_complete
_settings.on_chunk_header = _on_chunk_header
_settings.on_chunk_extension_name = _on_extension
_settings.on_chunk_extension_value = _on_extension
