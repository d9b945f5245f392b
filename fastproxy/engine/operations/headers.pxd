"""Operations that edit heads. See headers.pyx."""

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.operations.payload cimport Payload
from fastproxy.engine.stream.stream cimport Stream

cdef int edit_request(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef void edit_response(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef void fix_location(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef int remembered_headers(Stream* stream, Head* head, Payload* payload) noexcept nogil
