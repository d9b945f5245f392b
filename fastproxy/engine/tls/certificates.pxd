"""Certificates by name; see certificates.pyx."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t

from fastproxy.engine.tls.openssl cimport X509

cdef enum:
    NAME_LIMIT = 255             # bytes of a server name (RFC 1035)

cdef struct TlsCertificate:
    # One certificate as it is served; read at the first handshake that chooses it.
    void* leaf                   # X509*
    void* chain                  # STACK_OF(X509)*, without the leaf, or NULL
    void* key                    # EVP_PKEY*
    const char* chain_data       # PEM, leaf first
    size_t chain_size
    const char* key_data         # PEM
    size_t key_size
    bint broken

cdef struct TlsName:
    const char* data             # NULL: free place
    uint32_t size
    uint32_t hash
    TlsCertificate* certificate

cdef struct TlsIndex:
    # Open-addressed hash table of certificate names.
    TlsName* places
    uint32_t mask
    uint32_t count
    TlsCertificate* default_certificate


cdef size_t canonical_name(
    const char* name, size_t size, char* target, size_t room
) noexcept nogil
cdef uint32_t hash_name(const char* data, size_t size) noexcept nogil
cdef TlsCertificate* best_certificate(TlsIndex* index, const char* name, size_t size) noexcept nogil
cdef bint certificate_parse(TlsCertificate* certificate) noexcept nogil

cdef str last_error()
cdef bytes certificate_der(X509* certificate)
cdef list read_certificates(bytes pem)
cdef X509* read_certificate(bytes der) except NULL


cdef class ServerCertificate:
    cdef TlsCertificate certificate
    cdef readonly tuple names
    cdef readonly str name
    cdef bytes _chain
    cdef bytes _key

cdef class CertificateSet:
    cdef TlsIndex index
    cdef list _kept
