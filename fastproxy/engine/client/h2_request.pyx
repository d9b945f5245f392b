"""A header block becomes the canonical request (docs/spec/http2.md 2.1).

What HTTP/2 itself forbids is *malformed* (RFC 9113 8.1.1): the stream is reset, and nothing goes upstream. What is left
is written as the head of an HTTP/1.1 message into the engine's window and read by the parser of those. So there is one
opinion about hosts, paths, lengths and managed fields, whatever a client speaks; it costs a third of a
microsecond. No byte that could end a line gets there: names and values are checked before.

Invariants
* A field is written only if its name is a lower-case token and its value has no control characters.
* The length of the body comes from content-length, or is unknown; nothing else frames a request.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc
from libc.string cimport memcmp, memcpy

from fastproxy.engine.client.h2_exchange cimport exchange_new, exchange_stop
from fastproxy.engine.client.h2_input cimport http2_take
from fastproxy.engine.exchange.answer cimport exchange_refuse
from fastproxy.engine.exchange.end cimport exchange_begin
from fastproxy.engine.exchange.request cimport exchange_request
from fastproxy.engine.http.fields cimport TRAILER_BLOCK, Trailers, Window, window_reset
from fastproxy.engine.http.h1_parser cimport WIRE_DONE, wire_head, wire_next
from fastproxy.engine.http.head cimport (
    KIND_CONNECTION, KIND_CONTENT_LENGTH, KIND_CONTENT_TYPE, KIND_COOKIE, KIND_HOST, KIND_HTTP2_SETTINGS,
    KIND_KEEP_ALIVE, KIND_PROXY_CONNECTION, KIND_TE, KIND_TRANSFER_ENCODING, KIND_UPGRADE, Head, request_head,
    same_text,
)
from fastproxy.engine.http2.h2_frames cimport H2_PROTOCOL_ERROR, H2_REFUSED_STREAM
from fastproxy.engine.http2.h2_streams cimport H2Stream, h2_release, h2_reset
from fastproxy.engine.http2.hpack cimport (
    FLAW_NAME, FLAW_VALUE, PSEUDO_AUTHORITY, PSEUDO_METHOD, PSEUDO_PATH, PSEUDO_PROTOCOL, PSEUDO_SCHEME,
    PSEUDO_UNKNOWN, HpackBlock, HpackField,
)
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_BODY, DEADLINE_CONTINUE, DEADLINE_REQUEST, DEADLINE_WRITE, deadline_set,
)
from fastproxy.engine.stream.stream cimport Engine, Stream

cdef enum:
    MALFORMED = -1
    TOO_LARGE = 431

cdef struct Text:
    # A head that is being written.
    char* at
    char* end

cdef struct Pseudo:
    const HpackField* method
    const HpackField* scheme
    const HpackField* authority
    const HpackField* path
    const HpackField* protocol
    const HpackField* host
    const HpackField* length
    uint32_t lines  # fields but cookies
    bint grpc


cdef inline void _put(Text* text, const char* data, size_t size) noexcept nogil:
    if <size_t> (text.end - text.at) < size:
        text.at = text.end + 1  # remembered as too large
        text.end = text.at - 1
        return
    memcpy(text.at, data, size)
    text.at += size


cdef inline bint _overfull(const Text* text) noexcept nogil:
    return text.at > text.end


cdef inline bint _is_token(const char* data, size_t size) noexcept nogil:
    """A method's name (RFC 9110 5.6.2)."""
    cdef size_t i
    cdef uint8_t byte
    for i in range(size):
        byte = <uint8_t> data[i]
        if not (
            c'a' <= byte <= c'z' or c'A' <= byte <= c'Z' or c'0' <= byte <= c'9' or byte == c'-' or byte == c'_'
            or byte == c'.' or byte == c'!' or byte == c'~' or byte == c'*' or byte == c'+' or byte == c'^'
            or byte == c'#' or byte == c'$' or byte == c'%' or byte == c'&' or byte == c'\'' or byte == c'`'
            or byte == c'|'
        ):
            return False
    return size > 0


cdef inline bint _is(const HpackField* field, const char* text, size_t size) noexcept nogil:
    return field.value_size == size and memcmp(field.value, text, size) == 0


cdef int _pseudo(const HpackField* field, Pseudo* found) noexcept nogil:
    """Take a pseudo-header; each at most once, none empty, none unknown."""
    cdef const HpackField** place = NULL
    if field.kind == PSEUDO_METHOD:
        place = &found.method
    elif field.kind == PSEUDO_SCHEME:
        place = &found.scheme
    elif field.kind == PSEUDO_AUTHORITY:
        place = &found.authority
    elif field.kind == PSEUDO_PATH:
        place = &found.path
    elif field.kind == PSEUDO_PROTOCOL:
        place = &found.protocol
    if place == NULL or place[0] != NULL or field.value_size == 0 or field.flaws:
        return MALFORMED
    place[0] = field
    return 0


cdef int _check(const HpackBlock* block, Pseudo* found) noexcept nogil:
    """0, or MALFORMED."""
    cdef const HpackField* field
    cdef uint32_t i
    cdef bint fields = False
    for i in range(block.count):
        field = &block.fields[i]
        if field.kind >= PSEUDO_METHOD and field.kind <= PSEUDO_UNKNOWN:
            if fields or _pseudo(field, found) != 0:
                return MALFORMED
            continue
        fields = True
        if field.flaws & (FLAW_NAME | FLAW_VALUE):
            return MALFORMED
        found.lines += field.kind != KIND_COOKIE
        if (
            field.kind == KIND_CONNECTION or field.kind == KIND_KEEP_ALIVE or field.kind == KIND_PROXY_CONNECTION
            or field.kind == KIND_TRANSFER_ENCODING or field.kind == KIND_UPGRADE
        ):
            return MALFORMED
        if field.kind == KIND_TE and not same_text(field.value, field.value_size, "trailers", 8):
            return MALFORMED
        if field.kind == KIND_HOST:
            if found.host != NULL:
                return MALFORMED
            found.host = field
        elif field.kind == KIND_CONTENT_LENGTH:
            if found.length != NULL:
                return MALFORMED
            found.length = field
        elif field.kind == KIND_CONTENT_TYPE:
            found.grpc = _is_grpc(field.value, field.value_size)
    return 0


cdef inline bint _is_grpc(const char* value, size_t size) noexcept nogil:
    return size >= 16 and memcmp(value, "application/grpc", 16) == 0 and (
        size == 16 or value[16] == c'+' or value[16] == c';'
    )


cdef int _judge(const Pseudo* found) noexcept nogil:
    """What holds between them; 0, MALFORMED or a status."""
    cdef size_t i
    if found.method == NULL or not _is_token(found.method.value, found.method.value_size) or _is(found.method, "PRI", 3):
        return MALFORMED
    if _is(found.method, "CONNECT", 7):
        if found.protocol == NULL:
            return 501
        if found.scheme == NULL or found.path == NULL or found.authority == NULL or found.length != NULL:
            return MALFORMED
        if not same_text(found.protocol.value, found.protocol.value_size, "websocket", 9):
            return 501
    elif found.protocol != NULL or found.scheme == NULL or found.path == NULL:
        return MALFORMED
    if not _is(found.scheme, "http", 4) and not _is(found.scheme, "https", 5):
        return 400
    if found.authority != NULL and found.host != NULL and not same_text(
        found.authority.value, found.authority.value_size, found.host.value, found.host.value_size
    ):
        return MALFORMED
    if found.path.value[0] != c'/' and not (_is(found.path, "*", 1) and _is(found.method, "OPTIONS", 7)):
        return 400
    for i in range(found.path.value_size):
        if <uint8_t> found.path.value[i] <= 0x20 or found.path.value[i] == 0x7F:
            return 400
    return 0


cdef int64_t _length(const Pseudo* found) noexcept nogil:
    """content-length; -1 without one, -2 when it is none."""
    cdef int64_t length = 0
    cdef uint32_t i
    if found.length == NULL:
        return -1
    if not 0 < found.length.value_size <= 18:
        return -2
    for i in range(found.length.value_size):
        if not c'0' <= found.length.value[i] <= c'9':
            return -2
        length = length * 10 + (found.length.value[i] - c'0')
    return length


cdef void _write(const HpackBlock* block, const Pseudo* found, Text* text) noexcept nogil:
    """The head as HTTP/1.1 would say it."""
    cdef const HpackField* field
    cdef const HpackField* host = found.authority if found.authority != NULL else found.host
    cdef uint32_t i
    cdef bint cookies = False, version = False
    if found.protocol != NULL:
        _put(text, "GET", 3)
    else:
        _put(text, found.method.value, found.method.value_size)
    _put(text, " ", 1)
    _put(text, found.path.value, found.path.value_size)
    _put(text, " HTTP/1.1\r\n", 11)
    if host != NULL:
        _put(text, "host: ", 6)
        _put(text, host.value, host.value_size)
        _put(text, "\r\n", 2)
    for i in range(block.count):
        field = &block.fields[i]
        if field.kind >= PSEUDO_METHOD or field.kind == KIND_HOST or field.kind == KIND_HTTP2_SETTINGS:
            continue
        if field.kind == KIND_COOKIE:
            cookies = True
            continue
        version = version or same_text(field.name, field.name_size, "sec-websocket-version", 21)
        _put(text, field.name, field.name_size)
        _put(text, ": ", 2)
        _put(text, field.value, field.value_size)
        _put(text, "\r\n", 2)
    if cookies:
        _write_cookies(block, text)
    if found.protocol != NULL:
        # Any key will do: nobody checks the answer to it (RFC 8441 5).
        _put(text, "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ZmFzdHByb3h5LWgyLWtleQ==\r\n", 86)
        if not version:
            _put(text, "sec-websocket-version: 13\r\n", 27)
    _put(text, "\r\n", 2)


cdef void _write_cookies(const HpackBlock* block, Text* text) noexcept nogil:
    """One field, whatever they came in (RFC 9113 8.2.3)."""
    cdef uint32_t i
    cdef bint more = False
    for i in range(block.count):
        if block.fields[i].kind == KIND_COOKIE and block.fields[i].value_size:
            _put(text, "; " if more else "cookie: ", 2 if more else 8)
            _put(text, block.fields[i].value, block.fields[i].value_size)
            more = True
    if more:
        _put(text, "\r\n", 2)


cdef int _read(Http2* http2, const Pseudo* found, bint end, int64_t length) noexcept nogil:
    """Write the head and read it again; 0 or a status."""
    cdef Engine* engine = http2.engine
    cdef Window* window = engine.window
    cdef Head* head = &engine.request
    cdef Text text
    cdef int code
    window_reset(window)
    text.at = window.data
    text.end = window.data + window.capacity
    _write(http2.worker.streams.block, found, &text)
    if _overfull(&text):
        return TOO_LARGE
    window.used = <uint32_t> (text.at - window.data)
    http2.worker.wire.window = window
    code = wire_head(&http2.worker.wire, 0)
    if code == WIRE_DONE:
        code = request_head(head, &http2.worker.wire, engine.scratch, engine.request_line)
    elif code == 0:
        code = 400
    wire_next(&http2.worker.wire)
    if code == 0 and not end and length < 0 and found.protocol == NULL:
        head.chunked = 1  # a body whose length nobody has told
    return code


cdef void http2_request(Http2* http2, H2Stream* wire, uint8_t end) noexcept nogil:
    """A stream has begun; its fields are the worker's block."""
    cdef Engine* engine = http2.engine
    cdef Exchange* exchange
    cdef Stream* stream
    cdef Pseudo found = Pseudo(NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, False)
    cdef HpackBlock* block = http2.worker.streams.block
    cdef int64_t length
    cdef int code = 0 if block.too_large else _check(block, &found)
    if code == 0 and not block.too_large:
        code = _judge(&found)
    length = _length(&found)
    if code == MALFORMED or length == -2 or (end and length > 0):
        h2_reset(&http2.connection, wire, H2_PROTOCOL_ERROR, True)
        h2_release(&http2.connection, wire)
        return
    exchange = exchange_new(http2, wire)
    if exchange == NULL:
        h2_reset(&http2.connection, wire, H2_REFUSED_STREAM, False)
        h2_release(&http2.connection, wire)
        return
    http2.taken += 1
    stream = &exchange.stream
    exchange_begin(stream)
    stream.record.received = block.size
    exchange.grpc = found.grpc
    wire.long_lived = found.grpc or found.protocol != NULL
    exchange.connect = found.protocol != NULL
    if block.too_large or found.lines > engine.header_lines:
        code = TOO_LARGE
    if code == 0:
        code = _read(http2, &found, end, length)
    if code == 0:
        wire.length_left = length
        _start(exchange, end)
    else:
        stream.record.head = engine.reactor.now_ns
        exchange_refuse(stream, code, NULL)


cdef void _start(Exchange* exchange, uint8_t end) noexcept nogil:
    cdef Stream* stream = &exchange.stream
    cdef Head* head = &stream.engine.request
    cdef bint last = end or exchange.connect
    stream.expect = head.expect_continue and not last
    if last:
        deadline_set(&exchange.timer, &exchange.total, DEADLINE_WRITE)
    elif not exchange.grpc:
        deadline_set(&exchange.timer, &exchange.timer.deadline, DEADLINE_CONTINUE if stream.expect else DEADLINE_BODY)
        deadline_set(&exchange.timer, &exchange.total, DEADLINE_REQUEST)
    stream.request_trailers = NULL
    exchange_request(stream, head, NULL, 0, last)
    if exchange.http2 == NULL:
        return
    stream.te_trailers = 1  # whoever speaks HTTP/2 takes trailers
    if end and exchange.connect:
        http2_take(exchange, NULL, 0, True)


cdef void http2_trailers(Exchange* exchange) noexcept nogil:
    """The fields behind the body, which end the request. As lines, which is how the other side has them."""
    cdef HpackBlock* block = exchange.http2.worker.streams.block
    cdef Trailers* trailers = <Trailers*> calloc(1, sizeof(Trailers))
    cdef const HpackField* field
    cdef uint32_t i
    cdef size_t size
    if trailers == NULL:
        exchange_stop(exchange, H2_PROTOCOL_ERROR)
        return
    exchange.trailers = trailers
    for i in range(block.count):
        field = &block.fields[i]
        size = field.name_size + field.value_size + 4
        if (
            field.kind >= PSEUDO_METHOD or field.flaws & (FLAW_NAME | FLAW_VALUE) or block.too_large
            or field.kind == KIND_CONNECTION or field.kind == KIND_TRANSFER_ENCODING or field.kind == KIND_UPGRADE
            or field.kind == KIND_CONTENT_LENGTH or field.kind == KIND_HOST or field.kind == KIND_KEEP_ALIVE
            or trailers.size + size > TRAILER_BLOCK or trailers.lines >= 32
        ):
            exchange_stop(exchange, H2_PROTOCOL_ERROR)
            return
        memcpy(trailers.data + trailers.size, field.name, field.name_size)
        memcpy(trailers.data + trailers.size + field.name_size, ": ", 2)
        memcpy(trailers.data + trailers.size + field.name_size + 2, field.value, field.value_size)
        memcpy(trailers.data + trailers.size + size - 2, "\r\n", 2)
        trailers.size += <uint32_t> size
        trailers.lines += 1
    exchange.stream.request_trailers = trailers
    http2_take(exchange, NULL, 0, True)
