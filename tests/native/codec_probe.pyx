"""Only for tests: a client's codec without a connection, beside HTTP/1.1. What an exchange sends is noted; the
test says how much its client takes. Many streams live at once, as in HTTP/2."""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastproxy.engine.exchange.end cimport exchange_abandon, exchange_begin, exchange_end
from fastproxy.engine.exchange.request cimport (
    exchange_body, exchange_full, exchange_request, exchange_writable,
)
from fastproxy.engine.exchange.answer cimport exchange_refuse
from fastproxy.engine.exchange.response cimport exchange_owner
from fastproxy.engine.http.fields cimport window_reset
from fastproxy.engine.http.h1_parser cimport WIRE_DONE, Wire, wire_head, wire_init
from fastproxy.engine.http.head cimport Head, head_fields, request_head
from fastproxy.engine.http.llhttp cimport HTTP_REQUEST
from fastproxy.engine.python.exchange cimport Exchange
from fastproxy.engine.stream.stream cimport (
    CLIENT_FULL, CLIENT_GONE, CLIENT_READY, ClientCodec, Engine, Reply, Stream,
)

cdef ClientCodec _codec
cdef Engine* _engine = NULL

cdef struct Toy:
    Stream stream
    void* probe


def use(Exchange exchange):
    """The engine of this exchange is the one which streams are made for."""
    global _engine
    _engine = exchange.stream.engine


cdef class StreamProbe:
    """One stream; its methods are called in the engine's thread."""

    cdef Toy* toy
    cdef public list events
    cdef public bytes body  # of the response, so far
    cdef public bint over
    cdef public object room  # bytes the client takes before it is full; None: all
    cdef size_t waiting

    def __cinit__(self, uint32_t entry_point=0):
        cdef Stream* stream
        self.toy = <Toy*> calloc(1, sizeof(Toy))
        self.toy.probe = <void*> self
        self.events = []
        self.body = b""
        self.room = None
        stream = &self.toy.stream
        stream.owner = &exchange_owner
        stream.codec = &_codec
        stream.engine = _engine
        stream.client.entry_point = entry_point
        stream.client.text = "192.0.2.1"
        stream.client.size = 9
        stream.client.address[10] = stream.client.address[11] = 0xFF

    def __dealloc__(self):
        exchange_abandon(&self.toy.stream)
        free(self.toy.stream.client.remembered)
        free(self.toy)

    def ask(self, bytes head, bytes body=b"", bint last=True):
        """A request: `head` as HTTP/1.1 writes it, and what of the body is here."""
        cdef Wire wire
        cdef const char* data = head
        cdef const char* piece = body
        cdef Engine* engine = _engine
        cdef Stream* stream = &self.toy.stream
        self.over = False
        wire_init(&wire, HTTP_REQUEST)
        wire.max_lines = 100
        window_reset(engine.window)
        memcpy(engine.window.data, data, len(head))
        engine.window.used = <uint32_t> len(head)
        wire.window = engine.window
        assert wire_head(&wire, 0) == WIRE_DONE
        assert request_head(&engine.request, &wire, engine.scratch, 8192) == 0
        exchange_begin(stream)
        exchange_request(stream, &engine.request, <char*> piece, len(body), last)

    def send(self, bytes body, bint last):
        """More of the body; True: nothing more is wanted until ("resume",)."""
        cdef const char* piece = body
        exchange_body(&self.toy.stream, <char*> piece, len(body), last)
        return bool(exchange_full(&self.toy.stream))

    def refuse(self, int status):
        exchange_begin(&self.toy.stream)
        exchange_refuse(&self.toy.stream, status, NULL)

    def drain(self):
        """The client has taken everything."""
        self.waiting = 0
        exchange_writable(&self.toy.stream)

    def leave(self):
        self.over = True
        exchange_abandon(&self.toy.stream)

    cdef int _take(self, const char* data, size_t size, bint last) except -1:
        self.body += data[:size]
        self.toy.stream.record.sent += size + 1  # a head, or framing
        self.toy.stream.record.last_out = _engine.reactor.now_ns
        if last:
            self.events.append(("end",))
            self.over = True
            exchange_end(&self.toy.stream)
            return CLIENT_GONE
        self.waiting += size
        return CLIENT_FULL if self.room is not None and self.waiting > self.room else CLIENT_READY


cdef StreamProbe _probe(Stream* stream):
    return <StreamProbe> (<Toy*> stream).probe


cdef bint _send_head(Stream* stream, const Head* head) noexcept with gil:
    _probe(stream).events.append(("head", head.status, dict(head_fields(head)), head.content_length))
    return True


cdef int _send_body(Stream* stream, const char* data, size_t size, uint8_t last) noexcept with gil:
    return _probe(stream)._take(data, size, last)


cdef int _send_reply(Stream* stream, const Reply* reply, size_t size) noexcept with gil:
    _probe(stream).events.append(("reply", reply.status, reply.lines[:reply.lines_size], reply.body_size))
    return _probe(stream)._take(reply.body, size, stream.rest_size == 0)


cdef void _reset(Stream* stream) noexcept with gil:
    _probe(stream).events.append(("reset",))
    _probe(stream).over = True
    exchange_abandon(stream)


cdef void _resume(Stream* stream) noexcept with gil:
    if not _probe(stream).over:
        _probe(stream).events.append(("resume",))


cdef void _ask_body(Stream* stream) noexcept with gil:
    _probe(stream).events.append(("ask body",))


cdef void _upgrade(Stream* stream) noexcept with gil:
    _probe(stream).events.append(("upgrade",))


cdef int _raw(Stream* stream) noexcept nogil:
    return -1


cdef void* _tls(Stream* stream) noexcept nogil:
    return NULL


_codec.send_head = _send_head
_codec.send_body = _send_body
_codec.send_reply = _send_reply
_codec.reset = _reset
_codec.resume = _resume
_codec.ask_body = _ask_body
_codec.upgrade = _upgrade
_codec.raw = _raw
_codec.tls = _tls
