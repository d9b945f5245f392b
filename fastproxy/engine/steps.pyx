"""What happens to a request between its head and its endpoint.

Idea: a route's operations are data in the compiled table (`operations.py`); this module executes them
in order, without Python, and without any work for a route that has none. Every function returns
STEP_GO_ON, or STEP_REPLY with the answer in `engine.reply`, or STEP_PARK when a Python filter goes
on with the stream later.

Operations edit the canonical head; values they make live in the worker's scratch memory or in the
table block, which the stream keeps alive by its reference to the table.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset, strlen

from fastproxy._core cimport (
    BALANCER_EMPTY, BALANCER_ZERO, MATCH_ADD_SLASH, MATCH_REMOVE_SLASH, NO_ROUTE, MatchRequest,
    MatchResult, balancer_pick, balancer_update, core_match,
)
from fastproxy._shared cimport (
    breaker_admit, breaker_record, connections_release, connections_take, quality_record,
    quality_weights, rate_take,
)
from fastproxy.engine.buffers cimport queue_clear
from fastproxy.engine.compress cimport compress_wish
from fastproxy.engine.head cimport (
    KIND_COOKIE, KIND_LOCATION, KIND_X_FORWARDED_FOR, KIND_X_FORWARDED_PROTO, Head, Writer,
    head_add, head_find, head_find_kind, head_remove, same_text, scratch_keep, status_text,
    write_field, write_number, write_text,
)
from fastproxy.engine.llhttp cimport METHOD_GET, METHOD_HEAD
from fastproxy.engine.posix cimport inet_pton, AF_INET, AF_INET6, ssize_t
from fastproxy.engine.proxy_protocol cimport inside
from fastproxy.engine.saved cimport SavedHead, head_forget, head_save
from fastproxy.engine.stream cimport (
    FAIL_CONNECT_TIMEOUT, FAIL_INTERNAL, FAIL_RESPONSE_TIMEOUT, FAIL_UNTRUSTED, ROUTE_NOT_FOUND,
    Engine, EntryPoint, LiveBackend, OperationRecord, Pool, Reply, RouteRecord, Stream, Table,
)
from fastproxy.engine.wire cimport Field

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void* data, size_t size, unsigned int flags)

cdef enum Code:
    # the same numbers as in operations.py; a test compares them
    STRIP_PREFIXES = 1
    ADD_PREFIX = 2
    REPLACE_PATH = 3
    REWRITE_PREFIX = 4
    ALLOW_NETWORKS = 5
    REDIRECT_ROOT = 6
    REDIRECT_ENTRY_POINT = 7
    EDIT_REQUEST_HEADERS = 8
    SECURE_REQUEST = 9
    MAX_CONNECTIONS = 10
    RATE_LIMIT = 11
    CIRCUIT_BREAKER = 12
    AFFINITY = 13
    EDIT_RESPONSE_HEADERS = 14
    FIX_LOCATION = 15
    ERROR_PAGES = 16
    SCRIPTED = 17
    COMPRESS = 18
    OFFER_CERTIFICATE = 19  # done where the endpoints are connected to

cdef enum:
    EXTRACT_CLIENT = 0
    EXTRACT_HOST = 1
    EXTRACT_HEADER = 2

cdef const char* NOT_FOUND = "404 page not found\n"


# --- payloads ---

cdef struct Text:
    const char* data
    uint32_t size

cdef struct Payload:
    const char* at

cdef inline uint32_t _u32(Payload* payload) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, payload.at, 4)
    payload.at += 4
    return value

cdef inline int64_t _i64(Payload* payload) noexcept nogil:
    cdef int64_t value
    memcpy(&value, payload.at, 8)
    payload.at += 8
    return value

cdef inline Text _blob(Payload* payload) noexcept nogil:
    cdef Text text
    text.size = _u32(payload)
    text.data = payload.at
    payload.at += text.size
    return text


# --- answers ---

cdef int plain_reply(Engine* engine, int status, const char* body) noexcept nogil:
    """The usual answer of 1.2: plain text without newline."""
    memset(&engine.reply, 0, sizeof(Reply))
    engine.reply.status = status
    engine.reply.body = body
    engine.reply.body_size = strlen(body)
    return STEP_REPLY


cdef int _error_reply(Engine* engine, int status, const char* body) noexcept nogil:
    """The "E" style of 1.2."""
    plain_reply(engine, status, body)
    engine.reply.nosniff = 1
    return STEP_REPLY


cdef int failure_reply(Engine* engine, int failure) noexcept nogil:
    """The one place where an upstream failure becomes a status (`features.md` 1.2)."""
    if failure == FAIL_CONNECT_TIMEOUT or failure == FAIL_RESPONSE_TIMEOUT:
        return plain_reply(engine, 504, "Gateway Timeout")
    if failure == FAIL_UNTRUSTED or failure == FAIL_INTERNAL:
        return plain_reply(engine, 500, "Internal Server Error")
    return plain_reply(engine, 502, "Bad Gateway")


cdef Writer _lines(Engine* engine) noexcept nogil:
    """A writer for header lines of an answer, in what is left of the scratch memory."""
    cdef Writer writer
    writer.data = engine.scratch.extra + engine.scratch.extra_used
    writer.capacity = sizeof(engine.scratch.extra) - engine.scratch.extra_used
    writer.size = 0
    writer.failed = 0
    return writer


cdef int _location_reply(Engine* engine, int status, const char* value, size_t size) noexcept nogil:
    """A redirect; the value may not contain line ends."""
    cdef Writer writer = _lines(engine)
    if not write_field(&writer, "Location", 8, value, size) or writer.failed:
        return plain_reply(engine, 500, "Internal Server Error")
    plain_reply(engine, status, status_text(status))
    engine.reply.lines = writer.data
    engine.reply.lines_size = writer.size
    engine.scratch.extra_used += <uint32_t> writer.size
    return STEP_REPLY


cdef int _redirect_status(const Head* head, uint32_t permanent) noexcept nogil:
    if head.method == METHOD_GET:
        return 301 if permanent else 302
    return 308 if permanent else 307


# --- routing ---

cdef int _header_value(
    void* context, const char* name, size_t name_size, uint32_t index, const char** value, size_t* value_size
) noexcept nogil:
    cdef Head* head = <Head*> context
    cdef uint32_t i
    for i in range(head.count):
        if not head.fields[i].dropped and same_text(head.fields[i].name, head.fields[i].name_size, name, name_size):
            if index == 0:
                value[0] = head.fields[i].value
                value_size[0] = head.fields[i].value_size
                return 1
            index -= 1
    return 0


cdef bint _is_path(const Head* head, const char* path) noexcept nogil:
    return head.path_size == strlen(path) and memcmp(head.path, path, head.path_size) == 0


cdef int _ping(Engine* engine, const Head* head) noexcept nogil:
    cdef bint good
    if head.method != METHOD_GET and head.method != METHOD_HEAD:
        return STEP_GO_ON
    if _is_path(head, "/ping"):
        good = engine.healthy
    elif _is_path(head, "/ready"):
        good = engine.healthy and engine.ready
    else:
        return STEP_GO_ON
    return plain_reply(engine, 200, "OK") if good else plain_reply(engine, 503, "Service Unavailable")


cdef int route_request(Stream* stream, Head* head) noexcept nogil:
    """Find the route; the stream takes a reference to the table and to the backend."""
    cdef Engine* engine = stream.engine
    cdef Table* table = engine.table
    cdef MatchRequest request
    cdef MatchResult result
    cdef LiveBackend* backend
    cdef const RouteRecord* route
    if engine.entry_points[stream.entry_point].ping and _ping(engine, head) == STEP_REPLY:
        return STEP_REPLY
    if head.path[0] == c'*':
        plain_reply(engine, 200, "")
        return STEP_REPLY
    if table == NULL:
        return _error_reply(engine, 404, NOT_FOUND)
    request.entry_point = stream.entry_point
    request.host = head.name
    request.host_size = head.name_size
    request.path = head.path
    request.path_size = head.path_size
    request.query = head.query if head.has_query else NULL
    request.query_size = head.query_size
    request.method = head.method_text
    request.method_size = head.method_size
    request.context = head
    request.header = _header_value
    request.regex = engine.match_regex
    core_match(table.matcher, &request, &result)
    if result.route == NO_ROUTE or result.route >= table.header.route_count:
        return _error_reply(engine, 404, NOT_FOUND)
    if result.flags & (MATCH_ADD_SLASH | MATCH_REMOVE_SLASH):
        return _slash_redirect(engine, head, result.flags)
    route = &table.routes[result.route]
    table.references += 1
    stream.table = table
    stream.route = route
    stream.backend = NULL
    backend = table.of_route[result.route]
    if backend != NULL:
        backend.references += 1
        stream.backend = backend
    return STEP_GO_ON


cdef int _slash_redirect(Engine* engine, const Head* head, uint32_t flags) noexcept nogil:
    """301 to the configured form, relative, by the router itself (`features.md` 3.4)."""
    cdef Writer writer = _lines(engine)
    cdef const char* location = writer.data
    cdef size_t size
    write_text(&writer, head.path, head.path_size - (1 if flags & MATCH_REMOVE_SLASH else 0))
    if flags & MATCH_ADD_SLASH:
        write_text(&writer, "/", 1)
    if head.query_size:
        write_text(&writer, "?", 1)
        write_text(&writer, head.query, head.query_size)
    if writer.failed:
        return plain_reply(engine, 414, "Request URI Too Long")
    size = writer.size
    engine.scratch.extra_used += <uint32_t> size
    _location_reply(engine, 301, location, size)
    engine.reply.body_size = 0
    if head.method == METHOD_GET or head.method == METHOD_HEAD:
        _link_body(engine, location, size, "Moved Permanently")
    return STEP_REPLY


cdef void _link_body(Engine* engine, const char* location, size_t size, const char* text) noexcept nogil:
    """`<a href="LOC">TEXT</a>.` and two newlines, the location escaped for HTML."""
    cdef Writer writer = _lines(engine)
    cdef size_t i
    write_text(&writer, '<a href="', 9)
    for i in range(size):
        if location[i] == c'&':
            write_text(&writer, "&amp;", 5)
        elif location[i] == c'\'':
            write_text(&writer, "&#39;", 5)
        else:
            write_text(&writer, location + i, 1)
    write_text(&writer, '">', 2)
    write_text(&writer, text, strlen(text))
    write_text(&writer, "</a>.\n\n", 7)
    engine.reply.type = "text/html; charset=utf-8"
    if writer.failed:
        writer.size = 0
    engine.reply.body = writer.data
    engine.reply.body_size = writer.size
    engine.scratch.extra_used += <uint32_t> writer.size


cdef int _scripted(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t slot = _u32(payload)
    cdef uint32_t phase = _u32(payload)
    return stream.engine.call_filter(stream, head, slot, phase)


# --- the request phase ---

cdef int request_steps(Stream* stream, Head* head, uint32_t start) noexcept nogil:
    """Run the route's operations from byte `start` of them on."""
    cdef const char* base = stream.table.block + stream.route.request_offset
    cdef uint32_t size = stream.route.request_size, offset = start
    cdef const OperationRecord* record
    cdef Payload payload
    cdef int code = STEP_GO_ON
    while offset < size:
        record = <const OperationRecord*> (base + offset)
        payload.at = base + offset + sizeof(OperationRecord)
        offset += sizeof(OperationRecord) + ((record.size + 7) & ~<uint32_t> 7)
        stream.step = offset
        if record.code == SCRIPTED:
            code = _scripted(stream, head, &payload)
        else:
            code = _step(record.code, stream, head, &payload)
        if code != STEP_GO_ON:
            return code
    return STEP_GO_ON


cdef int _step(int code, Stream* stream, Head* head, Payload* payload) noexcept nogil:
    if code == STRIP_PREFIXES:
        return _strip_prefixes(stream, head, payload)
    if code == ADD_PREFIX:
        return _add_prefix(stream, head, payload)
    if code == REPLACE_PATH:
        return _replace_path(stream, head, payload)
    if code == REWRITE_PREFIX:
        return _rewrite_prefix(stream, head, payload)
    if code == ALLOW_NETWORKS:
        return _allow_networks(stream, head, payload)
    if code == REDIRECT_ROOT:
        return _redirect_root(stream, head, payload)
    if code == REDIRECT_ENTRY_POINT:
        return _redirect_entry_point(stream, head, payload)
    if code == EDIT_REQUEST_HEADERS:
        return _edit_request(stream, head, payload)
    if code == SECURE_REQUEST:
        return _secure_request(stream, head, payload)
    if code == MAX_CONNECTIONS:
        return _max_connections(stream, head, payload)
    if code == RATE_LIMIT:
        return _rate_limit(stream, head, payload)
    if code == CIRCUIT_BREAKER:
        return _circuit_breaker(stream, payload)
    if code == AFFINITY:
        return _affinity(stream, head, payload)
    if code == ERROR_PAGES:
        if not stream.sub_request and _keep_request(stream, head) == 0:
            stream.pages = payload.at
        return STEP_GO_ON
    if code == COMPRESS:
        stream.compress = compress_wish(head)
        return STEP_GO_ON
    if code == OFFER_CERTIFICATE:
        return STEP_GO_ON
    return plain_reply(stream.engine, 500, "Internal Server Error")


cdef int backend_steps(Stream* stream, Head* head) noexcept nogil:
    """Only the operations that belong to the backend: a page is fetched through its limits."""
    cdef const char* base = stream.table.block + stream.route.request_offset
    cdef uint32_t offset = 0
    cdef const OperationRecord* record
    cdef Payload payload
    cdef int code
    while offset < stream.route.request_size:
        record = <const OperationRecord*> (base + offset)
        payload.at = base + offset + sizeof(OperationRecord)
        offset += sizeof(OperationRecord) + ((record.size + 7) & ~<uint32_t> 7)
        if MAX_CONNECTIONS <= record.code <= AFFINITY:
            code = _step(record.code, stream, head, &payload)
            if code != STEP_GO_ON:
                return code
    return STEP_GO_ON


cdef int _keep_request(Stream* stream, Head* head) noexcept nogil:
    """The head is needed once more if the response is replaced. Python has its own copy already
    when a filter came before."""
    if stream.exchange != NULL:
        return stream.engine.keep_head(stream, head)
    stream.saved_head = head_save(head, stream.engine.scratch, NULL, 0)
    return 0 if stream.saved_head != NULL else -1


cdef bint page_wanted(const Stream* stream, int status) noexcept nogil:
    """Does an error page replace this status? (The payload is filter slot, count, ranges.)"""
    cdef Payload payload
    cdef uint32_t count, _i, low, high
    if stream.pages == NULL or status == 101:
        return False
    payload.at = stream.pages + 4
    count = _u32(&payload)
    for _i in range(count):
        low = _u32(&payload)
        high = _u32(&payload)
        if low <= <uint32_t> status <= high:
            return True
    return False


# --- paths ---

cdef bint _is_normal(const char* path, size_t size) noexcept nogil:
    """Would normalising leave this path as it is? (http-safety.md 3: after an edit it must.)"""
    cdef size_t i = 0
    cdef uint8_t byte
    if size == 0 or path[0] != c'/':
        return False
    while i < size:
        byte = <uint8_t> path[i]
        if byte <= 0x20 or byte >= 0x7F or byte == c'?' or byte == c'#' or byte == c'"' or byte == c'<' or byte == c'>' or byte == c'\\':
            return False
        if byte == c'%':
            if i + 2 >= size or (path[i + 1] == c'0' and path[i + 2] == c'0'):
                return False
        if byte == c'/' and i + 1 < size:
            if path[i + 1] == c'/':
                return False
            if path[i + 1] == c'.':
                if i + 2 == size or path[i + 2] == c'/':
                    return False
                if path[i + 2] == c'.' and (i + 3 == size or path[i + 3] == c'/'):
                    return False
        i += 1
    return True


cdef int set_path(Stream* stream, Head* head, const char* path, size_t size) noexcept nogil:
    if path == NULL:
        return plain_reply(stream.engine, 414, "Request URI Too Long")
    if not _is_normal(path, size):
        plain_reply(stream.engine, 400, "Bad Request")
        stream.engine.reply.close = 1
        return STEP_REPLY
    if stream.original_path == NULL:
        stream.original_path = head.path
        stream.original_path_size = head.path_size
    head.path = path
    head.path_size = <uint32_t> size
    head.path_changed = 1
    return STEP_GO_ON


cdef int _set_joined(Stream* stream, Head* head, Text one, const char* other, size_t other_size) noexcept nogil:
    cdef char* room = scratch_keep(stream.engine.scratch, NULL, one.size + other_size + 1)
    cdef size_t total = one.size + other_size
    if room == NULL:
        return plain_reply(stream.engine, 414, "Request URI Too Long")
    room[0] = c'/'
    memcpy(room + 1, one.data, one.size)
    memcpy(room + 1 + one.size, other, other_size)
    if total and room[1] == c'/':
        return set_path(stream, head, room + 1, total)
    return set_path(stream, head, room, total + 1)


cdef int _strip_prefixes(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t count = _u32(payload), _i
    cdef Text prefix, nothing
    nothing.data = ""
    nothing.size = 0
    for _i in range(count):
        prefix = _blob(payload)
        if prefix.size <= head.path_size and memcmp(prefix.data, head.path, prefix.size) == 0:
            head_add(head, "X-Forwarded-Prefix", 18, prefix.data, prefix.size)
            return _set_joined(stream, head, nothing, head.path + prefix.size, head.path_size - prefix.size)
    return _error_reply(stream.engine, 404, NOT_FOUND)


cdef int _add_prefix(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    return _set_joined(stream, head, _blob(payload), head.path, head.path_size)


cdef int _replace_path(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef Text path = _blob(payload)
    head_add(head, "X-Replaced-Path", 15, head.path, head.path_size)
    return _set_joined(stream, head, path, "", 0)


cdef int _rewrite_prefix(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef Text prefix = _blob(payload)
    cdef Text replacement = _blob(payload)
    if prefix.size > head.path_size or memcmp(prefix.data, head.path, prefix.size) != 0:
        return STEP_GO_ON
    if replacement.size == 0 and head.path_size == prefix.size:
        replacement.data = "/"
        replacement.size = 1
    head_add(head, "X-Replaced-Path", 15, head.path, head.path_size)
    return _set_joined(stream, head, replacement, head.path + prefix.size, head.path_size - prefix.size)


# --- who may come in ---

cdef bint trusts(const EntryPoint* entry_point, const uint8_t* address) noexcept nogil:
    """May this peer supply X-Forwarded-*? (`features.md` 4.2)"""
    return entry_point.trust_all or inside(entry_point.trusted, entry_point.trusted_count, address)


cdef bint _in_networks(const char* rows, uint32_t count, const uint8_t* address) noexcept nogil:
    """Rows of 16 address bytes and u32 prefix bits."""
    cdef uint32_t i, bits, whole
    cdef const uint8_t* row
    for i in range(count):
        row = <const uint8_t*> rows + i * 20
        memcpy(&bits, row + 16, 4)
        whole = bits // 8
        if memcmp(row, address, whole) == 0 and (
            bits % 8 == 0 or (row[whole] ^ address[whole]) >> (8 - bits % 8) == 0
        ):
            return True
    return False


cdef bint _parse_address(const char* data, size_t size, uint8_t* address) noexcept nogil:
    """An IP address, optionally with `:port`, as 16 bytes."""
    cdef char text[64]
    cdef size_t i, colons = 0
    while size and (data[0] == c' ' or data[0] == c'\t'):
        data += 1
        size -= 1
    while size and (data[size - 1] == c' ' or data[size - 1] == c'\t'):
        size -= 1
    if size == 0 or size >= sizeof(text):
        return False
    if data[0] == c'[':
        i = 1
        while i < size and data[i] != c']':
            i += 1
        if i == size:
            return False
        data += 1
        size = i - 1
    else:
        for i in range(size):
            colons += data[i] == c':'
        if colons == 1:
            for i in range(size):
                if data[i] == c':':
                    size = i
                    break
    memcpy(text, data, size)
    text[size] = 0
    memset(address, 0, 16)
    if inet_pton(AF_INET, text, address + 12) == 1:
        address[10] = 0xFF
        address[11] = 0xFF
        return True
    return inet_pton(AF_INET6, text, address) == 1


cdef int _forwarded_for_allows(const Head* head, const char* rows, uint32_t count) noexcept nogil:
    """1 = an address of X-Forwarded-For is inside, -1 = one is no address, 0 = none is inside."""
    cdef uint32_t i
    cdef size_t start, end
    cdef uint8_t address[16]
    cdef const Field* field
    for i in range(head.count):
        field = &head.fields[i]
        if field.kind != KIND_X_FORWARDED_FOR or field.dropped:
            continue
        start = 0
        while start <= field.value_size:
            end = start
            while end < field.value_size and field.value[end] != c',':
                end += 1
            if not _parse_address(field.value + start, end - start, address):
                return -1
            if _in_networks(rows, count, address):
                return 1
            start = end + 1
    return 0


cdef int _allow_networks(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t use_forwarded = _u32(payload)
    cdef uint32_t count = _u32(payload)
    cdef int allowed = 0
    if use_forwarded:
        allowed = _forwarded_for_allows(head, payload.at, count)
    if allowed == 0:
        allowed = _in_networks(payload.at, count, stream.address)
    return STEP_GO_ON if allowed > 0 else plain_reply(stream.engine, 403, "Forbidden")


# --- redirects ---

cdef bint _seems_https(const Stream* stream, const Head* head) noexcept nogil:
    """TLS, or the client says so; never checked for trust (`features.md` 3.7)."""
    cdef Field* field
    if stream.tls:
        return True
    field = head_find_kind(head, KIND_X_FORWARDED_PROTO)
    return field != NULL and field.value_size == 5 and memcmp(field.value, <const char*> "https", 5) == 0


cdef void _put_original(Writer* writer, const Stream* stream, const Head* head) noexcept nogil:
    """The target as routed, before path operations."""
    if stream.original_path != NULL:
        write_text(writer, stream.original_path, stream.original_path_size)
    else:
        write_text(writer, head.path, head.path_size)
    if head.has_query and head.query_size:
        write_text(writer, "?", 1)
        write_text(writer, head.query, head.query_size)


cdef int _redirect_to(Stream* stream, Head* head, Writer* writer, int status) noexcept nogil:
    """Answer with what was written as Location."""
    if writer.failed:
        return plain_reply(stream.engine, 414, "Request URI Too Long")
    stream.engine.scratch.extra_used += <uint32_t> writer.size
    return _location_reply(stream.engine, status, writer.data, writer.size)


cdef int _redirect_root(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t permanent = _u32(payload)
    cdef Text target = _blob(payload)
    cdef Writer writer
    cdef const char* path = stream.original_path if stream.original_path != NULL else head.path
    cdef size_t size = stream.original_path_size if stream.original_path != NULL else head.path_size
    if size != 1 or path[0] != c'/' or head.has_query:
        return STEP_GO_ON
    while target.size and target.data[0] == c'/':
        target.data += 1
        target.size -= 1
    writer = _lines(stream.engine)
    if _seems_https(stream, head):
        write_text(&writer, "https://", 8)
    else:
        write_text(&writer, "http://", 7)
    write_text(&writer, head.host, head.host_size)
    write_text(&writer, "/", 1)
    write_text(&writer, target.data, target.size)
    return _redirect_to(stream, head, &writer, _redirect_status(head, permanent))


cdef int _redirect_entry_point(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t permanent = _u32(payload)
    cdef uint32_t port = _u32(payload)
    cdef Text scheme = _blob(payload)
    cdef uint32_t bare = head.host_size, digits = 0, i
    cdef bint https = _seems_https(stream, head)
    cdef Writer writer
    if head.host_size == 0:
        return STEP_GO_ON
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
    writer = _lines(stream.engine)
    write_text(&writer, scheme.data, scheme.size)
    write_text(&writer, "://", 3)
    write_text(&writer, head.host, bare)
    write_text(&writer, ":", 1)
    write_number(&writer, port)
    _put_original(&writer, stream, head)
    return _redirect_to(stream, head, &writer, _redirect_status(head, permanent))


# --- headers ---

cdef int _edit_request(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t count = _u32(payload), _i
    cdef Text name, value
    for _i in range(count):
        name = _blob(payload)
        value = _blob(payload)
        head_remove(head, name.data, name.size)
        if value.size:
            head_add(head, name.data, name.size, value.data, value.size)
    return STEP_GO_ON


cdef int _secure_request(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """`features.md` 3.11, steps 1 to 5."""
    cdef uint32_t flags = _u32(payload), count, _i
    cdef Text ssl_host = _blob(payload)
    cdef Text item, host
    cdef Field* field
    cdef bint allowed, told = False, development = flags & 8 != 0
    cdef Payload hosts = payload[0]
    count = _u32(payload)
    for _i in range(count):
        _blob(payload)
    host.data = head.host
    host.size = head.host_size
    count = _u32(payload)
    for _i in range(count):
        item = _blob(payload)  # every name is read, whichever decides: the pairs stand behind them
        field = NULL if told else head_find(head, item.data, item.size)
        if field != NULL and field.value_size:
            told = True
            host.data = field.value
            host.size = field.value_size
    count = _u32(&hosts)
    if count and not development:
        allowed = False
        for _i in range(count):
            item = _blob(&hosts)
            if same_text(item.data, item.size, host.data, host.size):
                allowed = True
                break
        if not allowed:
            return _error_reply(stream.engine, 500, "Bad Host\n")
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
    count = _u32(payload)
    for _i in range(count):
        name = _blob(payload)
        value = _blob(payload)
        field = head_find(head, name.data, name.size)
        if field != NULL and field.value_size == value.size and memcmp(field.value, value.data, value.size) == 0:
            stream.ssl = 1
    target = ssl_host if ssl_host.size else host
    if not (
        (flags & 1 and not stream.ssl and not flags & 8)
        or (flags & 4 and not (target.size == host.size and memcmp(target.data, host.data, host.size) == 0))
    ):
        return STEP_GO_ON
    writer = _lines(stream.engine)
    write_text(&writer, "https://", 8)
    write_text(&writer, target.data, target.size)
    _put_original(&writer, stream, head)
    status = 307 if flags & 2 else 301
    if _redirect_to(stream, head, &writer, status) == STEP_REPLY and stream.engine.reply.status == status:
        stream.engine.reply.body_size = 0
        if head.method == METHOD_GET or head.method == METHOD_HEAD:
            _link_body(
                stream.engine, writer.data, writer.size,
                "Temporary Redirect" if status == 307 else "Moved Permanently",
            )
    return STEP_REPLY


# --- limits ---

cdef Text _key(const Stream* stream, const Head* head, uint32_t extractor, Text header) noexcept nogil:
    """What a limit counts by (`features.md` 3.15)."""
    cdef Text key
    cdef Field* field
    if extractor == EXTRACT_CLIENT:
        key.data = <const char*> stream.address
        key.size = 16
    elif extractor == EXTRACT_HOST:
        key.data = head.host
        key.size = head.host_size
    else:
        field = head_find(head, header.data, header.size)
        key.data = ""
        key.size = 0
        if field != NULL:
            key.data = field.value
            key.size = field.value_size
    return key


cdef int _max_connections(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t slot = _u32(payload)
    cdef uint32_t extractor = _u32(payload)
    cdef int64_t amount = _i64(payload)
    cdef Text key
    cdef Writer writer
    cdef Engine* engine = stream.engine
    _u32(payload)
    key = _key(stream, head, extractor, _blob(payload))
    if engine.shared == NULL or stream.ticket:
        return STEP_GO_ON
    if connections_take(engine.shared, slot, key.data, key.size, amount, &stream.ticket) != 0:
        return STEP_GO_ON
    stream.ticket = 0
    writer = _lines(engine)
    write_text(&writer, "max connections reached: ", 25)
    write_number(&writer, <uint64_t> amount)
    plain_reply(engine, 429, "")
    engine.reply.body = writer.data
    engine.reply.body_size = writer.size
    engine.scratch.extra_used += <uint32_t> writer.size
    return STEP_REPLY


cdef void write_duration(Writer* writer, int64_t nanoseconds) noexcept nogil:
    """Go's way to write a duration (`features.md` 3.3)."""
    cdef int64_t unit, seconds
    if nanoseconds == 0:
        write_text(writer, "0s", 2)
        return
    if nanoseconds < 1000000000:
        unit = 1 if nanoseconds < 1000 else 1000 if nanoseconds < 1000000 else 1000000
        _write_fraction(writer, nanoseconds // unit, nanoseconds % unit, unit)
        if unit == 1:
            write_text(writer, "ns", 2)
        elif unit == 1000:
            write_text(writer, "\xc2\xb5s", 3)
        else:
            write_text(writer, "ms", 2)
        return
    seconds = nanoseconds // 1000000000
    if seconds >= 3600:
        write_number(writer, <uint64_t> (seconds // 3600))
        write_text(writer, "h", 1)
    if seconds >= 60:
        write_number(writer, <uint64_t> (seconds // 60 % 60))
        write_text(writer, "m", 1)
    _write_fraction(writer, seconds % 60, nanoseconds % 1000000000, 1000000000)
    write_text(writer, "s", 1)


cdef void _write_fraction(Writer* writer, int64_t whole, int64_t rest, int64_t unit) noexcept nogil:
    cdef char digits[9]
    cdef int count = 0
    write_number(writer, <uint64_t> whole)
    while rest:
        rest *= 10
        digits[count] = <char> (c'0' + rest // unit)
        rest %= unit
        count += 1
    if count:
        write_text(writer, ".", 1)
        write_text(writer, digits, count)


cdef int _rate_limit(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t slot = _u32(payload)
    cdef uint32_t extractor = _u32(payload)
    cdef int64_t lifetime = _i64(payload)
    cdef uint32_t count
    cdef Text key
    cdef int64_t delay
    cdef int64_t buckets[64]
    cdef Engine* engine = stream.engine
    _u32(payload)
    count = _u32(payload)
    if count > 32:
        count = 32
    memcpy(buckets, payload.at, count * 16)
    payload.at += count * 16
    key = _key(stream, head, extractor, _blob(payload))
    if engine.shared == NULL:
        return STEP_GO_ON
    delay = rate_take(
        engine.shared, slot, key.data, key.size, buckets, count, lifetime, engine.reactor.now_ns
    )
    if delay <= 0:
        return STEP_GO_ON
    return _rate_reply(engine, delay)


cdef int _rate_reply(Engine* engine, int64_t delay) noexcept nogil:
    """429 with Retry-After (whole seconds, half to even), X-Retry-In and a body that says both."""
    cdef Writer lines = _lines(engine)
    cdef Writer body
    cdef int64_t seconds = delay // 1000000000, rest = delay % 1000000000
    if rest > 500000000 or (rest == 500000000 and seconds % 2):
        seconds += 1
    write_text(&lines, "Retry-After: ", 13)
    write_number(&lines, <uint64_t> seconds)
    write_text(&lines, "\r\nX-Retry-In: ", 14)
    write_duration(&lines, delay)
    write_text(&lines, "\r\n", 2)
    engine.scratch.extra_used += <uint32_t> lines.size
    body = _lines(engine)
    write_text(&body, "max rate reached: retry-in ", 27)
    write_duration(&body, delay)
    engine.scratch.extra_used += <uint32_t> body.size
    plain_reply(engine, 429, "")
    engine.reply.lines = lines.data
    engine.reply.lines_size = lines.size
    engine.reply.body = body.data
    engine.reply.body_size = body.size
    return STEP_REPLY


cdef int _circuit_breaker(Stream* stream, Payload* payload) noexcept nogil:
    cdef const char* start = payload.at
    cdef uint32_t slot = _u32(payload)
    cdef Engine* engine = stream.engine
    if engine.shared == NULL:
        return STEP_GO_ON
    if not breaker_admit(engine.shared, slot, engine.reactor.now_ns):
        return plain_reply(engine, 503, "Service Unavailable")
    stream.breaker = start
    return STEP_GO_ON


# --- balancing ---

cdef int _affinity(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """The cookie names an endpoint by its URL; it is only ever compared, never connected to."""
    cdef const char* start = payload.at
    cdef Text cookie = _blob(payload)
    cdef Text value
    cdef LiveBackend* backend = stream.backend
    cdef uint32_t i, j
    cdef Field* field
    stream.affinity = start
    if backend == NULL:
        return STEP_GO_ON
    for i in range(head.count):
        field = &head.fields[i]
        if field.kind != KIND_COOKIE or field.dropped:
            continue
        value = _cookie(field, cookie)
        if value.size == 0:
            continue
        for j in range(backend.count):
            if backend.endpoints[j].pool.url_size == value.size and memcmp(backend.endpoints[j].pool.url, value.data, value.size) == 0:
                _take_endpoint(stream, backend, j)
                stream.affinity = NULL
                return STEP_GO_ON
    return STEP_GO_ON


cdef Text _cookie(const Field* field, Text name) noexcept nogil:
    """The value of the first cookie of that name in one Cookie field."""
    cdef Text value
    cdef size_t start = 0, end
    value.data = ""
    value.size = 0
    while start < field.value_size:
        end = start
        while end < field.value_size and field.value[end] != c';':
            end += 1
        while start < end and (field.value[start] == c' ' or field.value[start] == c'\t'):
            start += 1
        if end - start > name.size and memcmp(field.value + start, name.data, name.size) == 0 and field.value[start + name.size] == c'=':
            value.data = field.value + start + name.size + 1
            value.size = <uint32_t> (end - start - name.size - 1)
            if value.size >= 2 and value.data[0] == c'"' and value.data[value.size - 1] == c'"':
                value.data += 1
                value.size -= 2
            return value
        start = end + 1
    return value


cdef void _take_endpoint(Stream* stream, LiveBackend* backend, uint32_t index) noexcept nogil:
    cdef Pool* pool = backend.only if backend.only != NULL else backend.endpoints[index].pool
    pool.references += 1
    if stream.pool != NULL:
        stream.pool.references -= 1
    stream.pool = pool
    stream.endpoint = index
    stream.endpoint_version = backend.version


cdef int pick_endpoint(Stream* stream, Head* head) noexcept nogil:
    """Choose an endpoint, unless affinity has; 503 when there is none."""
    cdef LiveBackend* backend = stream.backend
    cdef Engine* engine = stream.engine
    cdef int index
    if stream.pool != NULL and head != NULL:
        return STEP_GO_ON
    if stream.route.flags & ROUTE_NOT_FOUND:
        return _error_reply(engine, 404, NOT_FOUND)
    if backend == NULL or backend.count == 0:
        return plain_reply(engine, 503, "Service Unavailable")
    if backend.only != NULL:
        _take_endpoint(stream, backend, 0)
        return STEP_GO_ON
    if backend.dynamic and engine.shared != NULL:
        _rebalance(engine, backend)
    index = balancer_pick(backend.balancer)
    if index == BALANCER_EMPTY:
        return plain_reply(engine, 503, "Service Unavailable")
    if index == BALANCER_ZERO:
        return plain_reply(engine, 500, "Internal Server Error")
    _take_endpoint(stream, backend, index)
    return STEP_GO_ON


cdef void _rebalance(Engine* engine, LiveBackend* backend) noexcept nogil:
    """drr: take over the weights that all workers' answers have led to."""
    if quality_weights(
        engine.shared, backend.statistics_slot, backend.count, backend.original, backend.weights,
        engine.reactor.now_ns,
    ):
        balancer_update(backend.balancer, backend.count, backend.weights)


# --- the response phase ---

cdef void response_steps(Stream* stream, Head* head) noexcept nogil:
    """Edit the head of a response that came from a backend."""
    cdef const char* base
    cdef uint32_t size, offset = 0
    cdef const OperationRecord* record
    cdef Payload payload
    cdef Engine* engine = stream.engine
    if stream.table == NULL:
        return
    engine.scratch.extra_used = 0
    if stream.affinity != NULL:
        _set_cookie(stream, head)
    size = stream.route.response_size
    if size == 0 or head.status == 101:
        return
    base = stream.table.block + stream.route.response_offset
    while offset < size:
        record = <const OperationRecord*> (base + offset)
        payload.at = base + offset + sizeof(OperationRecord)
        offset += sizeof(OperationRecord) + ((record.size + 7) & ~<uint32_t> 7)
        if record.code == EDIT_RESPONSE_HEADERS:
            _edit_response(stream, head, &payload)
        elif record.code == FIX_LOCATION:
            _fix_location(stream, head, &payload)
        elif record.code == SCRIPTED:
            _scripted(stream, head, &payload)


cdef void _set_cookie(Stream* stream, Head* head) noexcept nogil:
    cdef Payload payload
    cdef Text cookie, attributes
    cdef Engine* engine = stream.engine
    cdef Writer writer
    if stream.pool == NULL:
        return
    payload.at = stream.affinity
    cookie = _blob(&payload)
    attributes = _blob(&payload)
    writer = _lines(engine)
    write_text(&writer, cookie.data, cookie.size)
    write_text(&writer, "=", 1)
    write_text(&writer, stream.pool.url, stream.pool.url_size)
    write_text(&writer, attributes.data, attributes.size)
    if not writer.failed:
        engine.scratch.extra_used += <uint32_t> writer.size
        head_add(head, "Set-Cookie", 10, writer.data, writer.size)


cdef void _edit_response(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t only_ssl = _u32(payload)
    cdef uint32_t count = _u32(payload), _i
    cdef Text name, value
    if only_ssl and not stream.ssl:
        return
    for _i in range(count):
        name = _blob(payload)
        value = _blob(payload)
        head_remove(head, name.data, name.size)
        if same_text(name.data, name.size, "Server", 6):
            head.has_server = 1  # whoever deletes it does not want ours instead
        if value.size == 0:
            continue
        if memchr(value.data, 1, value.size) != NULL:
            value = _with_nonce(stream, value)
        head_add(head, name.data, name.size, value.data, value.size)


cdef uint8_t _random[4096]
cdef uint32_t _random_left = 0

cdef Text _with_nonce(Stream* stream, Text value) noexcept nogil:
    """Replace each byte 1 by this request's nonce: base64 of 16 random bytes, without padding."""
    cdef Writer writer = _lines(stream.engine)
    cdef char nonce[24]
    cdef uint8_t* source
    cdef uint32_t i, bits = 0, have = 0, used = 0
    cdef Text result
    global _random_left
    if _random_left < 16:
        if getrandom(_random, sizeof(_random), 0) == sizeof(_random):
            _random_left = sizeof(_random)
        else:
            result.data = ""
            result.size = 0
            return result
    _random_left -= 16
    source = _random + _random_left
    for i in range(16):
        bits = (bits << 8) | source[i]
        have += 8
        while have >= 6:
            have -= 6
            nonce[used] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(bits >> have) & 63]
            used += 1
    nonce[used] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(bits << (6 - have)) & 63]
    used += 1
    for i in range(value.size):
        if value.data[i] == 1:
            write_text(&writer, nonce, used)
        else:
            write_text(&writer, value.data + i, 1)
    stream.engine.scratch.extra_used += <uint32_t> writer.size
    result.data = writer.data
    result.size = 0 if writer.failed else <uint32_t> writer.size
    return result


cdef void _fix_location(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """`http://HOST` of our own host becomes https when the exchange is (`features.md` 3.11.7)."""
    cdef Text host = _blob(payload)
    cdef Field* field = head_find_kind(head, KIND_LOCATION)
    cdef Writer writer
    if field == NULL or not (stream.ssl or (stream.pool != NULL and stream.pool.tls)):
        return
    if field.value_size < 7 + host.size or memcmp(field.value, <const char*> "http://", 7) != 0:
        return
    if memcmp(field.value + 7, host.data, host.size) != 0:
        return
    if field.value_size > 7 + host.size and field.value[7 + host.size] != c'/':
        return
    writer = _lines(stream.engine)
    write_text(&writer, "https", 5)
    write_text(&writer, field.value + 4, field.value_size - 4)
    if not writer.failed:
        stream.engine.scratch.extra_used += <uint32_t> writer.size
        field.value = writer.data
        field.value_size = <uint32_t> writer.size


# --- the end ---

cdef void _run_end(Stream* stream) noexcept nogil:
    cdef const char* base = stream.table.block + stream.route.end_offset
    cdef uint32_t offset = 0
    cdef const OperationRecord* record
    cdef Payload payload
    while offset < stream.route.end_size:
        record = <const OperationRecord*> (base + offset)
        payload.at = base + offset + sizeof(OperationRecord)
        offset += sizeof(OperationRecord) + ((record.size + 7) & ~<uint32_t> 7)
        if record.code == SCRIPTED:
            _scripted(stream, NULL, &payload)


cdef void end_steps(Stream* stream) noexcept nogil:
    """Give back everything the exchange took; safe to call again."""
    cdef Engine* engine = stream.engine
    cdef int64_t now = engine.reactor.now_ns
    cdef Payload payload
    cdef uint32_t slot
    cdef Text program
    if stream.ticket:
        connections_release(engine.shared, stream.ticket)
        stream.ticket = 0
    if stream.breaker != NULL:
        payload.at = stream.breaker
        slot = _u32(&payload)
        program = _blob(&payload)
        breaker_record(
            engine.shared, slot, stream.status if stream.status else 502, now - stream.started_ns,
            program.data, program.size, now,
        )
        stream.breaker = NULL
    if stream.table != NULL and stream.route.end_size and not stream.sub_request:
        _run_end(stream)
    if stream.exchange != NULL and engine.end_exchange != NULL:
        engine.end_exchange(stream)
    if stream.pool != NULL:
        if stream.backend != NULL and stream.backend.dynamic and stream.status and engine.shared != NULL:
            if stream.endpoint_version == stream.backend.version:
                quality_record(engine.shared, stream.backend.statistics_slot, stream.endpoint, stream.status, now)
        stream.pool.references -= 1
        stream.pool = NULL
    if stream.backend != NULL:
        stream.backend.references -= 1
        stream.backend = NULL
    if stream.table != NULL:
        stream.table.references -= 1
        stream.table = NULL
    if stream.saved_head != NULL:
        head_forget(<SavedHead*> stream.saved_head)
        stream.saved_head = NULL
    if stream.unsent.first != NULL:
        queue_clear(&stream.unsent)
    stream.route = NULL
    stream.affinity = NULL
    stream.pages = NULL
    stream.compress = 0
    stream.original_path = NULL
