"""Writing text into a buffer: lines, numbers, header fields, and the phrases of statuses.

Invariants
* Bytes that a feature or a configuration supplies pass `write_field`, which refuses CR, LF and NUL.
* What does not fit marks the writer as `failed`; nothing is cut.
"""

from libc.stdint cimport uint64_t

from fastproxy.engine.http.fields cimport Field

_REASONS = {
    100: b"Continue", 101: b"Switching Protocols", 102: b"Processing", 103: b"Early Hints",
    200: b"OK", 201: b"Created", 202: b"Accepted", 203: b"Non-Authoritative Information",
    204: b"No Content", 205: b"Reset Content", 206: b"Partial Content", 207: b"Multi-Status",
    208: b"Already Reported", 226: b"IM Used", 300: b"Multiple Choices",
    301: b"Moved Permanently", 302: b"Found", 303: b"See Other", 304: b"Not Modified",
    305: b"Use Proxy", 307: b"Temporary Redirect", 308: b"Permanent Redirect",
    400: b"Bad Request", 401: b"Unauthorized", 402: b"Payment Required", 403: b"Forbidden",
    404: b"Not Found", 405: b"Method Not Allowed", 406: b"Not Acceptable",
    407: b"Proxy Authentication Required", 408: b"Request Timeout", 409: b"Conflict", 410: b"Gone",
    411: b"Length Required", 412: b"Precondition Failed", 413: b"Request Entity Too Large",
    414: b"Request URI Too Long", 415: b"Unsupported Media Type",
    416: b"Requested Range Not Satisfiable", 417: b"Expectation Failed", 418: b"I'm a teapot",
    421: b"Misdirected Request", 422: b"Unprocessable Entity", 423: b"Locked",
    424: b"Failed Dependency", 425: b"Too Early", 426: b"Upgrade Required",
    428: b"Precondition Required", 429: b"Too Many Requests",
    431: b"Request Header Fields Too Large", 451: b"Unavailable For Legal Reasons",
    500: b"Internal Server Error", 501: b"Not Implemented", 502: b"Bad Gateway",
    503: b"Service Unavailable", 504: b"Gateway Timeout", 505: b"HTTP Version Not Supported",
    506: b"Variant Also Negotiates", 507: b"Insufficient Storage", 508: b"Loop Detected",
    510: b"Not Extended", 511: b"Network Authentication Required",
}
cdef const char* _reasons[600]


cdef int _fill_reasons() except -1:
    cdef int status
    for status in range(600):
        _reasons[status] = NULL
    for status, text in _REASONS.items():
        _reasons[status] = <const char*> text
    return 0


_fill_reasons()


cdef const char* status_text(int status) noexcept nogil:
    if 0 <= status < 600 and _reasons[status] != NULL:
        return _reasons[status]
    return ""


cdef void write_text(Writer* writer, const char* text, size_t size) noexcept nogil:
    put(writer, text, size)


cdef void write_number(Writer* writer, uint64_t number) noexcept nogil:
    cdef char digits[24]
    cdef int i = 24
    while True:
        i -= 1
        digits[i] = c'0' + <char> (number % 10)
        number //= 10
        if number == 0:
            break
    put(writer, digits + i, 24 - i)


cdef void write_hex(Writer* writer, uint64_t number) noexcept nogil:
    cdef char digits[16]
    cdef int i = 16
    while True:
        i -= 1
        digits[i] = "0123456789abcdef"[number & 15]
        number >>= 4
        if number == 0:
            break
    put(writer, digits + i, 16 - i)


cdef inline bint _ends_line(char byte) noexcept nogil:
    return byte == c'\r' or byte == c'\n' or byte == 0


cdef bint write_field(Writer* writer, const char* name, size_t name_size, const char* value, size_t value_size) noexcept nogil:
    """Write one field whose bytes are not from a parsed head; refuses CR, LF and NUL."""
    cdef size_t i
    for i in range(name_size):
        if _ends_line(name[i]) or name[i] == c':' or name[i] == c' ':
            return False
    for i in range(value_size):
        if _ends_line(value[i]):
            return False
    if name_size == 0:
        return False
    put(writer, name, name_size)
    put(writer, ": ", 2)
    put(writer, value, value_size)
    put(writer, "\r\n", 2)
    return True


cdef bint write_head_field(Writer* writer, const Field* field) noexcept nogil:
    """Write a field of a head; one that was added is checked as in `write_field`."""
    if field.added:
        return write_field(writer, field.name, field.name_size, field.value, field.value_size)
    copy_field(writer, field)
    return True
