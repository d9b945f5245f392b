"""What an exchange wants written, in frames of HTTP/2 (RFC 9113 8).

A head waits in `engine.out` for the first piece of its body, which follows in the same call: an answer without a
body is one frame. Blocks are encoded in the order in which they go out, so nothing else may be encoded between.

gRPC: answers of our own are Trailers-Only, so that a client sees a status of its own protocol.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memchr, strlen

from fastproxy.engine.client.h1_connection cimport downstream_date
from fastproxy.engine.client.h2_state cimport Exchange, Http2, exchange_of
from fastproxy.engine.client.h2_exchange cimport exchange_finish, exchange_stop, http2_wake
from fastproxy.engine.client.h2_input cimport http2_feed
from fastproxy.engine.http.fields cimport Trailers
from fastproxy.engine.http.h1_writer cimport write_response
from fastproxy.engine.http.writer cimport Writer, write_field, write_number, write_text
from fastproxy.engine.http.head cimport Head
from fastproxy.engine.http2.h2_frames cimport H2_INTERNAL_ERROR
from fastproxy.engine.http2.h2_streams cimport h2_block, h2_data, h2_headers
from fastproxy.engine.http2.hpack cimport hpack_field, hpack_status
from fastproxy.engine.loop.reactor cimport DEADLINE_BODY, DEADLINE_TUNNEL, deadline_clear, deadline_set
from fastproxy.engine.stream.stream cimport CLIENT_FULL, CLIENT_GONE, CLIENT_READY, Engine, Reply, Stream

cdef enum:
    DATE_AT = 6  # behind `Date: `
    DATE_SIZE = 29
    NOTED = 32768  # bytes of a head that a log may see


cdef inline void _field(Writer* writer, const char* name, const char* value, size_t size) noexcept nogil:
    if not hpack_field(writer, name, strlen(name), value, size, False, False):
        writer.failed = 1


cdef inline void _number(Writer* writer, const char* name, uint64_t number) noexcept nogil:
    cdef char digits[24]
    _field(writer, name, digits, snprintf(digits, sizeof(digits), "%llu", <unsigned long long> number))


cdef inline size_t _begin(Exchange* exchange, Writer* writer, int status) noexcept nogil:
    """Begin a block in `engine.out`; where it begins."""
    cdef Engine* engine = exchange.http2.engine
    cdef size_t begun
    writer.data = engine.out
    writer.size = 0
    writer.capacity = engine.out_size
    writer.failed = 0
    begun = h2_block(&exchange.http2.connection, writer)
    hpack_status(writer, status)
    return begun


cdef bint _send_head(Stream* stream, const Head* head) noexcept nogil:
    cdef Exchange* exchange = exchange_of(stream)
    cdef Engine* engine = stream.engine
    cdef Writer writer
    cdef size_t k
    if exchange.http2 == NULL:
        return True
    exchange.begun = _begin(exchange, &writer, 200 if head.status == 101 else head.status)
    for k in range(head.count):
        if not head.fields[k].dropped and not (head.status == 101 and _of_handshake(&head.fields[k].name, head.fields[k].name_size)):
            if not hpack_field(
                &writer, head.fields[k].name, head.fields[k].name_size, head.fields[k].value,
                head.fields[k].value_size, False, False,
            ):
                return False
    if not head.has_server:
        _field(&writer, "server", "fastproxy", 9)
    downstream_date(engine)
    if not head.has_date:
        _field(&writer, "date", engine.date + DATE_AT, DATE_SIZE)
    if head.content_length >= 0 and head.status != 204 and head.status >= 200:
        _number(&writer, "content-length", <uint64_t> head.content_length)
    if writer.failed:
        return False
    exchange.head_size = writer.size
    if engine.note_sent != NULL:
        _note_head(stream, head)
    return True


cdef void _note_head(Stream* stream, const Head* head) noexcept nogil:
    """The same in lines, for the log."""
    cdef char room[NOTED]
    cdef Writer writer
    writer.data = room
    writer.size = 0
    writer.capacity = sizeof(room)
    writer.failed = 0
    write_response(&writer, head, 0, 0, 0, stream.engine.date, NULL, 0)
    stream.engine.note_sent(stream, room, writer.size)


cdef void _note_reply(Stream* stream, const Reply* reply) noexcept nogil:
    cdef char room[NOTED]
    cdef Writer writer
    writer.data = room
    writer.size = 0
    writer.capacity = sizeof(room)
    writer.failed = 0
    write_text(&writer, "\r\n", 2)
    if not reply.has_date:
        write_text(&writer, stream.engine.date, strlen(stream.engine.date))
    if not reply.has_server:
        write_text(&writer, "Server: fastproxy\r\n", 19)
    if reply.type != NULL and not reply.raw:
        write_field(&writer, "Content-Type", 12, reply.type, strlen(reply.type))
    write_text(&writer, "Content-Length: ", 16)
    write_number(&writer, reply.body_size)
    write_text(&writer, "\r\n", 2)
    write_text(&writer, reply.lines, reply.lines_size)
    stream.engine.note_sent(stream, room, writer.size)


cdef inline bint _of_handshake(char** name, size_t size) noexcept nogil:
    """`Sec-WebSocket-Accept` answers a key which the client has not sent (RFC 8441 5)."""
    cdef const char* text = "sec-websocket-accept"
    cdef size_t i
    if size != 20:
        return False
    for i in range(size):
        if (name[0][i] | 32) != (text[i] | 32):
            return False
    return True


cdef void _headers(Exchange* exchange, bint end) noexcept nogil:
    """Send the head that waits."""
    cdef Engine* engine = exchange.http2.engine
    cdef Writer writer
    writer.data = engine.out
    writer.size = exchange.head_size
    writer.capacity = engine.out_size
    writer.failed = 0
    exchange.stream.record.sent += exchange.head_size
    exchange.head_size = 0
    h2_headers(&exchange.http2.connection, exchange.wire, &writer, exchange.begun, end)


cdef void _trailers(Exchange* exchange, const Trailers* trailers) noexcept nogil:
    """The fields behind the body, which end the stream; lines of `Name: value CRLF`."""
    cdef Engine* engine = exchange.http2.engine
    cdef Writer writer
    cdef const char* at = trailers.data
    cdef const char* end = at + trailers.size
    cdef const char* stop
    cdef const char* colon
    cdef size_t begun
    writer.data = engine.out
    writer.size = 0
    writer.capacity = engine.out_size
    writer.failed = 0
    begun = h2_block(&exchange.http2.connection, &writer)
    while at < end:
        stop = <const char*> memchr(at, c'\r', end - at)
        if stop == NULL:
            break
        colon = <const char*> memchr(at, c':', stop - at)
        if colon != NULL:
            _line(&writer, at, colon, stop)
        at = stop + 2
    if not h2_headers(&exchange.http2.connection, exchange.wire, &writer, begun, True):
        exchange_stop(exchange, H2_INTERNAL_ERROR)


cdef inline void _line(Writer* writer, const char* name, const char* colon, const char* stop) noexcept nogil:
    cdef const char* value = colon + 1
    while value < stop and value[0] == c' ':
        value += 1
    hpack_field(writer, name, colon - name, value, stop - value, False, False)


cdef int _send_body(Stream* stream, const char* data, size_t size, uint8_t last) noexcept nogil:
    cdef Exchange* exchange = exchange_of(stream)
    cdef Http2* http2 = exchange.http2
    cdef bint trailing = last and stream.trailers != NULL and stream.trailers.size
    if http2 == NULL or exchange.wire.reset:
        return CLIENT_GONE
    http2_wake(http2)
    if stream.is_head:
        size = 0
    if exchange.head_size:
        _headers(exchange, last and size == 0 and not trailing)
    if size or (last and not trailing and not exchange.wire.local_ended):
        h2_data(&http2.connection, exchange.wire, data, size, last and not trailing)
    stream.record.sent += size
    stream.record.last_out = http2.engine.reactor.now_ns
    if last:
        if trailing:
            _trailers(exchange, stream.trailers)
        exchange_finish(exchange)
        return CLIENT_READY
    if exchange.tunnel:
        deadline_set(&exchange.timer, &exchange.timer.deadline, DEADLINE_TUNNEL)
    exchange.full = exchange.wire.output.size > http2.engine.high_water
    return CLIENT_FULL if exchange.full else CLIENT_READY


cdef int _grpc_status(int status) noexcept nogil:
    """What a gRPC client is told instead of our own status (docs/spec/http2.md 5)."""
    if status == 400 or status == 405 or status == 415 or status == 426:
        return 13
    if status == 401:
        return 16
    if status == 403:
        return 7
    if status == 404 or status == 501:
        return 12
    if status == 408 or status == 504:
        return 4
    if status == 413 or status == 414 or status == 431:
        return 8
    if status == 429 or status == 502 or status == 503:
        return 14
    return 13 if status >= 500 else 2


cdef void _grpc_message(Writer* writer, const char* text, size_t size) noexcept nogil:
    """Percent-encoded, as gRPC over HTTP/2 wants it; the line's end is none of it."""
    cdef char encoded[384]
    cdef const char* digits = "0123456789ABCDEF"
    cdef size_t i, used = 0
    while size and (text[size - 1] == c'\n' or text[size - 1] == c'\r'):
        size -= 1
    for i in range(min(size, <size_t> 120)):
        if 0x20 <= text[i] <= 0x7E and text[i] != c'%':
            encoded[used] = text[i]
            used += 1
        else:
            encoded[used] = c'%'
            encoded[used + 1] = digits[(<uint8_t> text[i]) >> 4]
            encoded[used + 2] = digits[text[i] & 15]
            used += 3
    _field(writer, "grpc-message", encoded, used)


cdef int _send_reply(Stream* stream, const Reply* reply, size_t size) noexcept nogil:
    """An answer of our own (`features.md` 1.2)."""
    cdef Exchange* exchange = exchange_of(stream)
    cdef Http2* http2 = exchange.http2
    cdef Engine* engine = stream.engine
    cdef Writer writer
    cdef const char* at = reply.lines
    cdef const char* end = at + reply.lines_size
    cdef const char* stop
    cdef const char* colon
    if http2 == NULL or exchange.wire.reset or exchange.wire.local_ended:
        return CLIENT_GONE
    exchange.begun = _begin(exchange, &writer, 200 if exchange.grpc else reply.status)
    downstream_date(engine)
    if not reply.has_date:
        _field(&writer, "date", engine.date + DATE_AT, DATE_SIZE)
    if not reply.has_server:
        _field(&writer, "server", "fastproxy", 9)
    if exchange.grpc:
        _field(&writer, "content-type", "application/grpc", 16)
        _number(&writer, "grpc-status", _grpc_status(reply.status))
        _grpc_message(&writer, reply.body, reply.body_size)
        size = 0
        stream.rest_size = 0
    elif reply.status >= 200 and reply.status != 204 and reply.status != 304:
        if reply.type != NULL and not reply.raw:
            _field(&writer, "content-type", reply.type, strlen(reply.type))
        _number(&writer, "content-length", reply.body_size)
    if reply.vary:
        _field(&writer, "vary", "Accept-Encoding", 15)
    if reply.nosniff:
        _field(&writer, "x-content-type-options", "nosniff", 7)
    while at < end:
        stop = <const char*> memchr(at, c'\r', end - at)
        if stop == NULL:
            break
        colon = <const char*> memchr(at, c':', stop - at)
        if colon != NULL and not (exchange.grpc and _is_content(at, colon - at)):
            _line(&writer, at, colon, stop)
        at = stop + 2
    if writer.failed:
        exchange_stop(exchange, H2_INTERNAL_ERROR)
        return CLIENT_GONE
    if engine.note_sent != NULL:
        _note_reply(stream, reply)
    exchange.head_size = writer.size
    return _send_body(stream, reply.body, size, stream.rest_size == 0)


cdef inline bint _is_content(const char* name, size_t size) noexcept nogil:
    return size > 8 and (name[0] | 32) == c'c' and (name[7] | 32) == c'-' | 32 and (name[1] | 32) == c'o' and (name[2] | 32) == c'n'


cdef void _reset(Stream* stream) noexcept nogil:
    exchange_stop(exchange_of(stream), H2_INTERNAL_ERROR)


cdef void _resume(Stream* stream) noexcept nogil:
    if exchange_of(stream).http2 != NULL:
        http2_feed(exchange_of(stream))


cdef void _ask_body(Stream* stream) noexcept nogil:
    """The endpoint (or its silence) asks for the body; so do we."""
    cdef Exchange* exchange = exchange_of(stream)
    cdef Writer writer
    cdef char room[64]
    cdef size_t begun
    if exchange.http2 == NULL or not stream.expect:
        return
    stream.expect = 0
    writer.data = room
    writer.size = 0
    writer.capacity = sizeof(room)
    writer.failed = 0
    begun = h2_block(&exchange.http2.connection, &writer)
    hpack_status(&writer, 100)
    h2_headers(&exchange.http2.connection, exchange.wire, &writer, begun, False)
    deadline_set(&exchange.timer, &exchange.timer.deadline, DEADLINE_BODY)
    http2_wake(exchange.http2)


cdef void _upgrade(Stream* stream) noexcept nogil:
    """DATA is what the other protocol says, both ways (RFC 8441 5)."""
    cdef Exchange* exchange = exchange_of(stream)
    if exchange.http2 == NULL:
        return
    exchange.tunnel = 1
    http2_feed(exchange)
    if exchange.http2 == NULL:
        return
    deadline_clear(stream.engine.reactor, &exchange.total)
    deadline_set(&exchange.timer, &exchange.timer.deadline, DEADLINE_TUNNEL)


cdef int _raw(Stream* stream) noexcept nogil:
    return -1


cdef void* _tls(Stream* stream) noexcept nogil:
    cdef Http2* http2 = exchange_of(stream).http2
    return NULL if http2 == NULL else http2.downstream.ssl


http2_codec.send_head = _send_head
http2_codec.send_body = _send_body
http2_codec.send_reply = _send_reply
http2_codec.reset = _reset
http2_codec.resume = _resume
http2_codec.ask_body = _ask_body
http2_codec.upgrade = _upgrade
http2_codec.raw = _raw
http2_codec.tls = _tls
http2_codec.protocol = "HTTP/2.0"
