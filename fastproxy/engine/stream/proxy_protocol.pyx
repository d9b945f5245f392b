"""The PROXY protocol header of a connection, version 1 (text) and 2 (binary).

The header is optional: a connection that does not start with it is served as it is. It is peeked at
first and taken only when it is complete, so nothing of the request behind it is read. A header from a
peer that is not trusted is consumed and its address ignored (Traefik 1.7 behaviour). Balancers check
the proxy itself with `PROXY UNKNOWN` or version 2 LOCAL: then the peer's own address stays.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp, memcpy, memset

from fastproxy.engine.loop.posix cimport AF_INET, AF_INET6, EAGAIN, EINTR, errno, inet_pton, recv, ssize_t
from fastproxy.engine.stream.stream cimport EntryPoint

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_PEEK

cdef enum:
    LONGEST_TEXT = 107  # bytes, with CRLF
    LONGEST_BINARY = 16 + 2048

cdef bint inside(const uint8_t* rows, size_t count, const uint8_t* address) noexcept nogil:
    """Is a 16-byte address in one of the networks (rows of 16 bytes and the prefix bits)?"""
    cdef size_t i
    cdef int bits, whole
    cdef const uint8_t* row
    for i in range(count):
        row = rows + i * 17
        bits = row[16]
        whole = bits // 8
        if memcmp(row, address, whole) != 0:
            continue
        if bits % 8 == 0 or (row[whole] ^ address[whole]) >> (8 - bits % 8) == 0:
            return True
    return False


cdef bint _believed(const EntryPoint* entry_point, const uint8_t* address) noexcept nogil:
    return entry_point.proxy_protocol == 2 or inside(
        entry_point.proxy_trusted, entry_point.proxy_trusted_count, address
    )


cdef int proxy_header(int descriptor, const EntryPoint* entry_point, uint8_t* address) noexcept nogil:
    """Take the header if there is one: 1 = the connection may begin, 0 = wait for more bytes,
    -1 = close. `address` is replaced when the peer is believed."""
    cdef char data[LONGEST_BINARY]
    cdef uint8_t source[16]
    cdef ssize_t size = recv(descriptor, data, sizeof(data), MSG_PEEK)
    cdef int used
    if size < 0:
        return 0 if errno == EAGAIN or errno == EINTR else -1
    if size == 0:
        return -1
    memset(source, 0, 16)
    if memcmp(data, <const char*> "PROXY ", size if size < 6 else 6) == 0:
        if size < 6:
            return 0
        used = _text(data, size, source)
    elif memcmp(data, <const char*> "\r\n\r\n\x00\r\nQUIT\n", size if size < 12 else 12) == 0:
        if size < 16:
            return 0
        used = _binary(<uint8_t*> data, size, source)
    else:
        return 1
    if used <= 0:
        return used
    if recv(descriptor, data, used, 0) != used:
        return -1
    if source[15] or source[14] or source[13] or source[12] or source[0]:
        if _believed(entry_point, address):
            memcpy(address, source, 16)
    return 1


cdef bint _address(char* text, int family, uint8_t* address) noexcept nogil:
    cdef uint8_t[16] parsed
    if inet_pton(family, text, parsed) != 1:
        return False
    if family == AF_INET:
        memset(address, 0, 10)
        address[10] = 0xFF
        address[11] = 0xFF
        memcpy(address + 12, parsed, 4)
    else:
        memcpy(address, parsed, 16)
    return True


cdef bint _port(const char* text) noexcept nogil:
    cdef int port = 0
    cdef int digits = 0
    while c'0' <= text[digits] <= c'9' and digits < 6:
        port = port * 10 + (text[digits] - c'0')
        digits += 1
    return 0 < digits < 6 and text[digits] == 0 and port <= 65535


cdef int _text(char* data, size_t size, uint8_t* source) noexcept nogil:
    """`PROXY TCP4 source destination port port CRLF`; size of the header, 0 = more, -1 = bad."""
    cdef char* end = <char*> memchr(data, c'\n', size)
    cdef char* text = data + 11
    cdef char* blank
    cdef char* word[4]
    cdef uint8_t destination[16]
    cdef int count, family = AF_INET if size > 9 and data[9] == c'4' else AF_INET6
    if end == NULL:
        return 0 if size < LONGEST_TEXT else -1
    if end == data or (end - 1)[0] != c'\r' or end - data + 1 > LONGEST_TEXT:
        return -1
    if end - data >= 14 and memcmp(data + 6, <const char*> "UNKNOWN", 7) == 0 and (
        data[13] == c' ' or data + 13 == end - 1
    ):
        return <int> (end - data) + 1  # a check of the balancer's own: what follows does not count
    if end - data < 20:
        return -1
    if memcmp(data + 6, <const char*> "TCP4 ", 5) != 0 and memcmp(data + 6, <const char*> "TCP6 ", 5) != 0:
        return -1
    if memchr(text, 0, end - text) != NULL:
        return -1
    (end - 1)[0] = 0
    for count in range(4):
        word[count] = text
        blank = <char*> memchr(text, c' ', end - 1 - text)
        if (blank == NULL) != (count == 3):
            return -1
        if blank != NULL:
            blank[0] = 0
            text = blank + 1
    if not (_address(word[0], family, source) and _address(word[1], family, destination)):
        return -1
    if not (_port(word[2]) and _port(word[3])):
        return -1
    return <int> (end - data) + 1


cdef int _binary(const uint8_t* data, size_t size, uint8_t* source) noexcept nogil:
    """Version 2: LOCAL keeps the peer's address, PROXY over TCP replaces it."""
    cdef size_t length = 16 + (data[14] << 8) + data[15]
    if data[12] >> 4 != 2 or length > LONGEST_BINARY:
        return -1
    if size < length:
        return 0
    if data[12] & 15 == 0:
        return <int> length
    if data[12] & 15 != 1:
        return -1
    if data[13] == 0x11 and length >= 16 + 12:
        source[10] = 0xFF
        source[11] = 0xFF
        memcpy(source + 12, data + 16, 4)
    elif data[13] == 0x21 and length >= 16 + 36:
        memcpy(source, data + 16, 16)
    elif data[13] != 0:
        return -1
    return <int> length
