"""Operations that edit heads. See step_headers.pyx."""

from fastproxy.engine.head cimport Head
from fastproxy.engine.payload cimport Payload
from fastproxy.engine.stream cimport Stream

cdef int edit_request(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef void edit_response(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef void fix_location(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef int remembered_headers(Stream* stream, Head* head, Payload* payload) noexcept nogil
