"""What happens to a request between its head and its endpoint.

Idea: a route's operations are data in the compiled table (`operations.py`); this module executes them
in order, without Python, and without any work for a route that has none. Every function returns
STEP_GO_ON, or STEP_REPLY with the answer in `engine.reply`, or STEP_PARK when a Python filter goes
on with the stream later.

Operations edit the canonical head; values they make live in the worker's scratch memory or in the
table block, which the stream keeps alive by its reference to the table.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t
from libc.string cimport memcmp, strlen

from fastproxy._block cimport ROUTE_NOT_FOUND, OperationRecord
from fastproxy._core cimport (
    BALANCER_EMPTY, BALANCER_ZERO, MATCH_ADD_SLASH, MATCH_REMOVE_SLASH, NO_ROUTE, MatchRequest,
    MatchResult, balancer_pick, balancer_update, core_match,
)
from fastproxy._shared_breaker cimport breaker_record
from fastproxy._shared_connections cimport connections_release
from fastproxy._shared_quality cimport quality_record, quality_weights
from fastproxy.engine.aliases cimport AliasTable, aliases_find, may_have_alias
from fastproxy.engine.buffers cimport queue_clear
from fastproxy.engine.compress cimport compress_wish
from fastproxy.engine.gather cimport gather_free
from fastproxy.engine.digest cimport remembered_nonce
from fastproxy.engine.forward_auth cimport ask_server, forget_questions
from fastproxy.engine.head cimport KIND_COOKIE, UPGRADE_WEBSOCKET, Head, head_add, same_text
from fastproxy.engine.head_writer cimport Writer, write_text
from fastproxy.engine.llhttp cimport METHOD_GET, METHOD_HEAD
from fastproxy.engine.payload cimport Payload, Text, blob, i64, u32
from fastproxy.engine.replay cimport replay_begin
from fastproxy.engine.replies cimport (
    CLIENT_CLOSED, STEP_COLLECT, STEP_GO_ON, STEP_OVER, STEP_PARK, STEP_REPLY, error_reply, link_body,
    location_reply, plain_reply, reply_lines,
)
from fastproxy.engine.saved cimport SavedHead, head_forget, head_save
from fastproxy.engine.step_access cimport allow_networks
from fastproxy.engine.step_headers cimport edit_request, edit_response, fix_location
from fastproxy.engine.step_limits cimport circuit_breaker, forget_limit, max_connections, rate_limit
from fastproxy.engine.step_paths cimport add_prefix, replace_path, rewrite_prefix, strip_prefixes
from fastproxy.engine.step_redirects cimport redirect_entry_point, redirect_root, secure_request
from fastproxy.engine.step_regex cimport redirect_regex, rewrite_regex
from fastproxy.engine.step_users cimport remembered_user
from fastproxy.engine.stream cimport (
    ROUTE_DIRECT, ROUTE_END_STEPS, ROUTE_REQUEST_STEPS, ROUTE_RESPONSE_STEPS, Engine, LiveBackend,
    LiveRoute, Pool, Remembered, Stream, Table,
)
from fastproxy.engine.wire cimport Field

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
    REWRITE_REGEX = 20
    REDIRECT_REGEX = 21
    BUFFER = 22
    REMEMBERED_HEADERS = 23
    REMEMBERED_USER = 24
    REMEMBERED_NONCE = 25
    ASK_SERVER = 26

cdef enum:
    ENDPOINT_COUNTED = 0x80000000  # in `endpoint_version`: no longer that of the backend

cdef const char* NOT_FOUND = "404 page not found\n"


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
    """Find the route; the stream takes a reference to the table and to the backend.

    STEP_PARK when it has to be looked up first where the host's CNAME chain ends.
    """
    cdef Engine* engine = stream.engine
    cdef const char* alias = NULL
    cdef size_t alias_size = 0
    if engine.entry_points[stream.entry_point].ping and _ping(engine, head) == STEP_REPLY:
        return STEP_REPLY
    if head.path[0] == c'*':
        plain_reply(engine, 200, "")
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
        return error_reply(engine, 404, NOT_FOUND)
    request.entry_point = stream.entry_point
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
        return error_reply(engine, 404, NOT_FOUND)
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


cdef int _scripted(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef uint32_t slot = u32(payload)
    cdef uint32_t phase = u32(payload)
    return stream.engine.call_filter(stream, head, slot, phase)


cdef inline uint16_t _next(const char** at, Payload* payload) noexcept nogil:
    """The code of the operation at `at`, which then stands at the one behind it."""
    cdef const OperationRecord* record = <const OperationRecord*> at[0]
    payload.at = at[0] + sizeof(OperationRecord)
    at[0] = payload.at + ((record.size + 7) & ~<uint32_t> 7)
    return record.code


# --- the request phase ---

cdef int request_steps(Stream* stream, Head* head, uint32_t start) noexcept nogil:
    """Run the route's operations from byte `start` of them on."""
    cdef const char* base
    cdef const char* at
    cdef const char* end
    cdef Payload payload
    cdef uint16_t operation
    cdef int code
    if not stream.flags & ROUTE_REQUEST_STEPS:
        return STEP_GO_ON
    base = stream.table.block + stream.route.request.offset
    at = base + start
    end = base + stream.route.request.size
    while at < end:
        operation = _next(&at, &payload)
        stream.step = <uint32_t> (at - base)
        if operation == SCRIPTED:
            code = _scripted(stream, head, &payload)
        else:
            code = _step(operation, stream, head, &payload)
        if code == STEP_OVER:
            _next(&at, &payload)
            stream.step = <uint32_t> (at - base)
        elif code != STEP_GO_ON:
            return code
    return STEP_GO_ON


cdef int request_steps_over(Stream* stream, Head* head) noexcept nogil:
    """Go on with a parked stream behind the operation that comes next."""
    cdef const char* base = stream.table.block + stream.route.request.offset
    cdef const char* at = base + stream.step
    cdef Payload payload
    _next(&at, &payload)
    return request_steps(stream, head, <uint32_t> (at - base))


cdef int _remembered(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    cdef const Remembered* found = stream.remembered
    cdef const char* name
    cdef const char* value
    cdef const char* end
    if (
        found == NULL or found.slot != u32(payload)
        or found.generation != stream.table.header.generation
    ):
        return STEP_GO_ON
    name = found.lines
    end = name + found.size
    while name < end:
        value = name + strlen(name) + 1
        head_add(head, name, strlen(name), value, strlen(value))
        name = value + strlen(value) + 1
    return STEP_OVER


cdef int _buffer(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """The response will be read completely; is the request here, and in the form it is sent in?"""
    cdef const char* start = payload.at
    cdef int64_t limit = i64(payload)
    if head.upgrade:
        return STEP_GO_ON
    if limit and head.content_length > limit:
        return plain_reply(stream.engine, 413, "Request Entity Too Large")
    stream.buffer = start
    stream.chain = stream.step
    stream.sticky = 0
    if not stream.whole or head.chunked:
        return STEP_COLLECT
    replay_begin(stream)
    return STEP_GO_ON


cdef int _step(int code, Stream* stream, Head* head, Payload* payload) noexcept nogil:
    if code == STRIP_PREFIXES:
        return strip_prefixes(stream, head, payload)
    if code == ADD_PREFIX:
        return add_prefix(stream, head, payload)
    if code == REPLACE_PATH:
        return replace_path(stream, head, payload)
    if code == REWRITE_PREFIX:
        return rewrite_prefix(stream, head, payload)
    if code == ALLOW_NETWORKS:
        return allow_networks(stream, head, payload)
    if code == REDIRECT_ROOT:
        return redirect_root(stream, head, payload)
    if code == REDIRECT_ENTRY_POINT:
        return redirect_entry_point(stream, head, payload)
    if code == EDIT_REQUEST_HEADERS:
        return edit_request(stream, head, payload)
    if code == SECURE_REQUEST:
        return secure_request(stream, head, payload)
    if code == MAX_CONNECTIONS:
        return max_connections(stream, head, payload)
    if code == RATE_LIMIT:
        return rate_limit(stream, head, payload)
    if code == CIRCUIT_BREAKER:
        return circuit_breaker(stream, payload)
    if code == AFFINITY:
        return _affinity(stream, head, payload)
    if code == ERROR_PAGES:
        if not stream.sub_request and _keep_request(stream, head) == 0:
            stream.pages = payload.at
        return STEP_GO_ON
    if code == COMPRESS:
        stream.compress = compress_wish(head)
        return STEP_GO_ON
    if code == REWRITE_REGEX:
        return rewrite_regex(stream, head, payload)
    if code == REDIRECT_REGEX:
        return redirect_regex(stream, head, payload)
    if code == REMEMBERED_HEADERS:
        return _remembered(stream, head, payload)
    if code == REMEMBERED_USER:
        return remembered_user(stream, head, payload)
    if code == REMEMBERED_NONCE:
        return remembered_nonce(stream, head, payload)
    if code == ASK_SERVER:
        return ask_server(stream, head, payload)
    if code == BUFFER:
        return _buffer(stream, head, payload)
    if code == OFFER_CERTIFICATE:
        return STEP_GO_ON
    return plain_reply(stream.engine, 500, "Internal Server Error")


cdef int backend_steps(Stream* stream, Head* head) noexcept nogil:
    """Only the operations that belong to the backend: a page is fetched through its limits."""
    cdef const char* at = stream.table.block + stream.route.request.offset
    cdef const char* end = at + stream.route.request.size
    cdef Payload payload
    cdef uint16_t operation
    cdef int code
    while at < end:
        operation = _next(&at, &payload)
        if MAX_CONNECTIONS <= operation <= AFFINITY:
            code = _step(operation, stream, head, &payload)
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
    count = u32(&payload)
    for _i in range(count):
        low = u32(&payload)
        high = u32(&payload)
        if low <= <uint32_t> status <= high:
            return True
    return False


# --- balancing ---

cdef int _affinity(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """The cookie names an endpoint by its URL; it is only ever compared, never connected to."""
    cdef const char* start = payload.at
    cdef Text cookie = blob(payload)
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
                stream.sticky = 1
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


cdef int pick_again(Stream* stream) noexcept nogil:
    """An endpoint for another attempt: the same one where the cookie names it."""
    if stream.backend == NULL:
        return STEP_GO_ON
    if not stream.sticky:
        return pick_endpoint(stream, NULL)
    stream.endpoint_version &= ~<uint32_t> ENDPOINT_COUNTED
    return STEP_GO_ON


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
    if stream.flags & ROUTE_NOT_FOUND:
        return error_reply(engine, 404, NOT_FOUND)
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
    cdef const char* at
    cdef const char* end
    cdef Payload payload
    cdef uint16_t operation
    cdef Engine* engine = stream.engine
    if stream.table == NULL:
        return
    engine.scratch.extra_used = 0
    if stream.affinity != NULL:
        _set_cookie(stream, head)
    if not stream.flags & ROUTE_RESPONSE_STEPS or head.status == 101 or stream.upgrade == UPGRADE_WEBSOCKET:
        return
    at = stream.table.block + stream.route.response.offset
    end = at + stream.route.response.size
    while at < end:
        operation = _next(&at, &payload)
        if operation == EDIT_RESPONSE_HEADERS:
            edit_response(stream, head, &payload)
        elif operation == FIX_LOCATION:
            fix_location(stream, head, &payload)
        elif operation == SCRIPTED:
            _scripted(stream, head, &payload)


cdef void _put_cookie(const Stream* stream, Writer* writer) noexcept nogil:
    cdef Payload payload
    cdef Text cookie, attributes
    payload.at = stream.affinity
    cookie = blob(&payload)
    attributes = blob(&payload)
    write_text(writer, cookie.data, cookie.size)
    write_text(writer, "=", 1)
    write_text(writer, stream.pool.url, stream.pool.url_size)
    write_text(writer, attributes.data, attributes.size)


cdef void _set_cookie(Stream* stream, Head* head) noexcept nogil:
    cdef Engine* engine = stream.engine
    cdef Writer writer
    if stream.pool == NULL:
        return
    writer = reply_lines(engine)
    _put_cookie(stream, &writer)
    if not writer.failed:
        engine.scratch.extra_used += <uint32_t> writer.size
        head_add(head, "Set-Cookie", 10, writer.data, writer.size)


cdef void reply_cookie(Stream* stream) noexcept nogil:
    """The same on the answer that says that the endpoint failed: 1.7 sets the cookie when it
    picks (`features.md` 3.17, "whatever its status")."""
    cdef Engine* engine = stream.engine
    cdef Writer writer
    if stream.affinity == NULL or stream.pool == NULL or engine.reply.lines_size:
        return
    engine.scratch.extra_used = 0
    writer = reply_lines(engine)
    write_text(&writer, "Set-Cookie: ", 12)
    _put_cookie(stream, &writer)
    write_text(&writer, "\r\n", 2)
    if not writer.failed:
        engine.scratch.extra_used += <uint32_t> writer.size
        engine.reply.lines = writer.data
        engine.reply.lines_size = writer.size


# --- the end ---

cdef void _run_end(Stream* stream) noexcept nogil:
    cdef const char* at = stream.table.block + stream.route.end.offset
    cdef const char* end = at + stream.route.end.size
    cdef Payload payload
    while at < end:
        if _next(&at, &payload) == SCRIPTED:
            _scripted(stream, NULL, &payload)


cdef void record_quality(Stream* stream, int status) noexcept nogil:
    """What the endpoint that was picked answered, for drr; 0 = nothing. Counts once: an attempt that
    a limit refuses afterwards says nothing about the endpoint."""
    cdef LiveBackend* backend = stream.backend
    if backend == NULL or not backend.dynamic or status == 0 or stream.engine.shared == NULL:
        return
    if stream.pool != NULL and stream.endpoint_version == backend.version:
        quality_record(
            stream.engine.shared, backend.statistics_slot, stream.endpoint, status,
            stream.engine.reactor.now_ns,
        )
        stream.endpoint_version ^= ENDPOINT_COUNTED


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
        slot = u32(&payload)
        program = blob(&payload)
        breaker_record(
            engine.shared, slot, stream.status if stream.status else CLIENT_CLOSED, now - stream.started_ns,
            program.data, program.size, now,
        )
        stream.breaker = NULL
    if stream.flags & ROUTE_END_STEPS and not stream.sub_request:
        _run_end(stream)
    if stream.exchange != NULL and engine.end_exchange != NULL:
        engine.end_exchange(stream)
    if stream.pool != NULL:
        record_quality(stream, stream.status)
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
    if stream.question != NULL:
        forget_questions(stream)
    if stream.unsent.first != NULL:
        queue_clear(&stream.unsent)
    if stream.limit != NULL:
        forget_limit(stream)
    stream.route = NULL
    stream.flags = 0
    stream.affinity = NULL
    stream.pages = NULL
    if stream.buffer != NULL:
        stream.buffer = NULL
        gather_free(stream.body)
        stream.body = NULL
        stream.attempt = 0
        stream.discarding = 0
    stream.compress = 0
    stream.original_path = NULL
