"""Who may come in. See access.pyx."""

from libc.stdint cimport uint8_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.operations.payload cimport Payload
from fastproxy.engine.stream.stream cimport EntryPoint, Stream

cdef int allow_networks(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef void drop_claims(Head* head) noexcept nogil
cdef bint trusts(const EntryPoint* entry_point, const uint8_t* address) noexcept nogil
