"""TLS towards backends; see client.pyx."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t


cdef struct TlsSession:
    uint64_t key
    void* session                # SSL_SESSION*
    char* name
    uint32_t name_size

cdef struct TlsClient:
    # Roots, verification, and the session cache.
    void* context                # SSL_CTX*
    bint insecure
    TlsSession* sessions         # direct-mapped by (key, name); a newer one replaces an older one
    uint32_t session_mask


cdef void* tls_connect(
    TlsClient* client, int descriptor, const char* name, size_t size, uint64_t session_key
) noexcept nogil


cdef class ClientContext:
    cdef object __weakref__
    cdef TlsClient client
