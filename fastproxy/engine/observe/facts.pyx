# What Traefik 1.7 calls origin, frontend and backend of an answer (operations.md 1.4, with OP 5: the origin is
# the step that answered, always).

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memchr, strlen

from fastproxy.engine.observe.clock cimport wall_of
from fastproxy.engine.stream.record cimport (
    RECORD_CONNECTION_LIMIT, RECORD_NO_ROUTE, RECORD_RATE_LIMIT, RECORD_REDIRECT, RECORD_UNAUTHORISED,
    RECORD_WHITELIST, Record,
)
from fastproxy.engine.stream.stream cimport Stream

cdef enum:
    MOST_USER = 256  # bytes of a user's name


cdef inline Span words(const char* text) noexcept nogil:
    return span(text, strlen(text))


cdef inline Span noted(const Notes* notes, uint32_t at, uint32_t size) noexcept nogil:
    return span(notes.data + at, size)


cdef void gather_facts(AccessLog* access, Stream* stream, const Notes* notes, Facts* facts, char* user) noexcept nogil:
    """`user` is room for a decoded name."""
    cdef Record* record = &stream.record
    cdef int64_t begin = record.head if record.head else record.first_byte
    cdef int64_t end = record.last_out if record.last_out > begin else stream.engine.reactor.now_ns
    cdef size_t query
    if end < begin:
        end = begin
    facts.start = wall_of(access, begin)
    facts.end = facts.start + (end - begin)
    facts.duration = end - begin
    facts.origin_duration = end - record.chosen if record.chosen else 0
    facts.status = record.status
    facts.origin_status = record.origin_status if record.origin_status else record.status
    facts.method = facts.target = facts.host = facts.user = span("", 0)
    facts.client_host = span(stream.client.text, stream.client.size)
    facts.has_host = False
    if notes != NULL:
        facts.method = noted(notes, notes.method.at, notes.method.size)
        facts.target = noted(notes, notes.target.at, notes.target.size)
        if access.drop_query:
            query = 0
            while query < facts.target.size and facts.target.data[query] != c'?':
                query += 1
            facts.target.size = query
        facts.host = noted(notes, notes.host.at, notes.host.size)
        facts.has_host = notes.has_host
        if notes.forwarded.size:
            facts.client_host = noted(notes, notes.forwarded.at, notes.forwarded.size)
        if record.authenticated and notes.authorization.size:
            facts.user = _user_of(noted(notes, notes.authorization.at, notes.authorization.size), user)
    _name_origin(access, stream, facts)


cdef void _name_origin(AccessLog* access, Stream* stream, Facts* facts) noexcept nogil:
    cdef Record* record = &stream.record
    cdef const char* at
    facts.step = facts.frontend = facts.backend = facts.url = facts.address = facts.entry_point = span("", 0)
    facts.has_url = facts.of_request = facts.of_entry_point = False
    if stream.table != NULL and stream.route != NULL and not record.flags & RECORD_NO_ROUTE:
        facts.frontend = span(stream.table.block + stream.route.name.offset, stream.route.name.size)
        facts.backend = span(
            stream.table.block + stream.route.backend_name.offset, stream.route.backend_name.size
        )
        facts.of_entry_point = stream.step <= stream.route.entry_point_size
    if not record.own and stream.pool != NULL:
        facts.url = span(stream.pool.url, stream.pool.url_size)
        at = <const char*> memchr(facts.url.data, c':', facts.url.size)
        facts.address = facts.url
        if at != NULL and facts.url.data + facts.url.size > at + 3:
            facts.address = span(at + 3, facts.url.data + facts.url.size - at - 3)
        facts.has_url = True
        return
    if record.flags & RECORD_NO_ROUTE:
        facts.frontend = words("backend not found")
    elif record.flags & RECORD_WHITELIST:
        facts.step = words("ipwhitelister for ")
    elif record.flags & RECORD_UNAUTHORISED:
        facts.step = words("Auth for ")
    elif record.flags & RECORD_REDIRECT:
        facts.step = words("entrypoint redirect for " if facts.of_entry_point else "frontend redirect for ")
    elif record.flags & RECORD_RATE_LIMIT:
        facts.step = words("rate limit for ")
    elif record.flags & RECORD_CONNECTION_LIMIT:
        facts.step = words("connection limit for ")
    elif stream.pool != NULL:  # the forwarder's own answer about an endpoint
        facts.url = span(stream.pool.url, stream.pool.url_size)
        facts.has_url = True
        return
    else:
        return
    if facts.of_entry_point:
        if not record.flags & RECORD_REDIRECT:
            facts.entry_point = words("entrypoint ")
        if stream.client.entry_point < <uint32_t> access.entry_point_count:
            facts.frontend = words(access.entry_points[stream.client.entry_point])
    facts.backend = words("Traefik")
    facts.url = facts.target
    facts.has_url = facts.of_request = True


cdef Span host_name(Span host) noexcept nogil:
    """Host without its port; brackets of IPv6 addresses stay."""
    cdef size_t size = host.size
    while size and c'0' <= host.data[size - 1] <= c'9':
        size -= 1
    if size and size < host.size and host.data[size - 1] == c':':
        return span(host.data, size - 1)
    return host


cdef Span host_port(Span host) noexcept nogil:
    cdef Span name = host_name(host)
    if name.size == host.size:
        return words("-")
    return span(host.data + name.size + 1, host.size - name.size - 1)


# --- users -----------------------------------------------------------------------------------

cdef inline int _sextet(char byte) noexcept nogil:
    if c'A' <= byte <= c'Z':
        return byte - c'A'
    if c'a' <= byte <= c'z':
        return byte - c'a' + 26
    if c'0' <= byte <= c'9':
        return byte - c'0' + 52
    return 62 if byte == c'+' else 63 if byte == c'/' else -1


cdef Span _user_of(Span value, char* room) noexcept nogil:
    """The name in a value of Authorization that was accepted (RFC 7617 2, RFC 7616 3.4)."""
    cdef size_t i = 6, size = 0
    cdef uint32_t bits = 0
    cdef int held = 0, sextet
    cdef const char* at
    if value.size > 6 and (value.data[0] | 32) == c'd':
        return _digest_user(value)
    while i < value.size and value.data[i] == c' ':
        i += 1
    while i < value.size and size < MOST_USER:
        sextet = _sextet(value.data[i])
        i += 1
        if sextet < 0:
            break
        bits = bits << 6 | <uint32_t> sextet
        held += 6
        if held >= 8:
            held -= 8
            room[size] = <char> (bits >> held & 0xFF)
            size += 1
    at = <const char*> memchr(room, c':', size)
    return span(room, at - room if at != NULL else size)


cdef Span _digest_user(Span value) noexcept nogil:
    cdef const char* wanted = "username=\""
    cdef size_t i, k, end
    for i in range(value.size - 10 if value.size > 10 else 0):
        k = 0
        while k < 10 and (value.data[i + k] == wanted[k] or (value.data[i + k] | 32) == wanted[k]):
            k += 1
        if k == 10:
            end = i + 10
            while end < value.size and value.data[end] != c'"':
                end += 1
            return span(value.data + i + 10, end - i - 10)
    return span("", 0)
