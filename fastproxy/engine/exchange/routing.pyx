"""Which route a request takes: host, path, priorities and conditions, asked of `_core`.

Both functions return STEP_GO_ON, or STEP_REPLY with the answer in `engine.reply`, or STEP_PARK when
the end of the host's CNAME chain has to be looked up first.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, strlen

from fastproxy._core cimport (
    MATCH_ADD_SLASH, MATCH_REMOVE_SLASH, NO_ROUTE, MatchRequest, MatchResult, core_match,
)
from fastproxy.engine.http.methods cimport METHOD_GET, METHOD_HEAD, METHOD_OPTIONS, METHOD_TRACE
from fastproxy.engine.exchange.cname_chains cimport AliasTable, aliases_find, may_have_alias
from fastproxy.engine.stream.complaint cimport WHY_FULL, complain
from fastproxy.engine.http.head cimport Head, head_find, head_set, same_text
from fastproxy.engine.http.writer cimport Writer, write_number, write_text
from fastproxy.engine.stream.replies cimport (
    STEP_GO_ON, STEP_PARK, STEP_REPLY, because, link_body, location_reply, not_found, plain_reply, reply_lines,
)
from fastproxy.engine.stream.record cimport RECORD_CONNECTION_LIMIT, RECORD_NO_ROUTE
from fastproxy.engine.stream.stream cimport (
    ROUTE_DIRECT, Engine, EntryPoint, LiveBackend, LiveRoute, Pool, Stream, Table,
)
from fastproxy.engine.http.fields cimport Field

cdef const char* _allow = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"


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


cdef bint _is_path(const EntryPoint* point, const Head* head, const char* path) noexcept nogil:
    cdef size_t prefix = point.own_prefix_size
    return (
        head.path_size == prefix + strlen(path)
        and memcmp(head.path + prefix, path, strlen(path)) == 0
        and (prefix == 0 or memcmp(head.path, point.own_prefix, prefix) == 0)
    )


cdef int _ping(Engine* engine, const EntryPoint* point, const Head* head) noexcept nogil:
    cdef bint good
    if head.method != METHOD_GET and head.method != METHOD_HEAD:
        return STEP_GO_ON
    if _is_path(point, head, "/ping"):
        good = engine.healthy
    elif _is_path(point, head, "/ready"):
        good = engine.healthy and engine.ready
    else:
        return STEP_GO_ON
    return plain_reply(engine, 200, "OK") if good else plain_reply(engine, 503, "Service Unavailable")


cdef int route_probe(Stream* stream, Head* head) noexcept nogil:
    """A connection beyond the limit: `/ping` and `/ready` are answered, everything else is not."""
    if _ping(stream.engine, &stream.engine.entry_points[stream.client.entry_point], head) == STEP_REPLY:
        stream.record.internal = 1
        return STEP_REPLY
    complain(stream, WHY_FULL, 503)
    plain_reply(stream.engine, 503, "Service Unavailable")
    return because(stream.engine, RECORD_CONNECTION_LIMIT)


cdef bint _last_hop(Stream* stream, Head* head) noexcept nogil:
    """Count Max-Forwards of OPTIONS and TRACE down; True when we are the last and have answered
    (RFC 9110 7.6.2). What is no number is passed on."""
    cdef Field* field = head_find(head, "Max-Forwards", 12)
    cdef uint64_t left = 0
    cdef uint32_t i
    cdef Writer writer
    if field == NULL or not 0 < field.value_size <= 18:
        return False
    for i in range(field.value_size):
        if not c'0' <= field.value[i] <= c'9':
            return False
        left = left * 10 + <uint64_t> (field.value[i] - c'0')
    if left == 0:
        # TRACE would show what was sent, secrets too (RFC 9110 9.3.8), so nobody gets it here.
        plain_reply(stream.engine, 405 if head.method == METHOD_TRACE else 200, "")
        if head.method == METHOD_TRACE:
            stream.engine.reply.lines = _allow
            stream.engine.reply.lines_size = strlen(_allow)
        return True
    writer = reply_lines(stream.engine)
    write_number(&writer, left - 1)
    if not writer.failed:
        stream.engine.scratch.extra_used += <uint32_t> writer.size
        head_set(head, "Max-Forwards", 12, writer.data, writer.size)
    return False


cdef int route_request(Stream* stream, Head* head) noexcept nogil:
    """Find the route; the stream takes a reference to the table and to the backend.

    STEP_PARK when it has to be looked up first where the host's CNAME chain ends.
    """
    cdef Engine* engine = stream.engine
    cdef const char* alias = NULL
    cdef size_t alias_size = 0
    cdef const EntryPoint* point = &engine.entry_points[stream.client.entry_point]
    if point.ping and _ping(engine, point, head) == STEP_REPLY:
        stream.record.internal = 1
        return STEP_REPLY
    if head.path[0] == c'*':
        plain_reply(engine, 200, "")
        return STEP_REPLY
    if (head.method == METHOD_OPTIONS or head.method == METHOD_TRACE) and _last_hop(stream, head):
        return STEP_REPLY
    if engine.aliases != NULL and engine.table != NULL and may_have_alias(head.name, head.name_size):
        if not aliases_find(
            <AliasTable*> engine.aliases, head.name, head.name_size, engine.reactor.now_ns, &alias, &alias_size
        ) and engine.find_alias(stream, head) == STEP_PARK:
            return STEP_PARK
    return route_as(stream, head, alias, alias_size)


cdef int route_as(Stream* stream, Head* head, const char* alias, size_t alias_size) noexcept nogil:
    """The same when it is known where the CNAME chain of the host ends (size 0: nowhere else)."""
    cdef Engine* engine = stream.engine
    cdef Table* table = engine.table
    cdef MatchRequest request
    cdef MatchResult result
    cdef LiveRoute* live
    if table == NULL:
        return _no_route(engine)
    request.entry_point = stream.client.entry_point
    request.host = head.name
    request.host_size = head.name_size
    request.alias = alias
    request.alias_size = alias_size
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
        return _no_route(engine)
    if result.flags & (MATCH_ADD_SLASH | MATCH_REMOVE_SLASH):
        return _slash_redirect(engine, head, result.flags)
    live = &table.live[result.route]
    table.references += 1
    stream.table = table
    stream.route = &table.routes[result.route]
    stream.flags = live.flags
    stream.backend = NULL
    if live.flags & ROUTE_DIRECT:
        stream.pool = <Pool*> live.target
        stream.pool.references += 1
        stream.endpoint = 0
    elif live.target != NULL:
        stream.backend = <LiveBackend*> live.target
        stream.backend.references += 1
    return STEP_GO_ON


cdef int _no_route(Engine* engine) noexcept nogil:
    not_found(engine)
    return because(engine, RECORD_NO_ROUTE)


cdef int _slash_redirect(Engine* engine, const Head* head, uint32_t flags) noexcept nogil:
    """301 to the configured form, relative, by the router itself (`features.md` 3.4)."""
    cdef Writer writer = reply_lines(engine)
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
    location_reply(engine, 301, location, size)
    engine.reply.body_size = 0
    if head.method == METHOD_GET or head.method == METHOD_HEAD:
        link_body(engine, location, size, "Moved Permanently")
    return STEP_REPLY
