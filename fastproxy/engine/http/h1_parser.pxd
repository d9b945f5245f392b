"""One direction of a connection being parsed: llhttp plus what its callbacks collect."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.engine.http.fields cimport Trailers, Window
from fastproxy.engine.http.llhttp cimport llhttp_t

cdef enum:
    # what wire_head and wire_body answer besides errors
    WIRE_MORE = 0
    WIRE_DONE = 1
    # errors, as the status a request would be answered with
    WIRE_BAD = 400
    WIRE_TOO_MUCH = 413
    WIRE_TOO_LONG = 414
    WIRE_TOO_LARGE = 431
    WIRE_UNKNOWN_METHOD = 501
    WIRE_VERSION = 505

cdef struct Wire:
    llhttp_t parser  # first, so that a callback's parser is the wire
    Window* window  # while a head is being read
    char* body  # decoded bytes of the present read, compacted in place
    size_t body_size
    const char* mark  # end of the last accounted framing byte
    Trailers* trailers
    uint64_t max_body  # bytes of a chunked body; 0 = unlimited
    uint64_t chunked_size  # sum of the chunk sizes announced so far
    uint32_t gap  # framing bytes since the last body byte
    uint32_t extension_size  # bytes of chunk extensions in this message
    uint32_t extension_gap  # of them, in this chunk's line
    uint32_t blank_room  # bytes of blanks that may pad a chunk's size
    uint32_t mended  # how far a head under mend.pyx has been parsed
    uint16_t error  # WIRE_*, set by a callback
    uint16_t lines
    uint16_t max_lines
    uint8_t headers_done
    uint8_t message_done
    uint8_t skip_body
    uint8_t keep_trailers
    uint8_t in_trailer_value
    uint8_t first_chunk
    uint8_t mending  # llhttp has refused this response head; mend.pyx parses it
    uint8_t mended_length

cdef void wire_limit_trailers(size_t size, uint32_t lines) noexcept nogil
cdef void wire_init(Wire* wire, int kind) noexcept nogil
cdef void wire_next(Wire* wire) noexcept nogil
cdef void wire_free(Wire* wire) noexcept nogil
cdef int wire_head(Wire* wire, uint32_t start) noexcept nogil
cdef int wire_body(Wire* wire, char* data, size_t size, size_t* consumed) noexcept nogil
cdef int wire_finish(Wire* wire) noexcept nogil
