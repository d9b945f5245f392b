"""The operations of a route, run in order for each of its phases.

Idea: a route's operations are data in the compiled table (`operations.py`); this module executes them
without Python, and without any work for a route that has none. An operation of the request returns
STEP_GO_ON, or STEP_REPLY with the answer in `engine.reply`, or STEP_PARK when something else goes on
with the stream later.

Operations edit the canonical head; values they make live in the worker's scratch memory or in the
table block, which the stream keeps alive by its reference to the table.
"""

from libc.stdint cimport uint16_t, uint32_t

from fastproxy.tables.block cimport OperationRecord
from fastproxy.engine.exchange.balancing cimport affinity, set_affinity_cookie
from fastproxy.engine.exchange.compress cimport compress_wish
from fastproxy.engine.operations.digest cimport remembered_nonce
from fastproxy.engine.exchange.forward_auth cimport ask_server
from fastproxy.engine.http.head cimport UPGRADE_WEBSOCKET, Head
from fastproxy.engine.operations.codes cimport (
    ADD_PREFIX, AFFINITY, ALLOW_NETWORKS, ASK_SERVER, BUFFER, CIRCUIT_BREAKER, COMPRESS,
    EDIT_REQUEST_HEADERS, EDIT_RESPONSE_HEADERS, ERROR_PAGES, FIX_LOCATION, MAX_CONNECTIONS,
    OFFER_CERTIFICATE, OPERATION_CODES, OPERATION_OF_BACKEND, RATE_LIMIT, REDIRECT_ENTRY_POINT,
    REDIRECT_REGEX, REDIRECT_ROOT, REMEMBERED_HEADERS, REMEMBERED_NONCE, REMEMBERED_USER,
    REPLACE_PATH, REWRITE_PREFIX, REWRITE_REGEX, SCRIPTED, SECURE_REQUEST, STRIP_PREFIXES,
)
from fastproxy.engine.operations.payload cimport Payload, u32
from fastproxy.engine.stream.replies cimport STEP_GO_ON, STEP_OVER, plain_reply
from fastproxy.engine.operations.access cimport allow_networks
from fastproxy.engine.operations.buffering cimport buffer
from fastproxy.engine.operations.headers cimport edit_request, edit_response, fix_location, remembered_headers
from fastproxy.engine.operations.limits cimport circuit_breaker, max_connections, rate_limit
from fastproxy.engine.operations.pages cimport error_pages
from fastproxy.engine.operations.paths cimport add_prefix, replace_path, rewrite_prefix, strip_prefixes
from fastproxy.engine.operations.redirects cimport redirect_entry_point, redirect_root, secure_request
from fastproxy.engine.operations.path_regex cimport redirect_regex, rewrite_regex
from fastproxy.engine.operations.users cimport remembered_user
from fastproxy.engine.stream.stream cimport ROUTE_REQUEST_STEPS, ROUTE_RESPONSE_STEPS, Engine, Stream

ctypedef int (*RequestOperation)(Stream*, Head*, Payload*) noexcept nogil

cdef RequestOperation[OPERATION_CODES] _request_operations


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
        code = _run(operation, stream, head, &payload)
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


cdef inline int _run(uint16_t code, Stream* stream, Head* head, Payload* payload) noexcept nogil:
    return _request_operations[code if code < OPERATION_CODES else 0](stream, head, payload)


cdef int _unknown(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """An operation this version does not have, or one of another phase: fail closed."""
    return plain_reply(stream.engine, 500, "Internal Server Error")


cdef int _nothing(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    return STEP_GO_ON


cdef int _compress(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    stream.compress = compress_wish(head)
    return STEP_GO_ON


cdef int backend_steps(Stream* stream, Head* head) noexcept nogil:
    """Only the operations that belong to the backend: a page is fetched through its limits."""
    cdef const char* at = stream.table.block + stream.route.request.offset
    cdef const char* end = at + stream.route.request.size
    cdef Payload payload
    cdef uint16_t operation, of_backend
    cdef int code
    while at < end:
        of_backend = (<const OperationRecord*> at).flags & OPERATION_OF_BACKEND
        operation = _next(&at, &payload)
        if of_backend:
            code = _run(operation, stream, head, &payload)
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


cdef void _fill() noexcept:
    """Which function does what; the operations that stand here are those of the request."""
    cdef int code
    for code in range(OPERATION_CODES):
        _request_operations[code] = _unknown
    _request_operations[<int> ADD_PREFIX] = add_prefix
    _request_operations[<int> AFFINITY] = affinity
    _request_operations[<int> ALLOW_NETWORKS] = allow_networks
    _request_operations[<int> ASK_SERVER] = ask_server
    _request_operations[<int> BUFFER] = buffer
    _request_operations[<int> CIRCUIT_BREAKER] = circuit_breaker
    _request_operations[<int> COMPRESS] = _compress
    _request_operations[<int> EDIT_REQUEST_HEADERS] = edit_request
    _request_operations[<int> ERROR_PAGES] = error_pages
    _request_operations[<int> MAX_CONNECTIONS] = max_connections
    _request_operations[<int> OFFER_CERTIFICATE] = _nothing  # done where the endpoints are connected to
    _request_operations[<int> RATE_LIMIT] = rate_limit
    _request_operations[<int> REDIRECT_ENTRY_POINT] = redirect_entry_point
    _request_operations[<int> REDIRECT_REGEX] = redirect_regex
    _request_operations[<int> REDIRECT_ROOT] = redirect_root
    _request_operations[<int> REMEMBERED_HEADERS] = remembered_headers
    _request_operations[<int> REMEMBERED_NONCE] = remembered_nonce
    _request_operations[<int> REMEMBERED_USER] = remembered_user
    _request_operations[<int> REPLACE_PATH] = replace_path
    _request_operations[<int> REWRITE_PREFIX] = rewrite_prefix
    _request_operations[<int> REWRITE_REGEX] = rewrite_regex
    _request_operations[<int> SCRIPTED] = _scripted
    _request_operations[<int> SECURE_REQUEST] = secure_request
    _request_operations[<int> STRIP_PREFIXES] = strip_prefixes


_fill()
