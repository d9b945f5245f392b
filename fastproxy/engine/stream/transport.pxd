"""Reading and writing a socket, with TLS or without: the one place where they differ.

Answers: > 0 bytes, 0 the peer has ended, TRANSPORT_AGAIN nothing now, TRANSPORT_FAILED.
"""

from fastproxy.engine.loop.posix cimport (
    EAGAIN, EINTR, MSG_NOSIGNAL, SHUT_WR, errno, iovec, msghdr, recv, send, sendmsg, shutdown, ssize_t,
)
from fastproxy.engine.stream.stream cimport Engine

cdef enum:
    TRANSPORT_AGAIN = -1
    TRANSPORT_FAILED = -2
    TLS_FULL = -2  # what `TlsApi.shutdown` answers when the socket has no room

cdef inline ssize_t transport_read(Engine* engine, int descriptor, void* ssl, char* data, size_t size) noexcept nogil:
    cdef ssize_t count
    if ssl != NULL:
        count = engine.tls.read(ssl, data, size)
        if count >= 0:
            return count
        return TRANSPORT_AGAIN if count == -1 or count == -2 else TRANSPORT_FAILED
    while True:
        count = recv(descriptor, data, size, 0)
        if count >= 0:
            return count
        if errno == EAGAIN:
            return TRANSPORT_AGAIN
        if errno != EINTR:
            return TRANSPORT_FAILED

cdef inline bint transport_drained(Engine* engine, void* ssl, size_t count, size_t asked) noexcept nogil:
    """Whether a read that came back with `count` bytes has emptied the socket (its end apart)."""
    return count < asked and (ssl == NULL or not engine.tls.pending(ssl))

cdef inline ssize_t transport_write(Engine* engine, int descriptor, void* ssl, const iovec* vector, int count) noexcept nogil:
    cdef ssize_t written
    cdef msghdr message
    if ssl != NULL:
        written = engine.tls.writev(ssl, vector, count)
        if written >= 0:
            return written
        return TRANSPORT_AGAIN if written == -1 or written == -2 else TRANSPORT_FAILED
    while True:
        if count == 1:
            written = send(descriptor, vector[0].iov_base, vector[0].iov_len, MSG_NOSIGNAL)
        else:
            message.msg_name = NULL
            message.msg_namelen = 0
            message.msg_iov = <iovec*> vector
            message.msg_iovlen = count
            message.msg_control = NULL
            message.msg_controllen = 0
            message.msg_flags = 0
            written = sendmsg(descriptor, &message, MSG_NOSIGNAL)
        if written >= 0:
            return written
        if errno == EAGAIN:
            return TRANSPORT_AGAIN
        if errno != EINTR:
            return TRANSPORT_FAILED

cdef inline bint transport_end(Engine* engine, int descriptor, void* ssl) noexcept nogil:
    """End our half. False while the socket does not take the close_notify that comes before: to be
    called again when it is writable."""
    if ssl != NULL and engine.tls.shutdown(ssl) == TLS_FULL:
        return False
    shutdown(descriptor, SHUT_WR)
    return True
