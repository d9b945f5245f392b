"""The operations of a route, run in order for each of its phases.

Idea: a route's operations are data in the compiled table (`operations.py`); this module executes them
without Python, and without any work for a route that has none. An operation of the request returns
STEP_GO_ON, or STEP_REPLY with the answer in `engine.reply`, or STEP_PARK when something else goes on
with the stream later.

Operations edit the canonical head; values they make live in the worker's scratch memory or in the
table block, which the stream keeps alive by its reference to the table.
"""

from libc.stdint cimport uint16_t, uint32_t

from fastproxy._block cimport OperationRecord
from fastproxy.engine.balancing cimport affinity, set_affinity_cookie
from fastproxy.engine.compress cimport compress_wish
from fastproxy.engine.digest cimport remembered_nonce
from fastproxy.engine.forward_auth cimport ask_server
from fastproxy.engine.head cimport UPGRADE_WEBSOCKET, Head
from fastproxy.engine.payload cimport Payload, u32
from fastproxy.engine.replies cimport STEP_GO_ON, STEP_OVER, plain_reply
from fastproxy.engine.step_access cimport allow_networks
from fastproxy.engine.step_buffer cimport buffer
from fastproxy.engine.step_headers cimport edit_request, edit_response, fix_location, remembered_headers
from fastproxy.engine.step_limits cimport circuit_breaker, max_connections, rate_limit
from fastproxy.engine.step_pages cimport error_pages
from fastproxy.engine.step_paths cimport add_prefix, replace_path, rewrite_prefix, strip_prefixes
from fastproxy.engine.step_redirects cimport redirect_entry_point, redirect_root, secure_request
from fastproxy.engine.step_regex cimport redirect_regex, rewrite_regex
from fastproxy.engine.step_users cimport remembered_user
from fastproxy.engine.stream cimport ROUTE_REQUEST_STEPS, ROUTE_RESPONSE_STEPS, Engine, Stream

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
        return affinity(stream, head, payload)
    if code == ERROR_PAGES:
        return error_pages(stream, head, payload)
    if code == COMPRESS:
        stream.compress = compress_wish(head)
        return STEP_GO_ON
    if code == REWRITE_REGEX:
        return rewrite_regex(stream, head, payload)
    if code == REDIRECT_REGEX:
        return redirect_regex(stream, head, payload)
    if code == REMEMBERED_HEADERS:
        return remembered_headers(stream, head, payload)
    if code == REMEMBERED_USER:
        return remembered_user(stream, head, payload)
    if code == REMEMBERED_NONCE:
        return remembered_nonce(stream, head, payload)
    if code == ASK_SERVER:
        return ask_server(stream, head, payload)
    if code == BUFFER:
        return buffer(stream, head, payload)
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
        set_affinity_cookie(stream, head)
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


# --- the end ---

cdef void end_steps(Stream* stream) noexcept nogil:
    """What filters do at the end of an exchange."""
    cdef const char* at = stream.table.block + stream.route.end.offset
    cdef const char* end = at + stream.route.end.size
    cdef Payload payload
    while at < end:
        if _next(&at, &payload) == SCRIPTED:
            _scripted(stream, NULL, &payload)
