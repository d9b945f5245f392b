"""Credentials which were right lately. See credentials.pyx."""

from libc.stdint cimport uint32_t, uint64_t

from fastproxy.engine.stream.stream cimport Stream

cdef enum:
    PLACES = 4096
    WAYS = 4
    KEYS = 2

cdef struct Credential:
    uint64_t marks[4]  # of the text that was right
    uint64_t generation
    uint32_t slot  # of the filter that admitted
    uint32_t size  # of what is remembered with it, which follows

cdef struct Credentials:
    uint64_t secrets[4]
    Credential* places[PLACES]

cdef class CredentialCache:
    cdef Credentials* rows

cdef const char* credential_find(
    const Stream* stream, uint32_t slot, const char* text, size_t size, uint32_t* found_size
) noexcept nogil
cdef char* credential_keep(
    const Stream* stream, uint32_t slot, const char* text, size_t size, size_t room
) noexcept nogil
