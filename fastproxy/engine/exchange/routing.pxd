"""Which route a request takes. See routing.pyx."""

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.stream.stream cimport Stream

cdef int route_probe(Stream* stream, Head* head) noexcept nogil
cdef int route_request(Stream* stream, Head* head) noexcept nogil
cdef int route_as(Stream* stream, Head* head, const char* alias, size_t alias_size) noexcept nogil
