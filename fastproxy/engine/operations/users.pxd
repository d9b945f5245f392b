"""Users whose password was right lately. See users.pyx."""

from libc.stdint cimport uint32_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.operations.payload cimport Payload, Text
from fastproxy.engine.stream.stream cimport Stream

cdef int remembered_user(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef int admit_user(
    Stream* stream, Head* head, bint remove, Text name, const char* user, size_t size
) noexcept nogil
cdef void remember_user(
    Stream* stream, const Head* head, uint32_t slot, const char* name, size_t size
) noexcept nogil
