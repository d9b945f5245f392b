"""Who may come in. See step_access.pyx."""

from libc.stdint cimport uint8_t

from fastproxy.engine.head cimport Head
from fastproxy.engine.payload cimport Payload
from fastproxy.engine.stream cimport EntryPoint, Stream

cdef int allow_networks(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef void drop_claims(Head* head) noexcept nogil
cdef bint trusts(const EntryPoint* entry_point, const uint8_t* address) noexcept nogil
