"""Digest authentication with nonces that were right before. See digest.pyx."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.operations.payload cimport Payload
from fastproxy.engine.stream.stream cimport Stream

cdef enum:
    NONCE_PLACES = 4096
    NONCE_WAYS = 4

cdef struct Proven:
    uint64_t marks[2]  # of the nonce
    uint64_t generation
    int64_t issued  # seconds since 1970
    uint32_t slot  # of the filter that admitted
    uint32_t name_size
    uint32_t opaque_size
    char secret[32]  # HA1
    # the user's name and the opaque follow

cdef struct Proofs:
    uint64_t secrets[2]
    Proven* places[NONCE_PLACES]

cdef class ProofTable:
    cdef Proofs* rows

cdef int remembered_nonce(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef int remember_nonce(
    Stream* stream, uint32_t slot, bytes nonce, bytes user, bytes secret, bytes opaque, int64_t issued
) except -1
