"""A client's connection of HTTP/2, and the exchanges on it. See h2.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastproxy.engine.client.h1_connection cimport Downstream
from fastproxy.engine.http.fields cimport Trailers
from fastproxy.engine.http.h1_parser cimport Wire
from fastproxy.engine.http2.h2_streams cimport H2Connection, H2Stream, H2Worker
from fastproxy.engine.loop.buffers cimport Queue
from fastproxy.engine.loop.reactor cimport Deadline, Source
from fastproxy.engine.stream.stream cimport ClientCodec, Engine, Stream

cdef struct Http2Worker:
    # What the connections of one worker share.
    H2Worker streams
    const ClientCodec* codec
    Wire wire  # parses heads which were HTTP/2
    Exchange* free  # the longest dead first
    Exchange* free_last

cdef struct Exchange:
    Stream stream  # first member
    Source timer  # no descriptor: it only carries the deadlines
    Deadline total  # of the whole request, or of the whole response
    Http2* http2  # NULL: dead
    H2Stream* wire
    Exchange* next
    Exchange* previous
    Queue input  # of the request's body, while nobody can take it
    Trailers* trailers  # of the request
    size_t begun  # where in engine.out the head of the response begins
    size_t head_size  # of it; 0: none waits
    uint32_t owed  # bytes taken, whose credit is held back
    int64_t died_at  # ns; its memory is used again in a later turn
    uint8_t input_ended
    uint8_t full  # the exchange has been told to wait with more of the response
    uint8_t answered  # the response is complete for the exchange
    uint8_t grpc
    uint8_t tunnel  # extended CONNECT: DATA is bytes of the other protocol
    uint8_t connect

cdef struct Http2:
    H2Connection connection
    Downstream* downstream
    Engine* engine
    Http2Worker* worker
    Exchange* exchanges
    uint32_t open
    uint64_t taken  # requests
    uint8_t busy  # events are being handled

cdef inline Exchange* exchange_of(Stream* stream) noexcept nogil:
    return <Exchange*> stream
