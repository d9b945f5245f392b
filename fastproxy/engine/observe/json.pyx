# The fields of operations.md 1.3 and 1.5 with the keys in the order of their bytes, as Go writes a map: names of
# fields first, then `downstream_`, `level`, `msg`, `origin_`, `request_` and `time`.

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport strlen

from fastproxy.engine.observe.clock cimport set_local, set_utc
from fastproxy.engine.observe.facts cimport Span, host_name, host_port, span
from fastproxy.engine.observe.line cimport put, put_byte, put_json, put_number, put_ratio, put_signed
from fastproxy.engine.observe.notes cimport (
    SECTION_DOWNSTREAM, SECTION_ORIGIN, SECTION_REQUEST, NotedField,
)
from fastproxy.engine.observe.program cimport (
    FIELD_BACKEND_ADDRESS, FIELD_BACKEND_NAME, FIELD_BACKEND_URL, FIELD_BYTES_RECEIVED, FIELD_BYTES_SENT,
    FIELD_CLIENT_ADDRESS, FIELD_CLIENT_HOST, FIELD_CLIENT_PORT, FIELD_CLIENT_USERNAME,
    FIELD_DOWNSTREAM_CONTENT_SIZE, FIELD_DOWNSTREAM_STATUS, FIELD_DOWNSTREAM_STATUS_LINE, FIELD_DURATION,
    FIELD_ENTRY_POINT_NAME, FIELD_FLAGS, FIELD_FRONTEND_NAME, FIELD_GENERATION, FIELD_GZIP_RATIO,
    FIELD_ORIGIN_CONTENT_SIZE, FIELD_ORIGIN_DURATION, FIELD_ORIGIN_STATUS, FIELD_ORIGIN_STATUS_LINE,
    FIELD_OVERHEAD, FIELD_REQUEST_ADDRESS, FIELD_REQUEST_CONTENT_SIZE, FIELD_REQUEST_COUNT,
    FIELD_REQUEST_HOST, FIELD_REQUEST_LINE, FIELD_REQUEST_METHOD, FIELD_REQUEST_PATH, FIELD_REQUEST_PORT,
    FIELD_REQUEST_PROTOCOL, FIELD_REQUEST_SCHEME, FIELD_RETRY_ATTEMPTS, FIELD_START_LOCAL, FIELD_START_UTC,
    FIELD_TIME_BODY, FIELD_TIME_CONNECT, FIELD_TIME_FIRST_BYTE, FIELD_TIME_HEAD, FIELD_TIME_RESPONSE,
    FIELD_TIME_TLS, FIELD_TIME_WAIT, FIELD_UPSTREAM_REUSED, FIELD_WORKER, MODE_REDACT, wants,
)
from fastproxy.engine.stream.record cimport Record
from fastproxy.engine.http.writer cimport status_text

cdef enum:
    SECOND = 1000000000

# By the bits of Record.flags (stream/record.pxd).
cdef const char* _codes = (
    "NR\0\0UH\0\0UO\0\0UF\0\0UFT\0DF\0\0UX\0\0UT\0\0UC\0\0UPE\0UTR\0URX\0DC\0\0DT\0\0DPE\0RL\0\0"
    "CL\0\0WL\0\0UA\0\0RD\0\0AH\0\0MD\0\0BL\0\0EP\0\0TC\0\0TU\0\0SD\0\0IE\0\0"
)
FLAG_CODES = (
    "NR", "UH", "UO", "UF", "UFT", "DF", "UX", "UT", "UC", "UPE", "UTR", "URX", "DC", "DT", "DPE", "RL",
    "CL", "WL", "UA", "RD", "AH", "MD", "BL", "EP", "TC", "TU", "SD", "IE",
)


cdef inline void _comma(Line* line) noexcept nogil:
    if (line.at - 1)[0] != c'{':
        put_byte(line, c',')


cdef inline void _key(Line* line, const char* name) noexcept nogil:
    _comma(line)
    put_byte(line, c'"')
    put(line, name, strlen(name))
    put(line, "\":", 2)


cdef inline void _text(AccessLog* access, Line* line, int field, const char* name, Span value) noexcept nogil:
    if wants(access, field):
        _key(line, name)
        put_byte(line, c'"')
        put_json(line, value.data, value.size)
        put_byte(line, c'"')


cdef inline void _number(AccessLog* access, Line* line, int field, const char* name, int64_t value) noexcept nogil:
    if wants(access, field):
        _key(line, name)
        put_signed(line, value)


cdef inline void _time(AccessLog* access, Line* line, int field, const char* name, int64_t begin, int64_t end) noexcept nogil:
    if wants(access, field):
        _key(line, name)
        put_number(line, end - begin if begin and end > begin else 0)


cdef inline void _status(AccessLog* access, Line* line, int field, const char* name, int status) noexcept nogil:
    cdef const char* text = status_text(status)
    if wants(access, field):
        _key(line, name)
        put_byte(line, c'"')
        put_number(line, status)
        put_byte(line, c' ')
        put(line, text, strlen(text))
        put_byte(line, c'"')


cdef void _stamp(Line* line, const char* text, int64_t nanoseconds, const char* zone) noexcept nogil:
    """RFC 3339 with what is there of nanoseconds, trailing zeros cut."""
    cdef char digits[10]
    cdef int i, size = 9
    put_byte(line, c'"')
    put(line, text, strlen(text))
    if nanoseconds:
        for i in range(8, -1, -1):
            digits[i] = <char> (48 + nanoseconds % 10)
            nanoseconds //= 10
        while digits[size - 1] == c'0':
            size -= 1
        put_byte(line, c'.')
        put(line, digits, size)
    put(line, zone, strlen(zone))
    put_byte(line, c'"')


cdef void _url(Line* line, const Facts* facts) noexcept nogil:
    """As Go's url.URL."""
    cdef Span scheme = span("", 0), host = span("", 0), path = span("", 0), query = span("", 0)
    cdef size_t at = 0
    if facts.of_request:
        path = facts.url
        while at < path.size and path.data[at] != c'?':
            at += 1
        if at < path.size:
            query = span(path.data + at + 1, path.size - at - 1)
            path.size = at
    else:
        while at < facts.url.size and facts.url.data[at] != c':':
            at += 1
        scheme = span(facts.url.data, at)
        if facts.url.size > at + 3:
            host = span(facts.url.data + at + 3, facts.url.size - at - 3)
    put(line, "{\"Scheme\":\"", 11)
    put_json(line, scheme.data, scheme.size)
    put(line, "\",\"Opaque\":\"\",\"User\":null,\"Host\":\"", 34)
    put_json(line, host.data, host.size)
    put(line, "\",\"Path\":\"", 10)
    put_json(line, path.data, path.size)
    put(line, "\",\"RawPath\":\"\",\"ForceQuery\":false,\"RawQuery\":\"", 46)
    put_json(line, query.data, query.size)
    put(line, "\",\"Fragment\":\"\",\"RawFragment\":\"\"}", 33)


cdef void _flags(Line* line, uint32_t flags) noexcept nogil:
    cdef int bit
    cdef bint more = False
    put_byte(line, c'"')
    for bit in range(28):
        if (flags >> bit) & 1:
            if more:
                put_byte(line, c',')
            put(line, _codes + 4 * bit, strlen(_codes + 4 * bit))
            more = True
    put_byte(line, c'"')


# --- headers ---------------------------------------------------------------------------------

cdef inline char _canonical(const char* name, size_t at) noexcept nogil:
    """A letter of a name as Go spells it: User-Agent."""
    cdef bint first = at == 0 or name[at - 1] == c'-'
    if first and c'a' <= name[at] <= c'z':
        return name[at] - 32
    if not first and c'A' <= name[at] <= c'Z':
        return name[at] + 32
    return name[at]


cdef int _order(const Notes* notes, const NotedField* one, const NotedField* other) noexcept nogil:
    cdef uint32_t i
    cdef int first, second
    for i in range(min(one.name_size, other.name_size)):
        first = <unsigned char> _canonical(notes.data + one.name, i)
        second = <unsigned char> _canonical(notes.data + other.name, i)
        if first != second:
            return first - second
    return <int> one.name_size - <int> other.name_size


cdef void _headers(Line* line, Notes* notes, int section, const char* prefix) noexcept nogil:
    cdef NotedField* chosen[384]
    cdef uint32_t count = 0, i, k
    cdef NotedField* field
    for i in range(notes.fields):
        field = &notes.list[i]
        if field.section != section:
            continue
        k = count
        while k and _order(notes, field, chosen[k - 1]) < 0:
            chosen[k] = chosen[k - 1]
            k -= 1
        chosen[k] = field
        count += 1
    for i in range(count):
        field = chosen[i]
        if i and _order(notes, field, chosen[i - 1]) == 0:
            continue
        if line.at + field.name_size + 32 > line.soft:
            line.cut = 1
            return
        _comma(line)
        put_byte(line, c'"')
        put(line, prefix, strlen(prefix))
        for k in range(field.name_size):
            put_byte(line, _canonical(notes.data + field.name, k))
        put(line, "\":\"", 3)
        if field.mode == MODE_REDACT:
            put(line, "REDACTED", 8)
        else:
            put_json(line, notes.data + field.value, field.value_size)
            k = i + 1
            while k < count and _order(notes, field, chosen[k]) == 0:  # lines of one header: deviation OP 4
                put_byte(line, c',')
                put_json(line, notes.data + chosen[k].value, chosen[k].value_size)
                k += 1
        put_byte(line, c'"')


# --- the line --------------------------------------------------------------------------------

cdef void write_json(AccessLog* access, Stream* stream, Notes* notes, const Facts* facts, Line* line) noexcept nogil:
    cdef Record* record = &stream.record
    put_byte(line, c'{')
    if facts.has_url:
        _text(access, line, FIELD_BACKEND_ADDRESS, "BackendAddr", facts.address)
    if facts.backend.size:
        _text(access, line, FIELD_BACKEND_NAME, "BackendName", facts.backend)
    if facts.has_url and wants(access, FIELD_BACKEND_URL):
        _key(line, "BackendURL")
        _url(line, facts)
    _number(access, line, FIELD_BYTES_RECEIVED, "BytesReceived", record.received)
    _number(access, line, FIELD_BYTES_SENT, "BytesSent", record.sent)
    _client(access, stream, facts, line)
    _number(access, line, FIELD_DOWNSTREAM_CONTENT_SIZE, "DownstreamContentSize", record.response_body)
    _number(access, line, FIELD_DOWNSTREAM_STATUS, "DownstreamStatus", facts.status)
    _status(access, line, FIELD_DOWNSTREAM_STATUS_LINE, "DownstreamStatusLine", facts.status)
    _number(access, line, FIELD_DURATION, "Duration", facts.duration)
    if wants(access, FIELD_ENTRY_POINT_NAME) and stream.client.entry_point < <uint32_t> access.entry_point_count:
        _text(
            access, line, FIELD_ENTRY_POINT_NAME, "EntryPointName",
            span(access.entry_points[stream.client.entry_point], strlen(access.entry_points[stream.client.entry_point])),
        )
    if wants(access, FIELD_FLAGS):
        _key(line, "Flags")
        _flags(line, record.flags)
    if facts.frontend.size and wants(access, FIELD_FRONTEND_NAME):
        _key(line, "FrontendName")
        put_byte(line, c'"')
        put(line, facts.step.data, facts.step.size)
        put(line, facts.entry_point.data, facts.entry_point.size)
        put_json(line, facts.frontend.data, facts.frontend.size)
        put_byte(line, c'"')
    if stream.table != NULL:
        _number(access, line, FIELD_GENERATION, "Generation", stream.table.header.generation)
    if wants(access, FIELD_GZIP_RATIO) and record.response_body and record.response_body != record.origin_body:
        _key(line, "GzipRatio")
        put_ratio(line, <double> record.origin_body / <double> record.response_body)
    _number(access, line, FIELD_ORIGIN_CONTENT_SIZE, "OriginContentSize", record.origin_body)
    _number(access, line, FIELD_ORIGIN_DURATION, "OriginDuration", facts.origin_duration)
    _number(access, line, FIELD_ORIGIN_STATUS, "OriginStatus", facts.origin_status)
    _status(access, line, FIELD_ORIGIN_STATUS_LINE, "OriginStatusLine", facts.origin_status)
    _number(access, line, FIELD_OVERHEAD, "Overhead", facts.duration - facts.origin_duration)
    _request(access, stream, notes, facts, line)
    _number(access, line, FIELD_RETRY_ATTEMPTS, "RetryAttempts", record.retries)
    _times(access, record, facts, line)
    if notes != NULL and notes.list != NULL:
        _headers(line, notes, SECTION_DOWNSTREAM, "downstream_")
    _key(line, "level")
    put(line, "\"info\",\"msg\":\"\"", 15)
    if notes != NULL and notes.list != NULL:
        _headers(line, notes, SECTION_ORIGIN, "origin_")
        _headers(line, notes, SECTION_REQUEST, "request_")
    set_local(access, facts.end // SECOND)
    put(line, ",\"time\":", 8)
    _stamp(line, access.local, 0, access.zone)
    put_byte(line, c'}')


cdef void _client(AccessLog* access, Stream* stream, const Facts* facts, Line* line) noexcept nogil:
    cdef bint is6 = False
    cdef uint32_t i
    for i in range(stream.client.size):
        is6 = is6 or stream.client.text[i] == c':'
    if wants(access, FIELD_CLIENT_ADDRESS):
        _key(line, "ClientAddr")
        put(line, "\"[" if is6 else "\"", 2 if is6 else 1)
        put_json(line, stream.client.text, stream.client.size)
        put(line, "]:" if is6 else ":", 2 if is6 else 1)
        put_number(line, stream.client.port)
        put_byte(line, c'"')
    _text(access, line, FIELD_CLIENT_HOST, "ClientHost", facts.client_host)
    if wants(access, FIELD_CLIENT_PORT):
        _key(line, "ClientPort")
        put_byte(line, c'"')
        put_number(line, stream.client.port)
        put_byte(line, c'"')
    _text(
        access, line, FIELD_CLIENT_USERNAME, "ClientUsername", facts.user if facts.user.size else span("-", 1)
    )


cdef void _request(AccessLog* access, Stream* stream, Notes* notes, const Facts* facts, Line* line) noexcept nogil:
    cdef Span protocol = span("HTTP/1.1", 8)
    if notes != NULL:
        protocol.data = notes.protocol
    if facts.has_host:
        _text(access, line, FIELD_REQUEST_ADDRESS, "RequestAddr", facts.host)
    _number(access, line, FIELD_REQUEST_CONTENT_SIZE, "RequestContentSize", stream.record.request_body)
    if notes == NULL:
        return
    _number(access, line, FIELD_REQUEST_COUNT, "RequestCount", notes.count)
    if facts.has_host:
        _text(access, line, FIELD_REQUEST_HOST, "RequestHost", host_name(facts.host))
    if wants(access, FIELD_REQUEST_LINE):
        _key(line, "RequestLine")
        put_byte(line, c'"')
        put_json(line, facts.method.data, facts.method.size)
        put_byte(line, c' ')
        put_json(line, facts.target.data, facts.target.size)
        put_byte(line, c' ')
        put(line, protocol.data, protocol.size)
        put_byte(line, c'"')
    _text(access, line, FIELD_REQUEST_METHOD, "RequestMethod", facts.method)
    _text(access, line, FIELD_REQUEST_PATH, "RequestPath", facts.target)
    if facts.has_host:
        _text(access, line, FIELD_REQUEST_PORT, "RequestPort", host_port(facts.host))
    _text(access, line, FIELD_REQUEST_PROTOCOL, "RequestProtocol", protocol)
    _text(access, line, FIELD_REQUEST_SCHEME, "RequestScheme", span("https", 5 if stream.client.tls else 4))


cdef void _times(AccessLog* access, Record* record, const Facts* facts, Line* line) noexcept nogil:
    cdef int64_t nanoseconds = facts.start % SECOND
    if wants(access, FIELD_START_LOCAL):
        set_local(access, facts.start // SECOND)
        _key(line, "StartLocal")
        _stamp(line, access.local, nanoseconds, access.zone)
    if wants(access, FIELD_START_UTC):
        set_utc(access, facts.start // SECOND)
        _key(line, "StartUTC")
        _stamp(line, access.utc, nanoseconds, "Z")
    _time(access, line, FIELD_TIME_BODY, "TimeBody", record.head, record.body)
    _time(access, line, FIELD_TIME_CONNECT, "TimeConnect", record.chosen, record.connected)
    _time(access, line, FIELD_TIME_FIRST_BYTE, "TimeFirstByte", record.written, record.answered)
    _time(access, line, FIELD_TIME_HEAD, "TimeHead", record.first_byte, record.head)
    _time(access, line, FIELD_TIME_RESPONSE, "TimeResponse", record.answered, record.last_out)
    _time(access, line, FIELD_TIME_TLS, "TimeTLS", record.connected, record.secured)
    _time(access, line, FIELD_TIME_WAIT, "TimeWait", record.head, record.chosen)
    if wants(access, FIELD_UPSTREAM_REUSED):
        _key(line, "UpstreamReused")
        put(line, "true" if record.reused else "false", 4 if record.reused else 5)
    _number(access, line, FIELD_WORKER, "Worker", access.worker)
