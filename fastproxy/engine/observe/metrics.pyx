# The metrics of Traefik 1.7 (operations.md 2.1): requests by code, method and protocol, at the entry point and at the
# backend of the route, counted when they end; and how many are open.

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcmp, strlen

from fastproxy.counters.requests cimport (
    CODE_OPEN, MOST_BUCKETS, OWNER_BACKEND, OWNER_ENTRY_POINT, Requests, Series, requests_find, requests_open,
)
from fastproxy.engine.http.fields cimport Field
from fastproxy.engine.http.head cimport UPGRADE_WEBSOCKET, has_token, head_find
from fastproxy.engine.stream.record cimport Record

cdef enum:
    PROTOCOL_HTTP
    PROTOCOL_SSE
    PROTOCOL_WEBSOCKET

# By the numbers of counters/requests.METHODS, from 1 on.
cdef const char* _methods = "GET\0\0\0\0\0HEAD\0\0\0\0POST\0\0\0\0PUT\0\0\0\0\0DELETE\0\0CONNECT\0OPTIONS\0TRACE\0\0\0PATCH\0\0\0PRI\0\0\0\0\0"


cdef Requests* metrics_new(int descriptor, object buckets) except NULL:
    """`buckets` are seconds, rising. Raises OSError."""
    cdef Requests* requests = requests_open(descriptor)
    if requests == NULL:
        raise OSError("cannot map the counters of requests")
    for seconds in buckets[:MOST_BUCKETS]:
        requests.bounds[requests.buckets] = <int64_t> (seconds * 1e9)
        requests.buckets += 1
    return requests


cdef inline uint32_t _method(const Head* head) noexcept nogil:
    cdef uint32_t i
    if head.method_size <= 7:
        for i in range(10):
            if head.method_size == strlen(_methods + 8 * i) and memcmp(head.method_text, _methods + 8 * i, head.method_size) == 0:
                return i + 1
    return 0


cdef inline uint32_t _protocol(const Head* head) noexcept nogil:
    cdef Field* accept
    if head.upgrade == UPGRADE_WEBSOCKET:
        return PROTOCOL_WEBSOCKET
    accept = head_find(head, "Accept", 6)
    if accept != NULL and has_token(accept.value, accept.value_size, "text/event-stream", 17):
        return PROTOCOL_SSE
    return PROTOCOL_HTTP


cdef void metrics_begin(Requests* requests, Stream* stream, const Head* head, const char* point, size_t size) noexcept nogil:
    cdef Series* series
    stream.method_label = <unsigned char> _method(head)
    stream.protocol_label = <unsigned char> _protocol(head)
    series = requests_find(
        requests, OWNER_ENTRY_POINT, point, size, CODE_OPEN, stream.method_label, stream.protocol_label
    )
    stream.open_here = series
    if series != NULL:
        series.open += 1


cdef void metrics_routed(Requests* requests, Stream* stream) noexcept nogil:
    """The route is known, and with it the backend."""
    cdef Series* series
    if stream.route == NULL or stream.table == NULL or stream.route.backend_name.size == 0 or stream.open_there != NULL:
        return
    series = requests_find(
        requests, OWNER_BACKEND, stream.table.block + stream.route.backend_name.offset,
        stream.route.backend_name.size, CODE_OPEN, stream.method_label, stream.protocol_label,
    )
    stream.open_there = series
    if series != NULL:
        series.open += 1


cdef inline void _count(Requests* requests, Series* series, const Record* record, int64_t took) noexcept nogil:
    cdef uint32_t bucket = 0
    if series == NULL:
        return
    while bucket < requests.buckets and took > requests.bounds[bucket]:
        bucket += 1
    series.counts[bucket if bucket < requests.buckets else <uint32_t> MOST_BUCKETS] += 1
    series.nanoseconds += took
    series.retries += record.retries
    series.received += record.request_body
    series.sent += record.response_body


cdef void metrics_end(Requests* requests, Stream* stream, const char* point, size_t size, bint internal) noexcept nogil:
    cdef Record* record = &stream.record
    cdef int64_t end = record.last_out if record.last_out > record.head else stream.engine.reactor.now_ns
    cdef int64_t took = end - record.head
    if stream.open_here != NULL:
        (<Series*> stream.open_here).open -= 1
        stream.open_here = NULL
    if stream.open_there != NULL:
        (<Series*> stream.open_there).open -= 1
        stream.open_there = NULL
    if record.head == 0 or internal:
        return
    _count(
        requests, requests_find(
            requests, OWNER_ENTRY_POINT, point, size, record.status, stream.method_label, stream.protocol_label
        ), record, took,
    )
    if stream.route != NULL and stream.table != NULL and stream.route.backend_name.size:
        _count(
            requests, requests_find(
                requests, OWNER_BACKEND, stream.table.block + stream.route.backend_name.offset,
                stream.route.backend_name.size, record.origin_status if record.origin_status else record.status,
                stream.method_label, stream.protocol_label,
            ), record, took,
        )
