"""Only for tests, fuzzing and benchmarks: a connection of HTTP/2 without a socket."""

from libc.stdint cimport uint32_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastproxy.engine.loop.buffers cimport Chunk, chunk_data, queue_consume
from fastproxy.engine.http.writer cimport Writer
from fastproxy.engine.http2.h2_streams cimport (
    H2_ABORTED, H2_BODY, H2_FAILED, H2_GOING_AWAY, H2_HEAD, H2_NOTHING, H2_SETTLED, H2_TRAILERS, H2Connection, H2Event,
    H2EventKind, H2Stream, H2Worker, h2_block, h2_choked, h2_credit, h2_data, h2_drain, h2_drained, h2_fail, h2_free,
    h2_headers, h2_init, h2_open, h2_overdue, h2_receive, h2_release, h2_reset, h2_schedule, h2_window, h2_worker_free,
    h2_worker_init,
)
from fastproxy.engine.http2.hpack cimport HpackField, hpack_field

cdef enum:
    BLOCK = 32768

NAMES = {
    H2_FAILED: "failed", H2_HEAD: "head", H2_TRAILERS: "trailers", H2_BODY: "body", H2_ABORTED: "aborted",
    H2_SETTLED: "settled", H2_GOING_AWAY: "going away",
}


cdef class Connection:
    """One side of a connection; streams are named by their ids."""

    cdef H2Worker worker
    cdef H2Connection connection
    cdef dict streams

    def __cinit__(self, bint client=False, uint32_t data_size=16384):
        if h2_worker_init(&self.worker, BLOCK) < 0:
            raise MemoryError
        h2_init(&self.connection, &self.worker, client, BLOCK, data_size)
        self.streams = {}

    def __dealloc__(self):
        for identifier in list(self.streams or ()):
            h2_release(&self.connection, self._stream(identifier))
        h2_free(&self.connection)
        h2_worker_free(&self.worker)

    cdef H2Stream* _stream(self, identifier) except NULL:
        return <H2Stream*> <uintptr_t> self.streams[identifier]

    def receive(self, bytes data):
        """The events of `data`."""
        cdef size_t size = len(data)
        cdef char* copy = <char*> malloc(size + (size == 0))
        cdef const char* text = copy
        cdef H2Event event
        cdef H2EventKind kind
        found = []
        memcpy(copy, <const char*> data, size)
        try:
            while True:
                kind = h2_receive(&self.connection, &text, &size, &event)
                if kind == H2_NOTHING:
                    return found
                found.append(self._told(&event))
                if kind == H2_FAILED:
                    return found
        finally:
            free(copy)

    cdef object _told(self, const H2Event* event):
        cdef uint32_t identifier = 0 if event.stream == NULL else event.stream.id
        name = NAMES[event.kind]
        if event.kind == H2_HEAD:
            self.streams[identifier] = <uintptr_t> event.stream
        if event.kind in (H2_HEAD, H2_TRAILERS):
            fields = self._fields()
            if event.kind == H2_HEAD and not fields[0][1].startswith(b"1"):
                event.stream.head_received = 1
            return name, identifier, fields, bool(event.end)
        if event.kind == H2_BODY:
            return name, identifier, event.data[:event.size], bool(event.end)
        if event.kind == H2_ABORTED:
            return name, identifier, event.value
        if event.kind == H2_SETTLED:
            return (name,)
        return name, event.value

    cdef list _fields(self):
        cdef HpackField* field
        cdef uint32_t i
        found = []
        for i in range(self.worker.block.count):
            field = &self.worker.block.fields[i]
            found.append((field.name[:field.name_size], field.value[:field.value_size]))
        return found

    def open(self):
        """The id of a new stream; None when there is none."""
        cdef H2Stream* stream = h2_open(&self.connection, NULL)
        if stream == NULL:
            return None
        self.streams[stream.id] = <uintptr_t> stream
        return stream.id

    def headers(self, identifier, fields, bint end=False):
        cdef Writer writer
        cdef size_t begun
        cdef char room[65536]
        cdef bytes name, value
        writer.data = room
        writer.size = writer.failed = 0
        writer.capacity = sizeof(room)
        begun = h2_block(&self.connection, &writer)
        for name, value in fields:
            if not hpack_field(&writer, name, len(name), value, len(value), False, False):
                raise ValueError(name)
        return h2_headers(&self.connection, self._stream(identifier), &writer, begun, end)

    def data(self, identifier, bytes data, bint end=False):
        h2_data(&self.connection, self._stream(identifier), data, len(data), end)

    def credit(self, identifier, size):
        h2_credit(&self.connection, self._stream(identifier), size)

    def reset(self, identifier, code, bint blame=False):
        h2_reset(&self.connection, self._stream(identifier), code, blame)

    def release(self, identifier):
        h2_release(&self.connection, self._stream(identifier))
        del self.streams[identifier]

    def promise(self, identifier, length):
        """The content-length of what the peer sends."""
        self._stream(identifier).length_left = length

    def fail(self, code):
        h2_fail(&self.connection, code)

    def drain(self):
        h2_drain(&self.connection)

    def overdue(self):
        """The ids of the streams that have taken too little."""
        cdef H2Stream* stream
        found = []
        while True:
            stream = h2_overdue(&self.connection)
            if stream == NULL:
                return found
            found.append(stream.id)

    def output(self, most=None):
        """What is to be written, up to `most` bytes."""
        cdef Chunk* chunk
        cdef bytes data
        h2_schedule(&self.connection)
        data = b""
        chunk = self.connection.out.first
        while chunk != NULL:
            data += chunk_data(chunk)[chunk.start:chunk.end]
            chunk = chunk.next
        data = data[:most]
        queue_consume(&self.connection.out, len(data))
        return data

    def all_output(self):
        """What is to be written until nothing more may go."""
        data = b""
        while True:
            piece = self.output()
            if not piece:
                return data
            data += piece

    def window(self, identifier):
        """Bytes that the stream may send."""
        return h2_window(&self.connection, self._stream(identifier))

    def waiting(self, identifier):
        return self._stream(identifier).output.size

    def state(self, identifier):
        """Whether its peer, and we, have ended it, and whether it was reset."""
        cdef H2Stream* stream = self._stream(identifier)
        return bool(stream.remote_ended), bool(stream.local_ended), bool(stream.reset)

    @property
    def now(self):
        return self.worker.now

    @now.setter
    def now(self, uint32_t now):
        self.worker.now = now

    @property
    def round_trip(self):
        return self.connection.round_trip

    @round_trip.setter
    def round_trip(self, uint32_t milliseconds):
        self.connection.round_trip = milliseconds

    @property
    def figures(self):
        """Everything that has to be as at the start when all streams have ended."""
        return {
            "live": self.connection.live,
            "send window": self.connection.send_window,
            "receive window": self.connection.receive_window + self.connection.owed,
            "window": self.connection.window,
            "room": self.worker.window_room,
            "resets": self.connection.guard.resets,
            "frames": self.connection.guard.frames,
        }

    @property
    def failed(self):
        """The code of the connection's error; None while there is none."""
        return self.connection.error if self.connection.failed else None

    @property
    def drained(self):
        return h2_drained(&self.connection)

    @property
    def choked(self):
        return h2_choked(&self.connection)

    @property
    def sizes(self):
        """Bytes of a connection and of a stream, without what they allocate."""
        return sizeof(H2Connection), sizeof(H2Stream)
