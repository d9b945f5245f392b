"""THE one writer of heads: what goes to endpoints and clients is always written anew, from here.

Invariants
* Managed fields (Host, Content-Length, X-Forwarded-*) are written from the canonical values only.
* Bytes that a feature or a configuration supplies pass `write_field`, which refuses CR, LF and NUL.
* A head that does not fit is marked `failed`, never cut.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport strlen

from fastproxy.engine.http.methods cimport METHOD_PATCH, METHOD_POST, METHOD_PUT
from fastproxy.engine.http.head cimport (
    KIND_LAST_HOP, KIND_LAST_MANAGED, KIND_TLS_CLIENT, KIND_X_FORWARDED_FOR, KIND_X_FORWARDED_HOST, KIND_X_FORWARDED_PORT,
    KIND_X_FORWARDED_PROTO, KIND_X_FORWARDED_SERVER, KIND_X_REAL_IP, Head, same_text,
)
from fastproxy.engine.http.fields cimport Field
from fastproxy.engine.http.writer cimport Writer, copy_field, put, status_text, write_number


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
                    put(writer, "X-Forwarded-For: ", 17)
                else:
                    put(writer, ", ", 2)
                put(writer, field.value, field.value_size)
                continue
            if field.kind == KIND_X_FORWARDED_SERVER:
                continue
        if listed:
            put(writer, ", ", 2)
            put(writer, forwarding.client, forwarding.client_size)
            put(writer, "\r\n", 2)
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
            copy_field(writer, field)
    if not listed:
        put(writer, "X-Forwarded-For: ", 17)
        put(writer, forwarding.client, forwarding.client_size)
        put(writer, "\r\n", 2)
    if not kept_host and head.host_size:
        put(writer, "X-Forwarded-Host: ", 18)
        put(writer, head.host, head.host_size)
        put(writer, "\r\n", 2)
    if not kept_port:
        put(writer, "X-Forwarded-Port: ", 18)
        port = _port_of(head)
        if port < head.host_size:
            put(writer, head.host + port, head.host_size - port)
        elif https or forwarding.tls:
            put(writer, "443", 3)
        else:
            put(writer, "80", 2)
        put(writer, "\r\n", 2)
    if not kept_proto:
        if forwarding.tls:
            put(writer, "X-Forwarded-Proto: https\r\n", 26)
        else:
            put(writer, "X-Forwarded-Proto: http\r\n", 25)
    put(writer, "X-Forwarded-Server: ", 20)
    put(writer, forwarding.server, forwarding.server_size)
    put(writer, "\r\n", 2)
    if not kept_real:
        put(writer, "X-Real-Ip: ", 11)
        put(writer, forwarding.client, forwarding.client_size)
        put(writer, "\r\n", 2)


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
    put(writer, head.method_text, head.method_size)
    put(writer, " ", 1)
    if head.sent == NULL:
        put(writer, head.path, head.path_size)
    else:
        put(writer, head.sent, head.sent_size)
    if head.query_size:
        put(writer, "?", 1)
        put(writer, head.query, head.query_size)
    put(writer, " HTTP/1.1\r\nHost: ", 17)
    if forwarding.host != NULL:
        put(writer, forwarding.host, forwarding.host_size)
    else:
        put(writer, head.host, head.host_size)
    put(writer, "\r\n", 2)
    while field < end:
        if not field.dropped and not KIND_LAST_HOP < field.kind < KIND_LAST_MANAGED:
            copy_field(writer, field)
        field += 1
    if forwarding.expect:
        put(writer, "Expect: 100-continue\r\n", 22)
    if length >= 0:
        put(writer, "Content-Length: ", 16)
        write_number(writer, <uint64_t> length)
        put(writer, "\r\n", 2)
    elif head.chunked and forwarding.content_length == -2:
        put(writer, "Transfer-Encoding: chunked\r\n", 28)
    elif head.method == METHOD_POST or head.method == METHOD_PUT or head.method == METHOD_PATCH:
        # RFC 9110 8.6, as Go's transport does: servers answer 411 without it.
        put(writer, "Content-Length: 0\r\n", 19)
    if head.te_trailers:
        put(writer, "Te: trailers\r\n", 14)
    if head.upgrade:
        put(writer, "Connection: Upgrade\r\nUpgrade: ", 30)
        put(writer, head.upgrade_value, head.upgrade_size)
        put(writer, "\r\n", 2)
    _forwarded(writer, head, forwarding)
    put(writer, "\r\n", 2)


cdef void write_response(
    Writer* writer, const Head* head, uint8_t chunked, uint8_t close, uint8_t http10_keep_alive,
    const char* date, const char* extra, uint32_t extra_size
) noexcept nogil:
    """Write the head that goes to the client, always as HTTP/1.1. `extra` holds complete lines."""
    cdef Field* field = head.fields
    cdef Field* end = field + head.count
    cdef const char* reason = status_text(head.status)
    put(writer, "HTTP/1.1 ", 9)
    write_number(writer, head.status)
    put(writer, " ", 1)
    put(writer, reason, strlen(reason))
    put(writer, "\r\n", 2)
    while field < end:
        if not field.dropped:
            copy_field(writer, field)
        field += 1
    if not head.has_server:
        # Every response names a server: the Ingress conformance suite expects it.
        put(writer, "Server: fastproxy\r\n", 19)
    if not head.has_date:
        put(writer, date, 37)
    if chunked:
        put(writer, "Transfer-Encoding: chunked\r\n", 28)
    elif head.content_length >= 0 and head.status != 204 and head.status >= 200:
        put(writer, "Content-Length: ", 16)
        write_number(writer, <uint64_t> head.content_length)
        put(writer, "\r\n", 2)
    if head.status == 101:
        put(writer, "Connection: Upgrade\r\nUpgrade: ", 30)
        put(writer, head.upgrade_value, head.upgrade_size)
        put(writer, "\r\n", 2)
    elif head.status == 426 and head.upgrade_size:
        # RFC 9110 15.5.22: what to upgrade to has to be told.
        if close:
            put(writer, "Connection: Upgrade, close\r\nUpgrade: ", 37)
        else:
            put(writer, "Connection: Upgrade\r\nUpgrade: ", 30)
        put(writer, head.upgrade_value, head.upgrade_size)
        put(writer, "\r\n", 2)
    elif close:
        put(writer, "Connection: close\r\n", 19)
    elif http10_keep_alive:
        put(writer, "Connection: keep-alive\r\n", 24)
    if extra_size:
        put(writer, extra, extra_size)
    put(writer, "\r\n", 2)


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
