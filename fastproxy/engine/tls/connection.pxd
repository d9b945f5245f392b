"""TLS on a socket, for both sides of the proxy: what the engine calls (see connection.pyx)."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastproxy.engine.tls.openssl cimport SSL, SSL_CTX, SSL_METHOD
from fastproxy.engine.loop.posix cimport iovec, ssize_t
from fastproxy.engine.tls.certificates cimport NAME_LIMIT

# What the calls below return. A positive result of tls_read and tls_write is a number of bytes.
cdef enum:
    TLS_DONE = 1          # handshake complete, shutdown complete
    TLS_CLOSED = 0        # the peer ended its direction with close_notify
    TLS_WANT_READ = -1    # call again when the socket is readable
    TLS_WANT_WRITE = -2   # call again when the socket is writable
    TLS_FAILED = -3       # the connection is unusable: tls_failure and tls_error say why

# Why a connection failed: tls_failure.
cdef enum:
    TLS_FAILURE_NONE = 0
    TLS_FAILURE_UNTRUSTED = 1    # the peer's certificate does not verify or names someone else
    TLS_FAILURE_NOT_TLS = 2      # what arrived is no TLS at all, e.g. plain HTTP
    TLS_FAILURE_PROTOCOL = 3     # TLS, but broken or without common versions or cipher suites
    TLS_FAILURE_ALERT = 4        # the peer refused us with an alert
    TLS_FAILURE_RESET = 5        # the connection was reset or closed during the handshake
    TLS_FAILURE_TRUNCATED = 6    # end of stream without close_notify after the handshake
    TLS_FAILURE_NO_NAME = 7      # sniStrict and no certificate for that name
    TLS_FAILURE_INTERNAL = 8     # out of memory, unusable key: our own fault
    TLS_FAILURE_PLAIN_HTTP = 9   # the client sent an HTTP request in the clear


cdef struct Note:
    # What a connection needs beside its SSL: towards a backend always, else only after a failure.
    void* client                 # TlsClient*
    uint64_t session_key
    int failure
    char text[176]
    uint32_t name_size
    char name[NAME_LIMIT + 1]


# A connection is an `SSL*`, opaque to callers.

cdef int tls_handshake(void* ssl) noexcept nogil
cdef ssize_t tls_read(void* ssl, char* data, size_t size) noexcept nogil
cdef ssize_t tls_write(void* ssl, const char* data, size_t size) noexcept nogil
cdef ssize_t tls_writev(void* ssl, const iovec* pieces, int count) noexcept nogil
cdef int tls_shutdown(void* ssl) noexcept nogil
cdef void tls_free(void* ssl) noexcept nogil
cdef int tls_pending(void* ssl) noexcept nogil

cdef int tls_failure(void* ssl) noexcept nogil
cdef const char* tls_error(void* ssl) noexcept nogil
cdef int tls_status(void* ssl) noexcept nogil

cdef size_t tls_server_name(void* ssl, char* data, size_t size) noexcept nogil
cdef const uint8_t* tls_protocol(void* ssl, uint32_t* size) noexcept nogil
cdef const char* tls_version(void* ssl) noexcept nogil
cdef const char* tls_cipher(void* ssl) noexcept nogil
cdef bint tls_resumed(void* ssl) noexcept nogil

cdef list tls_peer_chain(void* ssl)

# For the two sides: server.pyx, client.pyx.
cdef SSL_CTX* tls_context(const SSL_METHOD* method) except NULL
cdef int tls_trust(SSL_CTX* context, sources, bint announce) except -1
cdef SSL* tls_open(SSL_CTX* context, int descriptor) noexcept nogil
cdef int tls_descriptor(SSL* ssl) noexcept nogil
cdef Note* tls_note(SSL* ssl) noexcept nogil
cdef int tls_explain(SSL* ssl, int failure, const char* text, const char* detail) noexcept nogil
