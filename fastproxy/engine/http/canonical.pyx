"""A request as the engine understands it: for tools that say what a worker would do with it."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastproxy.engine.http.h1_parser cimport WIRE_DONE, WIRE_MORE, Wire, wire_free, wire_head, wire_init
from fastproxy.engine.http.fields cimport Window, window_free, window_new
from fastproxy.engine.http.head cimport Head, Scratch, request_head
from fastproxy.engine.http.llhttp cimport HTTP_REQUEST

cdef enum:
    ROOM = 64 * 1024
    FIELDS = 256
    REQUEST_LINE = 8192


class Refused(ValueError):
    """The engine does not understand a request; `status` is what it answers."""

    def __init__(self, status):
        super().__init__(status)
        self.status = status


cdef bytes text(const char* data, uint32_t size):
    return data[:size] if data != NULL else b""


def canonical(bytes head):
    """Method, host (lower-case, without port), normalised path, and query or None of a request.

    `head` is a whole head of HTTP/1.1 with its empty line. Raises Refused; ValueError for a head
    that is not whole.
    """
    cdef Wire wire
    cdef Head found
    cdef Window* window = window_new(ROOM, FIELDS)
    cdef Scratch* scratch = <Scratch*> calloc(1, sizeof(Scratch))
    cdef int code
    wire_init(&wire, HTTP_REQUEST)
    try:
        if window == NULL or scratch == NULL:
            raise MemoryError
        if len(head) > ROOM:
            raise Refused(431)
        wire.window = window
        memcpy(window.data, <const char*> head, len(head))
        window.used = <uint32_t> len(head)
        code = wire_head(&wire, 0)
        if code == WIRE_DONE:
            code = request_head(&found, &wire, scratch, REQUEST_LINE) or WIRE_DONE
        if code == WIRE_MORE:
            raise ValueError("the head has no end")
        if code != WIRE_DONE:
            raise Refused(code)
        return (
            text(found.method_text, found.method_size),
            text(found.name, found.name_size),
            text(found.path, found.path_size),
            text(found.query, found.query_size) if found.has_query else None,
        )
    finally:
        wire_free(&wire)
        window_free(window)
        free(scratch)
