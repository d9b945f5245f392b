"""Which endpoint takes a request: the affinity cookie's, else the balancer's.

A worker counts for itself where wrr stands; what drr learns of endpoints is in shared memory, so
that the answers of all workers count.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp

from fastproxy._core cimport BALANCER_EMPTY, BALANCER_ZERO, balancer_pick, balancer_update
from fastproxy.counters.quality cimport quality_record, quality_weights
from fastproxy.engine.stream.complaint cimport WHY_NO_ENDPOINT, WHY_NO_WEIGHT, complain
from fastproxy.engine.http.head cimport KIND_COOKIE, Head, head_add
from fastproxy.engine.http.writer cimport Writer, write_text
from fastproxy.engine.operations.payload cimport Payload, Text, blob
from fastproxy.engine.stream.replies cimport STEP_GO_ON, because, not_found, plain_reply, reply_lines
from fastproxy.engine.stream.record cimport RECORD_NO_ENDPOINT, RECORD_NO_ROUTE
from fastproxy.engine.stream.stream cimport ROUTE_NOT_FOUND, Engine, LiveBackend, Pool, Stream
from fastproxy.engine.http.fields cimport Field

cdef enum:
    ENDPOINT_COUNTED = 0x80000000  # in `endpoint_version`: no longer that of the backend


cdef int affinity(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """The cookie names an endpoint by its URL; it is only ever compared, never connected to."""
    cdef const char* start = payload.at
    cdef Text cookie = blob(payload)
    cdef Text value
    cdef LiveBackend* backend = stream.backend
    cdef uint32_t i, j
    cdef Field* field
    stream.affinity = start
    if backend == NULL:
        return STEP_GO_ON
    for i in range(head.count):
        field = &head.fields[i]
        if field.kind != KIND_COOKIE or field.dropped:
            continue
        value = _cookie(field, cookie)
        if value.size == 0:
            continue
        for j in range(backend.count):
            if backend.endpoints[j].pool.url_size == value.size and memcmp(backend.endpoints[j].pool.url, value.data, value.size) == 0:
                _take_endpoint(stream, backend, j)
                stream.affinity = NULL
                stream.sticky = 1
                return STEP_GO_ON
    return STEP_GO_ON


cdef Text _cookie(const Field* field, Text name) noexcept nogil:
    """The value of the first cookie of that name in one Cookie field."""
    cdef Text value
    cdef size_t start = 0, end
    value.data = ""
    value.size = 0
    while start < field.value_size:
        end = start
        while end < field.value_size and field.value[end] != c';':
            end += 1
        while start < end and (field.value[start] == c' ' or field.value[start] == c'\t'):
            start += 1
        if end - start > name.size and memcmp(field.value + start, name.data, name.size) == 0 and field.value[start + name.size] == c'=':
            value.data = field.value + start + name.size + 1
            value.size = <uint32_t> (end - start - name.size - 1)
            if value.size >= 2 and value.data[0] == c'"' and value.data[value.size - 1] == c'"':
                value.data += 1
                value.size -= 2
            return value
        start = end + 1
    return value


cdef int pick_again(Stream* stream) noexcept nogil:
    """An endpoint for another attempt: the same one where the cookie names it."""
    if stream.backend == NULL:
        return STEP_GO_ON
    if not stream.sticky:
        return pick_endpoint(stream, NULL)
    stream.endpoint_version &= ~<uint32_t> ENDPOINT_COUNTED
    return STEP_GO_ON


cdef void _take_endpoint(Stream* stream, LiveBackend* backend, uint32_t index) noexcept nogil:
    cdef Pool* pool = backend.only if backend.only != NULL else backend.endpoints[index].pool
    pool.references += 1
    if stream.pool != NULL:
        stream.pool.references -= 1
    stream.pool = pool
    stream.endpoint = index
    stream.endpoint_version = backend.version


cdef int pick_endpoint(Stream* stream, Head* head) noexcept nogil:
    """Choose an endpoint, unless affinity has; 503 when there is none."""
    cdef LiveBackend* backend = stream.backend
    cdef Engine* engine = stream.engine
    cdef int index
    if stream.pool != NULL and head != NULL:
        return STEP_GO_ON
    if stream.flags & ROUTE_NOT_FOUND:
        not_found(engine)
        return because(engine, RECORD_NO_ROUTE)
    if backend == NULL or backend.count == 0:
        return _no_endpoint(stream)
    if backend.only != NULL:
        _take_endpoint(stream, backend, 0)
        return STEP_GO_ON
    if backend.dynamic and engine.shared != NULL:
        _rebalance(engine, backend)
    index = balancer_pick(backend.balancer)
    if index == BALANCER_EMPTY:
        return _no_endpoint(stream)
    if index == BALANCER_ZERO:
        complain(stream, WHY_NO_WEIGHT, 500)
        plain_reply(engine, 500, "Internal Server Error")
        return because(engine, RECORD_NO_ENDPOINT)
    _take_endpoint(stream, backend, index)
    return STEP_GO_ON


cdef int _no_endpoint(Stream* stream) noexcept nogil:
    complain(stream, WHY_NO_ENDPOINT, 503)
    plain_reply(stream.engine, 503, "Service Unavailable")
    return because(stream.engine, RECORD_NO_ENDPOINT)


cdef void _rebalance(Engine* engine, LiveBackend* backend) noexcept nogil:
    """drr: take over the weights that all workers' answers have led to."""
    if quality_weights(
        engine.shared, backend.statistics_slot, backend.count, backend.original, backend.weights,
        engine.reactor.now_ns,
    ):
        balancer_update(backend.balancer, backend.count, backend.weights)


# --- the cookie that remembers the choice ---

cdef void _put_cookie(const Stream* stream, Writer* writer) noexcept nogil:
    cdef Payload payload
    cdef Text cookie, attributes
    payload.at = stream.affinity
    cookie = blob(&payload)
    attributes = blob(&payload)
    write_text(writer, cookie.data, cookie.size)
    write_text(writer, "=", 1)
    write_text(writer, stream.pool.url, stream.pool.url_size)
    write_text(writer, attributes.data, attributes.size)


cdef void set_affinity_cookie(Stream* stream, Head* head) noexcept nogil:
    cdef Engine* engine = stream.engine
    cdef Writer writer
    if stream.pool == NULL:
        return
    writer = reply_lines(engine)
    _put_cookie(stream, &writer)
    if not writer.failed:
        engine.scratch.extra_used += <uint32_t> writer.size
        head_add(head, "Set-Cookie", 10, writer.data, writer.size)


cdef void reply_cookie(Stream* stream) noexcept nogil:
    """The same on the answer that says that the endpoint failed: 1.7 sets the cookie when it
    picks (`features.md` 3.17, "whatever its status")."""
    cdef Engine* engine = stream.engine
    cdef Writer writer
    if stream.affinity == NULL or stream.pool == NULL or engine.reply.lines_size:
        return
    engine.scratch.extra_used = 0
    writer = reply_lines(engine)
    write_text(&writer, "Set-Cookie: ", 12)
    _put_cookie(stream, &writer)
    write_text(&writer, "\r\n", 2)
    if not writer.failed:
        engine.scratch.extra_used += <uint32_t> writer.size
        engine.reply.lines = writer.data
        engine.reply.lines_size = writer.size


# --- what drr learns ---

cdef void record_answer(Stream* stream, int status) noexcept nogil:
    """What the endpoint that was picked answered, for drr; 0 = nothing. Counts once: an attempt that
    a limit refuses afterwards says nothing about the endpoint."""
    cdef LiveBackend* backend = stream.backend
    if status == 0 or stream.engine.shared == NULL:
        return
    if stream.pool != NULL and stream.endpoint_version == backend.version:
        quality_record(
            stream.engine.shared, backend.statistics_slot, stream.endpoint, status,
            stream.engine.reactor.now_ns,
        )
        stream.endpoint_version ^= ENDPOINT_COUNTED
