"""Counting requests for the metrics. See metrics.pyx."""

from fastproxy.counters.requests cimport Requests
from fastproxy.engine.http.head cimport Head
from fastproxy.engine.stream.stream cimport Stream

cdef Requests* metrics_new(int descriptor, object buckets) except NULL
cdef void metrics_begin(Requests* requests, Stream* stream, const Head* head, const char* point, size_t size) noexcept nogil
cdef void metrics_routed(Requests* requests, Stream* stream) noexcept nogil
cdef void metrics_end(Requests* requests, Stream* stream, const char* point, size_t size, bint internal) noexcept nogil
