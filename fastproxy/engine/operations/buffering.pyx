"""The operation of buffering (`features.md` 3.20): from here on the request has to be complete."""

from libc.stdint cimport int64_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.operations.payload cimport Payload, i64
from fastproxy.engine.stream.replies cimport STEP_COLLECT, STEP_GO_ON, because, plain_reply
from fastproxy.engine.stream.record cimport RECORD_BUFFERING
from fastproxy.engine.stream.stream cimport Stream


cdef int buffer(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """The response will be read completely; is the request here, and in the form it is sent in?"""
    cdef const char* start = payload.at
    cdef int64_t limit = i64(payload)
    if head.upgrade:
        return STEP_GO_ON
    if limit and head.content_length > limit:
        plain_reply(stream.engine, 413, "Request Entity Too Large")
        return because(stream.engine, RECORD_BUFFERING)
    stream.buffering.operation = start
    stream.buffering.chain = stream.step
    stream.sticky = 0
    if not stream.whole or head.chunked:
        return STEP_COLLECT
    first_attempt(stream)
    return STEP_GO_ON
