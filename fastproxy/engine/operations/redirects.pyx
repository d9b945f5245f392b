"""Operations that send the client elsewhere (`features.md` 3.6, 3.7 and 3.11, steps 4 and 5)."""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp

from fastproxy.engine.http.methods cimport METHOD_GET, METHOD_HEAD
from fastproxy.engine.stream.complaint cimport WHY_NO_URL, complain
from fastproxy.engine.http.head cimport (
    KIND_X_FORWARDED_PROTO, Head, head_find, head_find_kind, same_text, sent_path,
)
from fastproxy.engine.http.writer cimport Writer, write_number, write_text
from fastproxy.engine.operations.payload cimport Payload, Text, blob, u32
from fastproxy.engine.stream.replies cimport (
    STEP_GO_ON, STEP_REPLY, because, error_reply, link_body, plain_reply, redirect_status, redirect_to, reply_lines,
)
from fastproxy.engine.stream.record cimport RECORD_HOST
from fastproxy.engine.stream.stream cimport Stream
from fastproxy.engine.http.fields cimport Field


cdef bint seems_https(const Stream* stream, const Head* head) noexcept nogil:
    """TLS, or a peer who is trusted says so."""
    cdef Field* field
    if stream.client.tls:
        return True
    field = head_find_kind(head, KIND_X_FORWARDED_PROTO)
    return field != NULL and field.value_size == 5 and memcmp(field.value, <const char*> "https", 5) == 0


cdef void _put_original(Writer* writer, const Stream* stream, const Head* head) noexcept nogil:
    """The target as it came, normalised, before path operations."""
    cdef uint32_t size
    cdef const char* path = sent_path(head, &size)
    if stream.original_path != NULL:
        write_text(writer, stream.original_path, stream.original_path_size)
    else:
        write_text(writer, path, size)
    if head.has_query and head.query_size:
        write_text(writer, "?", 1)
        write_text(writer, head.query, head.query_size)


cdef int redirect_root(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t permanent = u32(payload)
    cdef Text target = blob(payload)
    cdef Writer writer
    cdef const char* path = stream.original_path if stream.original_path != NULL else head.path
    cdef size_t size = stream.original_path_size if stream.original_path != NULL else head.path_size
    while size > 1 and path[size - 1] == c'/' and path[size - 2] == c'/':
        size -= 1  # empty segments do not count
    if size != 1 or path[0] != c'/' or head.has_query:
        return STEP_GO_ON
    while target.size and target.data[0] == c'/':
        target.data += 1
        target.size -= 1
    writer = reply_lines(stream.engine)
    if seems_https(stream, head):
        write_text(&writer, "https://", 8)
    else:
        write_text(&writer, "http://", 7)
    write_text(&writer, head.host, head.host_size)
    write_text(&writer, "/", 1)
    write_text(&writer, target.data, target.size)
    return redirect_to(stream, head, &writer, redirect_status(head, permanent))


cdef int redirect_entry_point(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t permanent = u32(payload)
    cdef uint32_t port = u32(payload)
    cdef Text scheme = blob(payload)
    cdef uint32_t bare = head.host_size, digits = 0, i
    cdef bint https = seems_https(stream, head)
    cdef Writer writer
    if head.host_size == 0:
        complain(stream, WHY_NO_URL, 502)
        return plain_reply(stream.engine, 502, "Bad Gateway")  # there is no such URL
    i = head.host_size
    while i and c'0' <= head.host[i - 1] <= c'9':
        i -= 1
    if i and head.host[i - 1] == c':':
        bare = i - 1
        while i < head.host_size:
            digits = digits * 10 + (head.host[i] - c'0')
            i += 1
    if digits == port and https == (scheme.size == 5):
        return STEP_GO_ON
    writer = reply_lines(stream.engine)
    write_text(&writer, scheme.data, scheme.size)
    write_text(&writer, "://", 3)
    write_text(&writer, head.host, bare)
    write_text(&writer, ":", 1)
    write_number(&writer, port)
    _put_original(&writer, stream, head)
    return redirect_to(stream, head, &writer, redirect_status(head, permanent))


cdef int secure_request(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """`features.md` 3.11, steps 1 to 5."""
    cdef uint32_t flags = u32(payload), count, _i
    cdef Text ssl_host = blob(payload)
    cdef Text item, host
    cdef Field* field
    cdef bint allowed, told = False, development = flags & 8 != 0
    cdef Payload hosts = payload[0]
    count = u32(payload)
    for _i in range(count):
        blob(payload)
    host.data = head.host
    host.size = head.host_size
    count = u32(payload)
    for _i in range(count):
        item = blob(payload)  # every name is read, whichever decides: the pairs stand behind them
        field = NULL if told else head_find(head, item.data, item.size)
        if field != NULL and field.value_size:
            told = True
            host.data = field.value
            host.size = field.value_size
    count = u32(&hosts)
    if count and not development:
        allowed = False
        for _i in range(count):
            item = blob(&hosts)
            if same_text(item.data, item.size, host.data, host.size):
                allowed = True
                break
        if not allowed:
            error_reply(stream.engine, 500, "Bad Host\n")
            return because(stream.engine, RECORD_HOST)
    return _secure_redirect(stream, head, payload, flags, ssl_host, host)


cdef int _secure_redirect(
    Stream* stream, Head* head, Payload* payload, uint32_t flags, Text ssl_host, Text host
) noexcept nogil:
    cdef uint32_t count, _i
    cdef Text name, value, target
    cdef Field* field
    cdef Writer writer
    cdef int status
    # `payload` stands at the pairs of ssl-proxy-headers
    count = u32(payload)
    for _i in range(count):
        name = blob(payload)
        value = blob(payload)
        field = head_find(head, name.data, name.size)
        if field != NULL and field.value_size == value.size and memcmp(field.value, value.data, value.size) == 0:
            stream.ssl = 1
    target = ssl_host if ssl_host.size else host
    if not (
        (flags & 1 and not stream.ssl and not flags & 8)
        or (flags & 4 and not (target.size == host.size and memcmp(target.data, host.data, host.size) == 0))
    ):
        return STEP_GO_ON
    writer = reply_lines(stream.engine)
    write_text(&writer, "https://", 8)
    write_text(&writer, target.data, target.size)
    _put_original(&writer, stream, head)
    status = 307 if flags & 2 else 301
    if redirect_to(stream, head, &writer, status) == STEP_REPLY and stream.engine.reply.status == status:
        stream.engine.reply.body_size = 0
        if head.method == METHOD_GET or head.method == METHOD_HEAD:
            link_body(
                stream.engine, writer.data, writer.size,
                "Temporary Redirect" if status == 307 else "Moved Permanently",
            )
    return STEP_REPLY
