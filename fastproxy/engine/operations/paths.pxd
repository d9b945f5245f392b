"""Operations that change the path. See paths.pyx."""

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.operations.payload cimport Payload
from fastproxy.engine.stream.stream cimport Stream

cdef int strip_prefixes(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef int add_prefix(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef int replace_path(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef int rewrite_prefix(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef int set_path(Stream* stream, Head* head, const char* path, size_t size) noexcept nogil
