"""THE one writer of heads: what goes to endpoints and clients is always written anew, from here.

Invariants
* Managed fields (Host, Content-Length, X-Forwarded-*) are written from the canonical values only.
* Bytes that a feature or a configuration supplies pass `write_field`, which refuses CR, LF and NUL.
* A head that does not fit is marked `failed`, never cut.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen

from fastproxy.engine.http.methods cimport METHOD_PATCH, METHOD_POST, METHOD_PUT
from fastproxy.engine.http.head cimport (
    KIND_LAST_HOP, KIND_LAST_MANAGED, KIND_TLS_CLIENT, KIND_X_FORWARDED_FOR, KIND_X_FORWARDED_HOST, KIND_X_FORWARDED_PORT,
    KIND_X_FORWARDED_PROTO, KIND_X_FORWARDED_SERVER, KIND_X_REAL_IP, Head, same_text,
)
from fastproxy.engine.http.h1_parser cimport Field

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


# --- pieces ---

cdef inline void _put(Writer* writer, const char* data, size_t size) noexcept nogil:
    if writer.size + size > writer.capacity:
        writer.failed = 1
        return
    if size:  # what is absent has no address
        memcpy(writer.data + writer.size, data, size)
        writer.size += size


cdef void write_text(Writer* writer, const char* text, size_t size) noexcept nogil:
    _put(writer, text, size)


cdef void write_number(Writer* writer, uint64_t number) noexcept nogil:
    cdef char digits[24]
    cdef int i = 24
    while True:
        i -= 1
        digits[i] = c'0' + <char> (number % 10)
        number //= 10
        if number == 0:
            break
    _put(writer, digits + i, 24 - i)


cdef void write_hex(Writer* writer, uint64_t number) noexcept nogil:
    cdef char digits[16]
    cdef int i = 16
    while True:
        i -= 1
        digits[i] = "0123456789abcdef"[number & 15]
        number >>= 4
        if number == 0:
            break
    _put(writer, digits + i, 16 - i)


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
    _put(writer, name, name_size)
    _put(writer, ": ", 2)
    _put(writer, value, value_size)
    _put(writer, "\r\n", 2)
    return True


cdef inline void _copy_field(Writer* writer, const Field* field) noexcept nogil:
    cdef char* out
    cdef size_t size = field.name_size + field.value_size + 4
    if field.added:
        write_field(writer, field.name, field.name_size, field.value, field.value_size)
        return
    if writer.size + size > writer.capacity:
        writer.failed = 1
        return
    out = writer.data + writer.size
    memcpy(out, field.name, field.name_size)
    out += field.name_size
    out[0] = c':'
    out[1] = c' '
    memcpy(out + 2, field.value, field.value_size)
    out += 2 + field.value_size
    out[0] = c'\r'
    out[1] = c'\n'
    writer.size += size


cdef bint write_head_field(Writer* writer, const Field* field) noexcept nogil:
    """Write a field of a head; one that was added is checked as in `write_field`."""
    if field.added:
        return write_field(writer, field.name, field.name_size, field.value, field.value_size)
    _copy_field(writer, field)
    return True


# --- heads ---

cdef void _forwarded(Writer* writer, const Head* head, const Forwarding* forwarding) noexcept nogil:
    """X-Forwarded-* and X-Real-Ip (`features.md` 4.2). What the head has of them is from a trusted
    peer or an operation (`access.drop_claims`)."""
    cdef Field* field
    cdef bint kept_proto = False, kept_port = False, kept_host = False, kept_real = False, https = forwarding.tls
    cdef bint listed = False
    cdef uint32_t i, port
    if head.has_forwarded:
        for i in range(head.count):
            field = &head.fields[i]
            if field.dropped or not KIND_X_FORWARDED_FOR <= field.kind <= KIND_X_REAL_IP:
                continue
            if field.kind == KIND_X_FORWARDED_FOR:
                if not listed:
                    listed = True
                    _put(writer, "X-Forwarded-For: ", 17)
                else:
                    _put(writer, ", ", 2)
                _put(writer, field.value, field.value_size)
                continue
            if field.kind == KIND_X_FORWARDED_SERVER:
                continue
        if listed:
            _put(writer, ", ", 2)
            _put(writer, forwarding.client, forwarding.client_size)
            _put(writer, "\r\n", 2)
        for i in range(head.count):
            field = &head.fields[i]
            if field.dropped or not KIND_X_FORWARDED_FOR <= field.kind <= KIND_X_REAL_IP:
                continue
            if field.kind == KIND_X_FORWARDED_FOR or field.kind == KIND_X_FORWARDED_SERVER:
                continue
            if field.value_size == 0 and field.kind != KIND_TLS_CLIENT:  # counts as absent, as in 1.7
                continue
            if field.kind == KIND_X_FORWARDED_PROTO:
                kept_proto = True
                https = same_text(field.value, field.value_size, "https", 5) or same_text(field.value, field.value_size, "wss", 3)
            elif field.kind == KIND_X_FORWARDED_PORT:
                kept_port = True
            elif field.kind == KIND_X_FORWARDED_HOST:
                kept_host = True
            elif field.kind == KIND_X_REAL_IP:
                kept_real = True
            _copy_field(writer, field)
    if not listed:
        _put(writer, "X-Forwarded-For: ", 17)
        _put(writer, forwarding.client, forwarding.client_size)
        _put(writer, "\r\n", 2)
    if not kept_host and head.host_size:
        _put(writer, "X-Forwarded-Host: ", 18)
        _put(writer, head.host, head.host_size)
        _put(writer, "\r\n", 2)
    if not kept_port:
        _put(writer, "X-Forwarded-Port: ", 18)
        port = _port_of(head)
        if port < head.host_size:
            _put(writer, head.host + port, head.host_size - port)
        elif https or forwarding.tls:
            _put(writer, "443", 3)
        else:
            _put(writer, "80", 2)
        _put(writer, "\r\n", 2)
    if not kept_proto:
        if forwarding.tls:
            _put(writer, "X-Forwarded-Proto: https\r\n", 26)
        else:
            _put(writer, "X-Forwarded-Proto: http\r\n", 25)
    _put(writer, "X-Forwarded-Server: ", 20)
    _put(writer, forwarding.server, forwarding.server_size)
    _put(writer, "\r\n", 2)
    if not kept_real:
        _put(writer, "X-Real-Ip: ", 11)
        _put(writer, forwarding.client, forwarding.client_size)
        _put(writer, "\r\n", 2)


cdef uint32_t _port_of(const Head* head) noexcept nogil:
    """Where the digits of the port start in Host; its size when there are none."""
    cdef uint32_t i = head.host_size
    while i:
        i -= 1
        if head.host[i] == c':':
            return i + 1
        if not c'0' <= head.host[i] <= c'9':
            break
    return head.host_size


cdef void write_request(Writer* writer, const Head* head, const Forwarding* forwarding) noexcept nogil:
    """Write the head that goes upstream, always as HTTP/1.1 (`features.md` 4.1)."""
    cdef Field* field = head.fields
    cdef Field* end = field + head.count
    cdef int64_t length = head.content_length if forwarding.content_length == -2 else forwarding.content_length
    _put(writer, head.method_text, head.method_size)
    _put(writer, " ", 1)
    if head.sent == NULL:
        _put(writer, head.path, head.path_size)
    else:
        _put(writer, head.sent, head.sent_size)
    if head.query_size:
        _put(writer, "?", 1)
        _put(writer, head.query, head.query_size)
    _put(writer, " HTTP/1.1\r\nHost: ", 17)
    if forwarding.host != NULL:
        _put(writer, forwarding.host, forwarding.host_size)
    else:
        _put(writer, head.host, head.host_size)
    _put(writer, "\r\n", 2)
    while field < end:
        if not field.dropped and not KIND_LAST_HOP < field.kind < KIND_LAST_MANAGED:
            _copy_field(writer, field)
        field += 1
    if forwarding.expect:
        _put(writer, "Expect: 100-continue\r\n", 22)
    if length >= 0:
        _put(writer, "Content-Length: ", 16)
        write_number(writer, <uint64_t> length)
        _put(writer, "\r\n", 2)
    elif head.chunked and forwarding.content_length == -2:
        _put(writer, "Transfer-Encoding: chunked\r\n", 28)
    elif head.method == METHOD_POST or head.method == METHOD_PUT or head.method == METHOD_PATCH:
        # RFC 9110 8.6, as Go's transport does: servers answer 411 without it.
        _put(writer, "Content-Length: 0\r\n", 19)
    if head.te_trailers:
        _put(writer, "Te: trailers\r\n", 14)
    if head.upgrade:
        _put(writer, "Connection: Upgrade\r\nUpgrade: ", 30)
        _put(writer, head.upgrade_value, head.upgrade_size)
        _put(writer, "\r\n", 2)
    _forwarded(writer, head, forwarding)
    _put(writer, "\r\n", 2)


cdef void write_response(
    Writer* writer, const Head* head, uint8_t chunked, uint8_t close, uint8_t http10_keep_alive,
    const char* date, const char* extra, uint32_t extra_size
) noexcept nogil:
    """Write the head that goes to the client, always as HTTP/1.1. `extra` holds complete lines."""
    cdef Field* field = head.fields
    cdef Field* end = field + head.count
    cdef const char* reason = status_text(head.status)
    _put(writer, "HTTP/1.1 ", 9)
    write_number(writer, head.status)
    _put(writer, " ", 1)
    _put(writer, reason, strlen(reason))
    _put(writer, "\r\n", 2)
    while field < end:
        if not field.dropped:
            _copy_field(writer, field)
        field += 1
    if not head.has_server:
        # Every response names a server: the Ingress conformance suite expects it.
        _put(writer, "Server: fastproxy\r\n", 19)
    if not head.has_date:
        _put(writer, date, 37)
    if chunked:
        _put(writer, "Transfer-Encoding: chunked\r\n", 28)
    elif head.content_length >= 0 and head.status != 204 and head.status >= 200:
        _put(writer, "Content-Length: ", 16)
        write_number(writer, <uint64_t> head.content_length)
        _put(writer, "\r\n", 2)
    if head.status == 101:
        _put(writer, "Connection: Upgrade\r\nUpgrade: ", 30)
        _put(writer, head.upgrade_value, head.upgrade_size)
        _put(writer, "\r\n", 2)
    elif head.status == 426 and head.upgrade_size:
        # RFC 9110 15.5.22: what to upgrade to has to be told.
        if close:
            _put(writer, "Connection: Upgrade, close\r\nUpgrade: ", 37)
        else:
            _put(writer, "Connection: Upgrade\r\nUpgrade: ", 30)
        _put(writer, head.upgrade_value, head.upgrade_size)
        _put(writer, "\r\n", 2)
    elif close:
        _put(writer, "Connection: close\r\n", 19)
    elif http10_keep_alive:
        _put(writer, "Connection: keep-alive\r\n", 24)
    if extra_size:
        _put(writer, extra, extra_size)
    _put(writer, "\r\n", 2)


# --- bodies ---

cdef size_t chunk_line(char* line, size_t size) noexcept nogil:
    """Write the size line of a chunk; returns its length."""
    cdef char digits[16]
    cdef int used = 0, i
    while size:
        digits[used] = "0123456789abcdef"[size & 15]
        used += 1
        size >>= 4
    for i in range(used):
        line[i] = digits[used - 1 - i]
    line[used] = c'\r'
    line[used + 1] = c'\n'
    return used + 2
