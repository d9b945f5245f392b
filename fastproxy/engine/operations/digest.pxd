"""Digest authentication with nonces that were right before. See digest.pyx."""

from libc.stdint cimport int64_t, uint32_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.operations.payload cimport Payload
from fastproxy.engine.stream.stream cimport Stream

cdef struct Proof:
    # What is remembered of a nonce.
    int64_t issued  # seconds since 1970
    uint32_t name_size
    uint32_t opaque_size
    char secret[32]  # HA1
    # the user's name and the opaque follow

cdef int remembered_nonce(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef void remember_nonce(
    Stream* stream, uint32_t slot, bytes nonce, bytes user, bytes secret, bytes opaque, int64_t issued
)
