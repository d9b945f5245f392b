"""Operations that send the client elsewhere. See redirects.pyx."""

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.operations.payload cimport Payload
from fastproxy.engine.stream.stream cimport Stream

cdef int redirect_root(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef int redirect_entry_point(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef int secure_request(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef bint seems_https(const Stream* stream, const Head* head) noexcept nogil
