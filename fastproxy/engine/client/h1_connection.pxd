"""One client's connection. See h1_connection.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastproxy.engine.loop.buffers cimport Queue
from fastproxy.engine.loop.posix cimport iovec
from fastproxy.engine.loop.reactor cimport Deadline, Source
from fastproxy.engine.stream.stream cimport CLIENT_FULL, CLIENT_READY, Engine, Stream
from fastproxy.engine.http.h1_parser cimport Wire
from fastproxy.engine.http.fields cimport Window, window_free

cdef enum DownstreamState:
    DOWNSTREAM_PROXY  # expecting a PROXY protocol header
    DOWNSTREAM_HANDSHAKE
    DOWNSTREAM_HEAD
    DOWNSTREAM_BUSY
    DOWNSTREAM_DRAIN  # answered; the rest of the request body is thrown away
    DOWNSTREAM_LINGER  # our side is closed; reading until the peer closes
    DOWNSTREAM_TUNNEL
    DOWNSTREAM_HTTP2  # see h2.pyx

cdef struct Downstream:
    Source source
    Wire wire
    Queue output
    Stream stream
    Deadline total  # of the whole request, or of the whole response
    Deadline left  # of a client that has ended
    Window* window  # an incomplete head
    Engine* engine
    Downstream* next_connection
    Downstream* previous_connection
    Downstream* next_waiting  # for a step of the handshake
    Downstream* previous_waiting
    char* pending  # read, but belonging to later requests
    void* ssl
    uint32_t pending_size
    uint32_t drained
    uint64_t requests
    size_t head_waiting  # bytes of a response head in engine.out, not sent yet
    uint8_t state
    uint8_t readable
    uint8_t hung_up
    uint8_t paused  # the upstream side is full
    uint8_t closing  # close when the output is written
    uint8_t keep_alive
    uint8_t http10
    uint8_t response_chunked
    uint8_t until_close
    uint8_t waiting_continue  # the body is not read before the endpoint says 100
    uint8_t ended  # tunnel: 1 = client has ended, 2 = endpoint has ended, 4 = the client knows
    uint8_t untold  # the socket had no room for the end of our half yet
    uint8_t waiting  # linked among those who wait for a step of their handshake
    void* http2  # Http2*: what the connection is when it speaks that
    void (*on_close)(Downstream*) noexcept nogil  # frees it
    char client[48]

cdef void downstream_free(Source* source) noexcept nogil
cdef Downstream* downstream_new(Engine* engine) noexcept nogil
cdef void downstream_set_client(Downstream* downstream, const void* address) noexcept nogil
cdef void downstream_name_client(Downstream* downstream) noexcept nogil
cdef void downstream_close(Downstream* downstream) noexcept nogil
cdef void downstream_count(Downstream* downstream) noexcept nogil
cdef void downstream_wait(Downstream* downstream) noexcept nogil
cdef void downstream_wait_no_more(Downstream* downstream) noexcept nogil
cdef void downstream_reset(Downstream* downstream) noexcept nogil
cdef void downstream_end(Downstream* downstream) noexcept nogil
cdef void downstream_end_half(Downstream* downstream) noexcept nogil
cdef void downstream_left(Downstream* downstream) noexcept nogil
cdef bint downstream_send(Downstream* downstream, const iovec* vector, int count, size_t total) noexcept nogil
cdef int downstream_keep_pending(Downstream* downstream, const char* data, size_t size) noexcept nogil
cdef void downstream_date(Engine* engine) noexcept nogil

cdef inline void downstream_sent(Downstream* downstream, size_t count) noexcept nogil:
    """So many bytes are with the kernel now."""
    downstream.stream.record.sent += count
    downstream.stream.record.last_out = downstream.engine.reactor.now_ns

cdef inline Downstream* downstream_of(Stream* stream) noexcept nogil:
    return <Downstream*> (<char*> stream - <size_t> &(<Downstream*> NULL).stream)


cdef inline int downstream_state(Downstream* downstream) noexcept nogil:
    """What the exchange is told after a piece (ClientState)."""
    return CLIENT_FULL if downstream.output.size > downstream.engine.high_water else CLIENT_READY


cdef inline void downstream_drop_window(Downstream* downstream) noexcept nogil:
    downstream.wire.window = NULL
    if downstream.window != NULL:
        window_free(downstream.window)
        downstream.window = NULL
