"""Only for tests, fuzzing and benchmarks: frames in and out, call for call."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastproxy.engine.http.writer cimport Writer
from fastproxy.engine.http2.h2_frames cimport (
    EVENT_DATA, EVENT_ERROR, EVENT_GOAWAY, EVENT_HEADERS, EVENT_MORE, EVENT_PING, EVENT_PING_ACK, EVENT_PRIORITY, EVENT_RESET,
    EVENT_SETTING, EVENT_SETTINGS, EVENT_SETTINGS_ACK, EVENT_STREAM_ERROR, EVENT_UNKNOWN, EVENT_WINDOW, FrameEvent,
    FrameEventKind, FrameReader, frame_block_begin, frame_block_end, frame_goaway, frame_head, frame_ping, frame_reset,
    frame_settings, frame_settings_ack, frame_window, frames_free, frames_init, frames_preface, frames_read,
)

NAMES = {
    EVENT_ERROR: "error", EVENT_STREAM_ERROR: "stream error", EVENT_DATA: "data", EVENT_HEADERS: "headers",
    EVENT_PRIORITY: "priority", EVENT_RESET: "reset", EVENT_SETTING: "setting", EVENT_SETTINGS: "settings",
    EVENT_SETTINGS_ACK: "settings ack", EVENT_PING: "ping", EVENT_PING_ACK: "ping ack", EVENT_GOAWAY: "goaway",
    EVENT_WINDOW: "window", EVENT_UNKNOWN: "unknown",
}
PREFACE = frames_preface()[:24]


cdef class Reader:
    """One direction of a connection."""

    cdef FrameReader reader

    def __cinit__(self, bint client=False, uint32_t most_block=49152):
        frames_init(&self.reader, client, most_block)

    def __dealloc__(self):
        frames_free(&self.reader)

    def feed(self, bytes data):
        """The events of `data`, each as its name and what belongs to it.

        The input is read from memory of exactly its size, for sanitizers to see what lies behind it.
        """
        cdef size_t size = len(data)
        cdef char* copy = <char*> malloc(size + (size == 0))
        cdef const char* text = copy
        cdef FrameEvent event
        cdef FrameEventKind kind
        found = []
        memcpy(copy, <const char*> data, size)
        try:
            while True:
                kind = frames_read(&self.reader, &text, &size, &event)
                if kind == EVENT_MORE:
                    assert size == 0
                    return found
                found.append(_told(&event))
                if kind == EVENT_ERROR:
                    return found
        finally:
            free(copy)

    def count(self, bytes data, int rounds=1):
        """Events of `data`, without telling them; for benchmarks."""
        cdef const char* whole = data
        cdef const char* text
        cdef size_t whole_size = len(data), size
        cdef FrameEvent event
        cdef uint32_t events = 0
        cdef int _i
        with nogil:
            for _i in range(rounds):
                text = whole
                size = whole_size
                while frames_read(&self.reader, &text, &size, &event) > EVENT_ERROR:
                    events += 1
        return events

    @property
    def memory(self):
        return self.reader.block_capacity


cdef object _told(const FrameEvent* event):
    name = NAMES[event.kind]
    data = event.data[:event.size] if event.data != NULL else b""
    if event.kind == EVENT_ERROR:
        return name, event.value
    if event.kind == EVENT_DATA:
        return name, event.stream, data, bool(event.end), bool(event.first), event.frame, event.padding
    if event.kind == EVENT_HEADERS:
        return name, event.stream, data, bool(event.end), event.value
    if event.kind == EVENT_SETTING:
        return name, event.setting, event.value
    if event.kind in (EVENT_PING, EVENT_PING_ACK):
        return name, data
    if event.kind in (EVENT_SETTINGS, EVENT_SETTINGS_ACK):
        return (name,)
    if event.kind == EVENT_PRIORITY:
        return name, event.stream
    return name, event.stream, event.value


cdef class FrameWriter:
    """Frames one behind the other; `failed` when one had no room."""

    cdef Writer writer
    cdef uint32_t capacity

    def __cinit__(self, uint32_t capacity=1 << 20):
        self.writer.data = <char*> malloc(capacity + 1)
        self.writer.capacity = capacity
        self.writer.size = self.writer.failed = 0
        if self.writer.data == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.writer.data)

    @property
    def data(self):
        return self.writer.data[:self.writer.size]

    @property
    def failed(self):
        return bool(self.writer.failed)

    def head(self, size, type, flags, stream):
        frame_head(&self.writer, size, type, flags, stream)

    def settings(self, pairs):
        cdef uint32_t numbers[32]
        for i, number in enumerate(n for pair in pairs for n in pair):
            numbers[i] = number
        frame_settings(&self.writer, numbers, <uint32_t> len(pairs))

    def settings_ack(self):
        frame_settings_ack(&self.writer)

    def ping(self, bytes data, ack):
        frame_ping(&self.writer, data, ack)

    def reset(self, stream, code):
        frame_reset(&self.writer, stream, code)

    def goaway(self, last, code):
        frame_goaway(&self.writer, last, code)

    def window(self, stream, increment):
        frame_window(&self.writer, stream, increment)

    def block(self, uint32_t stream, bytes block, bint end, uint32_t frame_size=16384):
        cdef size_t begun = frame_block_begin(&self.writer)
        cdef const char* text = block
        if self.writer.capacity - self.writer.size < <size_t> len(block):
            self.writer.failed = 1
        else:
            memcpy(self.writer.data + self.writer.size, text, len(block))
            self.writer.size += len(block)
        frame_block_end(&self.writer, begun, stream, end, frame_size)
