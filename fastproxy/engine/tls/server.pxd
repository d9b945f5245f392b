"""TLS with clients; see server.pyx."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t

from fastproxy.engine.tls.certificates cimport CertificateSet, ServerCertificate, TlsIndex


cdef enum:
    GREETING_NONE  # nothing, or less than the first record
    GREETING_HELLO  # a ClientHello, with which the expensive part of a handshake begins
    GREETING_OTHER  # another message, or what is no TLS

cdef struct TlsServer:
    # Everything one entry point needs. Lives as long as the entry point; `index` is replaced when
    # a generation becomes current, which open connections do not notice.
    void* context                # SSL_CTX*
    TlsIndex* index
    bint sni_strict
    bint requests_certificate    # clientCA is set
    const uint8_t* protocols     # ALPN wire form, in order of preference
    uint32_t protocols_size
    uint8_t* ticket_keys         # 80 bytes each: 16 name, 32 AES-256, 32 HMAC; the first encrypts
    uint32_t ticket_key_count


cdef int tls_greeting(int descriptor, bint begun) noexcept nogil
cdef bint tls_left(int descriptor) noexcept nogil
cdef void* tls_accept(TlsServer* server, int descriptor) noexcept nogil
cdef bint tls_options_vary(const TlsServer* server) noexcept nogil
cdef bint tls_misdirected(void* ssl, const char* host, size_t size) noexcept nogil


cdef class ServerContext:
    cdef TlsServer server
    cdef object _options
    cdef bytes _protocols
    cdef CertificateSet _active
    cdef list _static
    cdef list _fetched
    cdef ServerCertificate _default
    cdef int _set_versions_and_ciphers(self, options) except -1
    cdef int _set_clients(self, options) except -1
    cdef int _load(self) except -1
    cdef void _forget_ticket_keys(self) noexcept
    cdef readonly tuple warnings
