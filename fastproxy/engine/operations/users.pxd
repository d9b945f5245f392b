"""Users whose password was right lately. See users.pyx."""

from libc.stdint cimport uint32_t, uint64_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.operations.payload cimport Payload, Text
from fastproxy.engine.stream.stream cimport Stream

cdef enum:
    PLACES = 4096
    WAYS = 4
    KEYS = 2

cdef struct Admitted:
    uint64_t marks[4]  # of the Authorization's value
    uint64_t generation
    uint32_t slot  # of the filter that admitted
    uint32_t name_size
    # the user's name follows

cdef struct Admissions:
    uint64_t secrets[4]
    Admitted* places[PLACES]

cdef class AdmissionTable:
    cdef Admissions* rows

cdef int remembered_user(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef int admit_user(
    Stream* stream, Head* head, bint remove, Text name, const char* user, size_t size
) noexcept nogil
cdef int remember_user(
    Stream* stream, const Head* head, uint32_t slot, const char* name, size_t size
) noexcept nogil
