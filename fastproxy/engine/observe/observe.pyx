"""Access log and metrics, as the engine calls them: when a request begins, is routed, is answered and ends.

Each call stands behind one branch, which is not taken when nobody observes.
"""

from libc.string cimport memcpy, strlen

from fastproxy.counters.requests cimport Requests, requests_close
from fastproxy.engine.http.head cimport Head
from fastproxy.engine.observe.access_log cimport (
    access_log_begin, access_log_end, access_log_install, access_log_remove, access_log_response, access_log_sent,
    access_log_shows_headers,
)
from fastproxy.engine.observe.metrics cimport metrics_begin, metrics_end, metrics_new, metrics_routed
from fastproxy.engine.stream.stream cimport Stream
from fastproxy.tables.block cimport ROUTE_INTERNAL

cdef char _points[64][64]  # names of the entry points; a worker process has one engine


cdef int observe_install(Engine* engine, object settings, object observed, int worker, list entry_points) except -1:
    """`observed` has the descriptors of this worker: `ring`, `wake` and `requests`, each -1 for nothing.

    Raises OSError, MemoryError.
    """
    cdef bytes text
    for index, name in enumerate(entry_points[:64]):
        text = name.encode()[:63]
        memcpy(_points[<int> index], <const char*> text, len(text) + 1)
    if observed.ring >= 0:
        access_log_install(engine, settings.access_log, observed.ring, observed.wake, worker, entry_points)
        engine.note_request = _begin
        engine.observe = _end
        if access_log_shows_headers(engine):
            engine.note_response = access_log_response
            engine.note_sent = access_log_sent
    if observed.requests >= 0:
        engine.metrics = metrics_new(observed.requests, settings.metrics.prometheus.buckets)
        engine.note_request = _begin
        engine.note_routed = _routed
        engine.observe = _end
    return 0


cdef void observe_remove(Engine* engine) noexcept:
    engine.observe = NULL
    engine.note_request = NULL
    engine.note_routed = NULL
    engine.note_response = NULL
    engine.note_sent = NULL
    access_log_remove(engine)
    requests_close(<Requests*> engine.metrics)
    engine.metrics = NULL


cdef void _begin(Stream* stream, Head* head) noexcept nogil:
    cdef Engine* engine = stream.engine
    cdef const char* point = _points[stream.client.entry_point & 63]
    if engine.metrics != NULL:
        metrics_begin(<Requests*> engine.metrics, stream, head, point, strlen(point))
    if engine.access_log != NULL:
        access_log_begin(stream, head)


cdef void _routed(Stream* stream) noexcept nogil:
    if not stream.route.flags & ROUTE_INTERNAL:
        metrics_routed(<Requests*> stream.engine.metrics, stream)


cdef void _end(Engine* engine, Stream* stream) noexcept nogil:
    cdef const char* point = _points[stream.client.entry_point & 63]
    cdef bint internal = stream.record.internal or (stream.route != NULL and stream.route.flags & ROUTE_INTERNAL)
    if engine.metrics != NULL:
        metrics_end(<Requests*> engine.metrics, stream, point, strlen(point), internal)
    if engine.access_log != NULL:
        access_log_end(engine, stream, internal)
