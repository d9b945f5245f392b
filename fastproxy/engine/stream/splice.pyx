"""Body bytes from socket to socket inside the kernel, through the worker's one pipe.

The parser is told by its countdown of Content-Length, and always reads the end of a body itself.
What the other socket does not take is read out of the pipe again and queued as if it had been read
from the first, so that one pipe serves all connections and is empty between two turns.
"""

from libc.stdint cimport uint64_t

from fastproxy.engine.http.llhttp cimport F_CHUNKED, F_CONTENT_LENGTH
from fastproxy.engine.loop.posix cimport (
    EAGAIN, SPLICE_F_MOVE, SPLICE_F_NONBLOCK, close, errno, read, splice, ssize_t,
)
from fastproxy.engine.stream.stream cimport Engine
from fastproxy.engine.http.h1_parser cimport Wire

cdef enum:
    LEAST = 64 * 1024  # of a body still to come
    TAIL = 1024  # left to the parser
    MOST = 256 * 1024  # at once
    FRAMING = F_CHUNKED | F_CONTENT_LENGTH


cdef bint splice_worthwhile(Engine* engine, const Wire* wire) noexcept nogil:
    """Whether much of a body of known length is still to come."""
    return (
        wire.parser.content_length >= LEAST and wire.parser.flags & FRAMING == F_CONTENT_LENGTH
        and engine.pipe_read >= 0
    )


cdef ssize_t splice_body(Engine* engine, Wire* wire, int source, int target, ssize_t* moved) noexcept nogil:
    """How many bytes have left the source: `moved` of them are with the target, the others are for
    `splice_rest`. 0: there is nothing to read now; negative: read, which tells what has happened."""
    cdef uint64_t most = wire.parser.content_length - TAIL
    cdef ssize_t part
    cdef ssize_t count = splice(
        source, NULL, engine.pipe_write, NULL, most if most < MOST else MOST,
        SPLICE_F_MOVE | SPLICE_F_NONBLOCK,
    )
    moved[0] = 0
    if count <= 0:
        return 0 if count < 0 and errno == EAGAIN else -1
    wire.parser.content_length -= <uint64_t> count
    while moved[0] < count:
        part = splice(engine.pipe_read, NULL, target, NULL, count - moved[0], SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
        if part <= 0:
            break
        moved[0] += part
    return count


cdef void _give_up(Engine* engine) noexcept nogil:
    """Cannot happen; but what is left in the pipe must never reach another connection."""
    close(engine.pipe_read)
    close(engine.pipe_write)
    engine.pipe_read = engine.pipe_write = -1


cdef ssize_t splice_rest(Engine* engine, ssize_t left) noexcept nogil:
    """Read what the target did not take into `engine.body`; the number of bytes, 0 without any."""
    cdef ssize_t part
    if left <= 0:
        return 0
    part = read(engine.pipe_read, engine.body, engine.body_size)
    if part > 0:
        return part
    _give_up(engine)
    return 0
