"""Only for tests and benchmarks: heads in and out, call for call, without a socket."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastproxy.engine.http.head cimport Head, Scratch, request_head, response_head
from fastproxy.engine.http.h1_writer cimport Forwarding, write_request, write_response
from fastproxy.engine.http.writer cimport Writer
from fastproxy.engine.http.llhttp cimport HTTP_REQUEST, HTTP_RESPONSE
from fastproxy.engine.operations.access cimport drop_claims
from fastproxy.engine.http.h1_parser cimport (
    WIRE_DONE, WIRE_MORE, Wire, wire_body, wire_free, wire_head, wire_init,
)
from fastproxy.engine.http.fields cimport Window, window_free, window_new, window_reset

cdef enum:
    ROOM = 64 * 1024
    BLOCK = 32 * 1024
    LINE = 8192


class Incomplete(Exception):
    pass


class Refused(Exception):
    """The message is not understood; `status` is what it would be answered with."""

    def __init__(self, status):
        super().__init__(status)
        self.status = status


cdef class Probe:
    """One message head: `feed` it, then write it again as often as wanted."""

    cdef Wire wire
    cdef Window* window
    cdef Scratch* scratch
    cdef Head head
    cdef int kind
    cdef char out[65536]

    def __cinit__(self, bint response=False):
        self.kind = HTTP_RESPONSE if response else HTTP_REQUEST
        self.window = window_new(ROOM, 256)
        self.scratch = <Scratch*> calloc(1, sizeof(Scratch))
        if self.window == NULL or self.scratch == NULL:
            raise MemoryError
        wire_init(&self.wire, self.kind)

    def __dealloc__(self):
        wire_free(&self.wire)
        window_free(self.window)
        free(self.scratch)

    cdef int _parse(self, const char* data, uint32_t size) noexcept nogil:
        cdef int code
        wire_free(&self.wire)
        wire_init(&self.wire, self.kind)
        window_reset(self.window)
        self.wire.window = self.window
        memcpy(self.window.data, data, size)
        self.window.used = size
        code = wire_head(&self.wire, 0)
        if code != WIRE_DONE:
            return code
        if self.kind == HTTP_REQUEST:
            code = request_head(&self.head, &self.wire, self.scratch, LINE)
        else:
            code = response_head(&self.head, &self.wire, False)
        return WIRE_DONE if code == 0 else code

    def parse(self, bytes data, int rounds=1):
        """Read a whole head `rounds` times; Refused when it is not understood."""
        cdef const char* text = data
        cdef uint32_t size = <uint32_t> len(data)
        cdef int code = WIRE_MORE, _i
        if size > ROOM:
            raise ValueError("the head is too large for the probe")
        with nogil:
            for _i in range(rounds):
                code = self._parse(text, size)
        if code == WIRE_MORE:
            raise Incomplete
        if code != WIRE_DONE:
            raise Refused(code)
        return self.window.head_size

    def feed(self, pieces):
        """Read a head that arrives in pieces; returns its size. What follows it is ignored."""
        cdef bytes piece
        cdef const char* text
        cdef uint32_t start
        cdef int code = WIRE_MORE
        wire_free(&self.wire)
        wire_init(&self.wire, self.kind)
        window_reset(self.window)
        self.wire.window = self.window
        for piece in pieces:
            text = piece
            start = self.window.used
            if start + len(piece) > ROOM:
                raise ValueError("the head is too large for the probe")
            memcpy(self.window.data + start, text, len(piece))
            self.window.used += <uint32_t> len(piece)
            code = wire_head(&self.wire, start)
            if code != WIRE_MORE:
                break
        if code == WIRE_MORE:
            raise Incomplete
        if code == WIRE_DONE:
            if self.kind == HTTP_REQUEST:
                code = request_head(&self.head, &self.wire, self.scratch, LINE) or WIRE_DONE
            else:
                code = response_head(&self.head, &self.wire, False) or WIRE_DONE
        if code != WIRE_DONE:
            raise Refused(code)
        return self.window.head_size

    def body(self, pieces):
        """Decode what follows the head: the body, and whether its end came."""
        cdef bytearray piece
        cdef size_t consumed
        cdef int code = wire_body(&self.wire, self.out, 0, &consumed)
        found = []
        for data in pieces:
            if code != WIRE_MORE:
                break
            piece = bytearray(data)
            code = wire_body(&self.wire, <char*> piece, len(piece), &consumed)
            found.append(bytes(self.wire.body[:self.wire.body_size]))
        if code != WIRE_DONE and code != WIRE_MORE:
            raise Refused(code)
        return b"".join(found), code == WIRE_DONE

    def write_request(
        self, int rounds=1, *, bytes client=b"192.0.2.1", bytes server=b"proxy", bytes host=b"",
        bint trusted=False, bint tls=False, bint expect=False,
    ):
        """The head as an endpoint gets it; None when it is refused."""
        cdef Forwarding forwarding
        cdef Writer writer
        cdef int _i
        forwarding.client = client
        forwarding.client_size = <uint32_t> len(client)
        forwarding.server = server
        forwarding.server_size = <uint32_t> len(server)
        forwarding.host = NULL
        forwarding.host_size = <uint32_t> len(host)
        if host:
            forwarding.host = host
        if not trusted:
            drop_claims(&self.head)
        forwarding.tls = tls
        forwarding.expect = expect
        forwarding.content_length = -2
        with nogil:
            for _i in range(rounds):
                writer.data = self.out
                writer.size = 0
                writer.capacity = sizeof(self.out)
                writer.failed = 0
                write_request(&writer, &self.head, &forwarding)
        return None if writer.failed else bytes(self.out[:writer.size])

    def write_response(
        self, int rounds=1, *, bint chunked=False, bint close=False, bint http10_keep_alive=False,
        bytes date=b"Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n",
    ):
        """The head as a client gets it; None when it is refused."""
        cdef Writer writer
        cdef int _i
        cdef const char* day = date
        if len(date) != 37:
            raise ValueError("a Date line has 37 bytes")
        with nogil:
            for _i in range(rounds):
                writer.data = self.out
                writer.size = 0
                writer.capacity = sizeof(self.out)
                writer.failed = 0
                write_response(&writer, &self.head, chunked, close, http10_keep_alive, day, NULL, 0)
        return None if writer.failed else bytes(self.out[:writer.size])
