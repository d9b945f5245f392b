"""Only for tests and benchmarks: a request head through a route's operations, without a socket."""

from dataclasses import dataclass

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastproxy.tables.block cimport RouteRecord
from fastproxy.engine.exchange.forward_auth cimport write_question
from fastproxy.engine.http.head cimport Head, Scratch, request_head, sent_path
from fastproxy.engine.http.writer cimport Writer
from fastproxy.engine.http.llhttp cimport HTTP_REQUEST
from fastproxy.engine.operations.payload cimport Payload
from fastproxy.engine.operations.re2 cimport Regex
from fastproxy.engine.stream.replies cimport STEP_GO_ON, STEP_REPLY
from fastproxy.engine.operations.limits cimport write_duration
from fastproxy.engine.operations.path_regex cimport REPLACED, replace_all
from fastproxy.engine.exchange.run cimport request_steps
from fastproxy.engine.stream.stream cimport ROUTE_REQUEST_STEPS, Engine, Stream, Table
from fastproxy.engine.http.h1_parser cimport WIRE_DONE, Wire, wire_free, wire_head, wire_init
from fastproxy.engine.http.fields cimport Window, window_free, window_new, window_reset

cdef enum:
    ROOM = 64 * 1024
    LINE = 8192


@dataclass(frozen=True, slots=True)
class Passed:
    path: bytes
    headers: tuple


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    lines: bytes
    body: bytes


def duration_text(int64_t nanoseconds):
    """How an answer of the rate limit writes a duration."""
    cdef Writer writer
    cdef char room[64]
    writer.data = room
    writer.capacity = sizeof(room)
    writer.size = 0
    writer.failed = 0
    write_duration(&writer, nanoseconds)
    return room[:writer.size].decode()


cdef class StepProbe:
    cdef Wire wire
    cdef Window* window
    cdef Engine* engine
    cdef Stream stream
    cdef Table table
    cdef RouteRecord route
    cdef bytes operations
    cdef list expressions

    def __cinit__(self, bytes operations, expressions=(), *, bint tls=False):
        cdef uint32_t slot
        self.operations = operations
        self.expressions = list(expressions)
        self.window = window_new(ROOM, 256)
        self.engine = <Engine*> calloc(1, sizeof(Engine))
        self.table.expressions = <void**> calloc(len(self.expressions) + 1, sizeof(void*))
        if self.window == NULL or self.engine == NULL or self.table.expressions == NULL:
            raise MemoryError
        self.engine.scratch = <Scratch*> calloc(1, sizeof(Scratch))
        if self.engine.scratch == NULL:
            raise MemoryError
        for slot in range(len(self.expressions)):
            self.table.expressions[slot] = (<Regex?> self.expressions[slot]).compiled
        self.table.block = self.operations
        self.route.request.size = <uint32_t> len(operations)
        self.stream.engine = self.engine
        self.stream.table = &self.table
        self.stream.route = &self.route
        self.stream.flags = ROUTE_REQUEST_STEPS
        self.stream.client.tls = tls
        wire_init(&self.wire, HTTP_REQUEST)

    def __dealloc__(self):
        wire_free(&self.wire)
        window_free(self.window)
        free(self.table.expressions)
        if self.engine != NULL:
            free(self.engine.scratch)
            free(self.engine)

    cdef int _run(self, const char* data, uint32_t size, Head* head) noexcept nogil:
        wire_free(&self.wire)
        wire_init(&self.wire, HTTP_REQUEST)
        window_reset(self.window)
        self.wire.window = self.window
        memcpy(self.window.data, data, size)
        self.window.used = size
        self.engine.scratch.extra_used = 0
        self.stream.original_path = NULL
        if wire_head(&self.wire, 0) != WIRE_DONE:
            return -1
        if request_head(head, &self.wire, self.engine.scratch, LINE) != 0:
            return -1
        return request_steps(&self.stream, head, 0)

    def run(self, bytes data, int rounds=1):
        cdef Head* head = &self.engine.request
        cdef const char* text = data
        cdef const char* path
        cdef uint32_t size = <uint32_t> len(data), i
        cdef int code = -1, _i
        if size > ROOM:
            raise ValueError("the head is too large for the probe")
        with nogil:
            for _i in range(rounds):
                code = self._run(text, size, head)
        if code == STEP_REPLY:
            return Answered(
                self.engine.reply.status,
                self.engine.reply.lines[:self.engine.reply.lines_size],
                self.engine.reply.body[:self.engine.reply.body_size],
            )
        if code != STEP_GO_ON:
            raise ValueError(f"{data[:60]!r} is not understood")
        fields = []
        for i in range(head.count):
            if not head.fields[i].dropped:
                fields.append((
                    head.fields[i].name[:head.fields[i].name_size],
                    head.fields[i].value[:head.fields[i].value_size],
                ))
        path = sent_path(head, &i)
        return Passed(path[:i], tuple(fields))

    def question(self, bytes payload, bytes client):
        cdef char room[ROOM]
        cdef Writer writer
        cdef Payload at
        writer.data = room
        writer.capacity = ROOM
        writer.size = 0
        writer.failed = 0
        at.at = payload
        self.stream.client.text = client
        self.stream.client.size = <uint32_t> len(client)
        if not write_question(&writer, &self.stream, &self.engine.request, &at):
            return None
        return room[:writer.size]


def replaced(Regex regex, bytes pieces, bytes text):
    cdef char room[ROOM]
    cdef Writer writer
    cdef Payload payload
    payload.at = pieces
    writer.data = room
    writer.capacity = ROOM
    writer.size = 0
    writer.failed = 0
    if replace_all(&writer, regex.compiled, NULL, text, len(text), &payload) != REPLACED:
        return None
    return room[:writer.size]
