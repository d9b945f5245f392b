"""Only for tests: the C interface of tls/connection.pyx on one socket, call for call."""

from libc.stdint cimport uint8_t, uint32_t

from fastproxy.engine.tls.openssl cimport SSL, SSL_KEY_UPDATE_NOT_REQUESTED, SSL_key_update
from fastproxy.engine.loop.posix cimport iovec, ssize_t
from fastproxy.engine.tls.connection cimport *
from fastproxy.engine.tls.client cimport ClientContext, tls_connect
from fastproxy.engine.tls.server cimport ServerContext, tls_accept, tls_misdirected

cdef dict FAILURES = {
    TLS_FAILURE_NONE: "",
    TLS_FAILURE_UNTRUSTED: "untrusted",
    TLS_FAILURE_NOT_TLS: "not tls",
    TLS_FAILURE_PROTOCOL: "protocol",
    TLS_FAILURE_ALERT: "alert",
    TLS_FAILURE_RESET: "reset",
    TLS_FAILURE_TRUNCATED: "truncated",
    TLS_FAILURE_NO_NAME: "no name",
    TLS_FAILURE_INTERNAL: "internal",
    TLS_FAILURE_PLAIN_HTTP: "plain http",
}
cdef dict CODES = {
    TLS_DONE: "done",
    TLS_CLOSED: "closed",
    TLS_WANT_READ: "want read",
    TLS_WANT_WRITE: "want write",
    TLS_FAILED: "failed",
}


cdef class Probe:
    cdef void* ssl
    cdef object _context
    cdef object _socket

    def __cinit__(self, socket, context, str name="", session_key=0):
        cdef bytes text = name.encode()
        self._socket = socket
        self._context = context
        if isinstance(context, ServerContext):
            self.ssl = tls_accept(&(<ServerContext> context).server, socket.fileno())
        else:
            self.ssl = tls_connect(
                &(<ClientContext?> context).client, socket.fileno(), text, len(text), session_key
            )
        if self.ssl == NULL:
            raise MemoryError

    def __dealloc__(self):
        tls_free(self.ssl)

    def handshake(self):
        return CODES[tls_handshake(self.ssl)]

    def read(self, int size=65536):
        """Bytes, or the name of the code."""
        cdef bytearray data = bytearray(size)
        cdef ssize_t count = tls_read(self.ssl, <char*> data, size)
        return bytes(data[:count]) if count > 0 else CODES[count]

    def write(self, bytes data):
        cdef ssize_t count = tls_write(self.ssl, data, len(data))
        return count if count >= 0 else CODES[count]

    def writev(self, list pieces):
        cdef iovec vector[64]
        cdef int index
        cdef bytes piece
        cdef ssize_t count
        for index, piece in enumerate(pieces):
            vector[index].iov_base = <void*> <char*> piece
            vector[index].iov_len = len(piece)
        count = tls_writev(self.ssl, vector, <int> len(pieces))
        return count if count >= 0 else CODES[count]

    def misdirected(self, bytes host):
        return bool(tls_misdirected(self.ssl, host, len(host)))

    def update_keys(self):
        """Send a message that carries no data; TLS 1.3 only."""
        SSL_key_update(<SSL*> self.ssl, SSL_KEY_UPDATE_NOT_REQUESTED)
        return self.handshake()

    def shutdown(self):
        return CODES[tls_shutdown(self.ssl)]

    @property
    def pending(self):
        return bool(tls_pending(self.ssl))

    @property
    def failure(self):
        return FAILURES[tls_failure(self.ssl)]

    @property
    def error(self):
        return (<bytes> tls_error(self.ssl)).decode()

    @property
    def status(self):
        return tls_status(self.ssl)

    @property
    def server_name(self):
        cdef char text[256]
        return text[:tls_server_name(self.ssl, text, sizeof(text))].decode()

    @property
    def protocol(self):
        cdef uint32_t size
        cdef const uint8_t* data = tls_protocol(self.ssl, &size)
        return (<const char*> data)[:size]

    @property
    def version(self):
        return (<bytes> tls_version(self.ssl)).decode()

    @property
    def cipher(self):
        return (<bytes> tls_cipher(self.ssl)).decode()

    @property
    def resumed(self):
        return bool(tls_resumed(self.ssl))

    @property
    def peer_chain(self):
        return tls_peer_chain(self.ssl)
