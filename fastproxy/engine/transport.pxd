"""Reading and writing a socket, with TLS or without: the one place where they differ.

Answers: > 0 bytes, 0 the peer has ended, TRANSPORT_AGAIN nothing now, TRANSPORT_FAILED.
"""

from libc.string cimport memcpy

from fastproxy.engine.posix cimport EAGAIN, EINTR, MSG_NOSIGNAL, errno, iovec, msghdr, recv, send, sendmsg, ssize_t
from fastproxy.engine.stream cimport Engine

cdef enum:
    TRANSPORT_AGAIN = -1
    TRANSPORT_FAILED = -2
    RECORD = 16384

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

cdef inline ssize_t _tls_write(Engine* engine, void* ssl, const iovec* vector, int count) noexcept nogil:
    """Small pieces are joined so that a head and its body make one record."""
    cdef char record[RECORD]
    cdef size_t filled = 0, part, offset = 0
    cdef ssize_t written, total = 0
    cdef const char* data
    cdef size_t size
    cdef int i = 0
    while i < count or filled:
        if i < count and filled == 0 and vector[i].iov_len - offset >= RECORD:
            data = <const char*> vector[i].iov_base + offset
            size = vector[i].iov_len - offset
            offset = 0
            i += 1
        else:
            while i < count and filled < RECORD:
                part = vector[i].iov_len - offset
                if part > RECORD - filled:
                    part = RECORD - filled
                memcpy(record + filled, <const char*> vector[i].iov_base + offset, part)
                filled += part
                offset += part
                if offset == vector[i].iov_len:
                    offset = 0
                    i += 1
            data = record
            size = filled
            filled = 0
        if size == 0:
            continue
        written = engine.tls.write(ssl, data, size)
        if written <= 0:
            if total:
                return total
            return TRANSPORT_AGAIN if written == -1 or written == -2 else TRANSPORT_FAILED
        total += written
        if <size_t> written < size:
            return total
    return total

cdef inline ssize_t transport_write(Engine* engine, int descriptor, void* ssl, const iovec* vector, int count) noexcept nogil:
    cdef ssize_t written
    cdef msghdr message
    if ssl != NULL:
        return _tls_write(engine, ssl, vector, count)
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
