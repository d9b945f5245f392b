"""The structures which the parts of the engine share: Engine, Stream, Table, Pool.

A *stream* is one exchange, a *connection* carries streams. Routing, operations, balancing and the
upstream side know streams only. Two small tables of functions are all they know of the rest:
`StreamOwner`, what the upstream side reports to (the exchange of a client, a sub-request made by
Python, a question of forward authentication), and `ClientCodec`, through which an exchange speaks to
its client in whatever protocol that speaks.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.tables.block cimport (
    ROUTE_NOT_FOUND, ROUTE_PRESERVE_HOST, ROUTE_SCRIPTED, BlockHeader, RouteRecord,
)
from fastproxy._core cimport Balancer
from fastproxy.counters.layout cimport Region
from fastproxy.engine.loop.buffers cimport Queue
from fastproxy.engine.http.spool cimport Gather
from fastproxy.engine.http.head cimport Head, Scratch
from fastproxy.engine.loop.posix cimport iovec, sockaddr_storage, socklen_t, ssize_t
from fastproxy.engine.loop.reactor cimport Reactor, Source
from fastproxy.engine.http.h1_parser cimport Wire
from fastproxy.engine.http.fields cimport Trailers, Window
from fastproxy.engine.stream.compression cimport Compression
from fastproxy.engine.stream.record cimport Record

cdef enum:
    NO_SLOT = 0xFFFFFFFF
    MAX_ADDRESSES = 8
    MAX_PROBES = 16
    # with those of tables/block.pxd in LiveRoute.flags; these say that operations of the phase exist
    ROUTE_REQUEST_STEPS = 8
    ROUTE_RESPONSE_STEPS = 16
    ROUTE_END_STEPS = 32
    ROUTE_DIRECT = 64  # LiveRoute.target is a pool
    ALL_ENDPOINTS = 0xFFFFFFFF  # retry_attempts: as many as the backend has endpoints

cdef enum:
    TUNNEL_OPEN = 1
    TUNNEL_CLOSING = 2  # the client has ended; its last bytes are on their way
    TUNNEL_ENDED = 4  # the endpoint has ended

cdef enum Failure:
    FAIL_NONE
    FAIL_REFUSED  # cannot connect: refused, unreachable, reset
    FAIL_CONNECT_TIMEOUT
    FAIL_RESPONSE_TIMEOUT
    FAIL_CLOSED  # closed before the head of a response
    FAIL_MALFORMED
    FAIL_TRUNCATED  # in the middle of a body
    FAIL_NAME  # the endpoint's name cannot be resolved
    FAIL_UNTRUSTED  # TLS: certificate, or no TLS at all
    FAIL_INTERNAL

# --- the compiled table (layout: fastproxy/tables/block.pxd) ---

cdef struct LiveRoute:
    # All that a request of a plain route reads about it. The records and backends of 10,000 routes
    # do not fit into a processor's second cache, these do.
    void* target  # Pool* of the only endpoint if ROUTE_DIRECT, else LiveBackend* or NULL
    uint32_t flags
    uint32_t spare

cdef struct Table:
    const char* block
    size_t size
    const BlockHeader* header
    const char* matcher
    const RouteRecord* routes
    LiveBackend** backends  # by slot; the array belongs to the table, the backends do not
    LiveRoute* live  # by route
    uint32_t* route_of_slot  # which route a backend serves; NO_SLOT: none, or more than one
    void** filters  # by slot; PyObject*, borrowed
    Pool** servers  # by filter slot: whom AskServer asks; NULL: the filter asks
    uint32_t backend_count
    uint32_t filter_count
    uint32_t references  # streams that run on it, and one while it is current
    void** conditions  # RE2, by the matcher's numbers; NULL where it refuses the pattern
    void** expressions  # RE2, by filter slot; NULL where the slot holds something else
    Table* next_retired

# --- backends ---

cdef struct Pool:
    # The connections to one URL of an endpoint, shared by all backends that name it.
    sockaddr_storage addresses[MAX_ADDRESSES]
    socklen_t address_sizes[MAX_ADDRESSES]
    uint32_t address_count
    uint32_t preferred  # the address that worked last
    uint32_t references  # endpoints and streams
    uint32_t endpoints  # of live backends that name it
    uint32_t connections  # open ones, idle or not
    uint32_t idle_count
    uint8_t tls
    uint8_t retired
    Upstream* idle  # most recently used first
    char* url  # scheme://host:port
    uint32_t url_size
    const char* host  # inside url: host[:port] for the Host header
    uint32_t host_size
    void* tls_client
    char* name  # for SNI and verification
    uint32_t name_size
    uint32_t version  # changes with the addresses
    uint8_t resolved  # the first lookup of the name has ended
    Upstream* waiting  # for that; linked as idle ones are

cdef struct LiveEndpoint:
    Pool* pool
    int64_t weight

cdef struct LiveBackend:
    # One cache line.
    Pool* only  # of the only endpoint, which needs no balancing; else NULL
    Balancer* balancer
    LiveEndpoint* endpoints
    uint32_t count
    uint32_t references  # the registry and streams
    uint32_t version  # changes with the endpoints
    uint32_t statistics_slot
    uint32_t certificate_of  # pass-tls-cert: index of an entry point + 1, 0 = none
    uint8_t dynamic  # drr
    int64_t* original  # as configured
    int64_t* weights  # drr: current weights

cdef struct Upstream:
    # One connection to an endpoint.
    Source source
    Wire wire
    Queue output
    Stream* stream  # NULL = idle in the pool
    Pool* pool
    Engine* engine
    Upstream* next_idle
    Upstream* previous_idle
    Window* window  # an incomplete response head
    void* ssl
    uint32_t address  # index of the address being tried
    uint8_t connected
    uint8_t handshaking
    uint8_t reused  # has answered before
    uint8_t answered  # a byte of this response has come
    uint8_t readable
    uint8_t hung_up
    uint8_t paused
    uint8_t blocked  # the owner has been told to wait (on_writable follows)
    uint8_t deaf  # the endpoint takes nothing any more; its answer may still be readable
    uint8_t written  # a byte of this request was sent
    uint8_t interim  # 1xx answers of this exchange
    uint8_t tunnel  # TUNNEL_*, 0 = none
    uint8_t waiting  # for the endpoint's name; the descriptor is a stand-in
    uint32_t version  # of the pool's addresses

# --- streams ---

cdef struct StreamOwner:
    void (*on_head)(Stream*, Head*) noexcept nogil  # always followed by on_body in the same call
    void (*on_body)(Stream*, char*, size_t, uint8_t) noexcept nogil  # last = message complete
    void (*on_failed)(Stream*, int) noexcept nogil  # upstream is gone already
    void (*on_writable)(Stream*) noexcept nogil  # more request body may be sent
    void (*on_continue)(Stream*) noexcept nogil  # 100 came
    void (*on_upgraded)(Stream*, char*, size_t) noexcept nogil  # after on_head with 101
    # the socket to which body bytes may now go past on_body, unchanged; -1: none
    int (*raw)(Stream*) noexcept nogil
    # The owner of a client's exchange only. A parked one goes on, with `head` and the piece of the body that
    # came with it: STEP_GO_ON runs the operations that are left, STEP_OVER those behind the next one,
    # STEP_REPLY sends `engine.reply`.
    void (*resume)(Stream*, Head*, char*, size_t, int) noexcept nogil

cdef enum ClientState:
    # what a codec answers to a piece of the response
    CLIENT_GONE = 0  # the exchange is over
    CLIENT_READY = 1
    CLIENT_FULL = 2  # much is waiting for the client; `exchange_writable` follows

cdef struct ClientCodec:
    # What an exchange asks of its client's side (client/h1_response is the first). The codec decides about
    # framing, and about what becomes of the connection. It calls the functions of exchange/request.pxd.
    #
    # The head of a response. `send_body` follows in the same call, so both may leave together. False: it
    # cannot be written, nothing has happened.
    bint (*send_head)(Stream*, const Head*) noexcept nogil
    # A piece of content; with the last one, `stream.trailers` if they may pass, and the exchange ends.
    int (*send_body)(Stream*, const char*, size_t, uint8_t) noexcept nogil
    # An answer of our own with so many bytes of its body; the others follow by `send_body`.
    int (*send_reply)(Stream*, const Reply*, size_t) noexcept nogil
    void (*reset)(Stream*) noexcept nogil  # end, so that the client sees that the response is not whole
    void (*resume)(Stream*) noexcept nogil  # more of the request is wanted again
    void (*ask_body)(Stream*) noexcept nogil  # send 100 if the client waits for it
    void (*upgrade)(Stream*) noexcept nogil  # behind the head come bytes of another protocol, both ways
    int (*raw)(Stream*) noexcept nogil  # as of StreamOwner
    void* (*tls)(Stream*) noexcept nogil  # the SSL* of the client's connection; NULL: plain
    const char* protocol  # as a log says it: `HTTP/1.1`

cdef struct Remembered:
    # Header fields that a filter made for a connection, valid for one filter of one generation.
    uint64_t generation
    uint32_t slot
    uint32_t size
    char* lines  # name, NUL, value, NUL, ...; ends with the allocation

cdef struct Client:
    # Who sent a request: facts of its connection.
    const char* text  # the address
    uint32_t size
    uint32_t entry_point
    uint16_t port
    uint8_t tls
    uint8_t address[16]  # IPv4 as IPv4-mapped IPv6
    Remembered* remembered  # belongs to the connection

cdef struct Limits:
    # What was taken from the limits of the route, and is given back.
    int64_t started_ns  # when the breaker admitted us
    uint64_t ticket
    const char* breaker  # payload of the operation that admitted us
    const char* rate  # payload of the rate limit, when each retry takes a token
    char* rate_key  # what it counts by; NULL = the client's address
    uint32_t rate_key_size

cdef struct Buffering:
    # See exchange/buffering.pyx.
    const char* operation  # its payload; NULL: nothing is buffered
    Gather* body  # of the request, when it was collected or may have to be sent again
    size_t body_sent
    Head* first_head  # of a response to be gathered, between `on_head` and `on_body` of one call
    Gather* gather  # of the response
    uint32_t chain  # where the operations behind buffering begin
    uint8_t attempt  # in work, of those the retry expression allows; 0: what comes now is the answer
    uint8_t discarding  # the response at hand is thrown away, another attempt follows
    uint8_t collecting  # the request body is wanted whole

cdef struct Stream:
    const StreamOwner* owner
    const ClientCodec* codec  # of a client's exchange; NULL: Python's or forward authentication's
    Engine* engine
    Record record
    Client client
    Limits limits
    Buffering buffering
    # the request
    char* arrived  # the piece of its body that came with the head, while that is at hand
    size_t arrived_size
    Trailers* request_trailers  # the codec's; with the last piece
    # the response
    Compression compression
    const char* rest  # of a long body in memory, which is sent piece by piece
    size_t rest_size
    Table* table
    const RouteRecord* route
    LiveBackend* backend  # NULL for a route that is ROUTE_DIRECT
    Upstream* upstream
    Pool* pool
    Trailers* trailers  # of the response, taken over by the owner
    char* saved  # the request head, while it may have to be sent again
    uint32_t saved_size
    uint32_t saved_capacity
    Queue unsent  # a request that could not be sent, kept for another attempt
    uint32_t flags  # ROUTE_*, so that the record stays untouched
    uint32_t endpoint  # index in the backend, for drr
    uint32_t endpoint_version
    uint32_t host_offset  # in the written head: value of Host
    uint32_t host_size
    void* exchange  # PyObject*: what Python sees, when it was asked
    const char* affinity  # payload, when a cookie must be set
    const char* pages  # payload of the error pages operation
    uint8_t sticky  # the affinity cookie chose the endpoint
    void* saved_head  # SavedHead*: the request as it came, should a page be fetched
    void* question  # Question*: what forward authentication saved and copied for this exchange
    const char* original_path  # before the first path operation
    uint32_t original_path_size
    uint32_t added_size  # of the prefix that AddPrefix has put in front, when nothing else was done
    uint32_t step  # where request_steps stands
    uint16_t status  # as limits and filters see it: 502 where a response was cut
    uint8_t is_head
    uint8_t is_safe  # GET, HEAD, OPTIONS, TRACE without body
    uint8_t chunked  # framing of the request towards the endpoint
    uint8_t upgrade
    uint32_t upgrade_hash  # of the protocol asked for
    uint8_t whole  # the request body came with its head, or is complete in `body`
    uint8_t parked  # something else goes on with the exchange later
    uint8_t tunnel  # after 101
    uint8_t over  # its connection is beyond the limit: only a probe is answered
    uint8_t request_done  # the whole request was handed to the upstream side
    uint8_t response_started
    uint8_t fresh_only  # do not take an idle connection (again)
    uint8_t attempts
    uint8_t expect
    uint8_t ssl  # counts as TLS for security headers
    uint8_t te_trailers
    uint8_t sub_request  # made by Python
    uint8_t compress  # WISH_* of exchange/compress.pxd
    void* open_here  # Series*: where it counts as open, at the entry point and at the backend
    void* open_there
    uint8_t method_label  # of the metrics
    uint8_t protocol_label
    void* notes  # Notes*: what a line of the access log needs of heads that are gone

cdef inline uint32_t route_flags(const RouteRecord* route) noexcept nogil:
    return (
        route.flags & (ROUTE_PRESERVE_HOST | ROUTE_NOT_FOUND | ROUTE_SCRIPTED)
        | (ROUTE_REQUEST_STEPS if route.request.size else 0)
        | (ROUTE_RESPONSE_STEPS if route.response.size else 0)
        | (ROUTE_END_STEPS if route.end.size else 0)
    )

cdef struct Reply:
    # An answer made by fastproxy itself (`features.md` 1.2).
    int status
    const char* type  # Content-Type; NULL = text/plain; charset=utf-8
    const char* body
    size_t body_size
    const char* lines  # complete header lines
    size_t lines_size
    uint8_t nosniff
    uint8_t close
    uint8_t raw  # made by Python: `lines` is all there is, no Content-Type is added
    uint8_t has_date
    uint8_t has_server
    uint8_t vary  # by Accept-Encoding
    uint32_t flags  # RECORD_*: why this is the answer

cdef struct EntryPoint:
    uint8_t tls
    uint8_t tls_varies  # by host name: 421 where Host and the connection differ
    uint8_t ping
    uint8_t trust_all
    uint8_t http2  # a plain connection may begin with its preface
    uint8_t proxy_protocol  # 1 = read the header, 2 = and believe it from anybody
    uint32_t trusted_count
    uint8_t* trusted  # rows of 16 address bytes and one byte of prefix bits
    uint32_t proxy_trusted_count
    uint8_t* proxy_trusted
    const char* own_prefix  # what stands before /ping and /ready (`web.path`)
    uint32_t own_prefix_size
    void* tls_server
    uint16_t port

cdef struct TlsApi:
    # Filled in by tls/connection.pyx when it is there; meanings in tls/connection.pxd.
    int (*greeting)(int, bint) noexcept nogil  # GREETING_* of tls/server.pxd: what has arrived
    bint (*left)(int) noexcept nogil  # the peer has ended its half, or more
    void* (*accept)(void*, int) noexcept nogil
    void* (*connect)(void*, int, const char*, size_t, uint64_t) noexcept nogil
    int (*handshake)(void*) noexcept nogil
    ssize_t (*read)(void*, char*, size_t) noexcept nogil
    ssize_t (*writev)(void*, const iovec*, int) noexcept nogil
    int (*shutdown)(void*) noexcept nogil
    void (*free)(void*) noexcept nogil
    int (*pending)(void*) noexcept nogil
    bint (*misdirected)(void*, const char*, size_t) noexcept nogil  # the host belongs elsewhere
    bint (*http2)(void*) noexcept nogil  # ALPN has chosen it
    bint (*plain_http)(void*) noexcept nogil  # the client spoke HTTP without TLS
    bint (*cut)(void*) noexcept nogil  # the connection ended without close_notify
    # a client's handshake failed, or (NULL) was given up by the client; its address
    void (*refused)(void*, const char*) noexcept nogil
    int (*failed)(Upstream*) noexcept nogil  # log why the handshake failed; a FAIL_*

cdef struct Counters:
    uint64_t accepted
    uint64_t begun  # exchanges of clients, by their first byte
    uint64_t ended
    uint64_t requests
    uint64_t replies
    uint64_t upstream_connects
    uint64_t upstream_failures
    uint64_t retries

cdef struct Reason:
    # Of the failure that is reported next. See complaint.pyx.
    int why
    int error
    char text[160]

cdef struct Engine:
    Reactor* reactor
    Region* shared
    Table* table
    Table* retired
    Window* window  # heads that arrive whole
    char* body  # one large read buffer
    size_t body_size
    int pipe_read  # empty between turns; -1: bodies are always read
    int pipe_write
    char* out  # heads on their way out
    size_t out_size
    Scratch* scratch
    Head request
    Head response
    Reply reply
    Reason reason
    void* complaints
    uint32_t complaint_count
    int complaint_event  # an eventfd that wakes Python; -1: nobody listens
    TlsApi tls
    Counters counters
    EntryPoint entry_points[64]
    uint32_t entry_point_count
    # handshakes of clients: see client/handshake.pyx
    Source handshaker  # takes the steps of those who wait
    Source* waiting_first
    Source* waiting_last
    uint32_t waiting
    int64_t handshake_credit  # nanoseconds
    int64_t handshake_turn  # the turn (its time) whose beginning was accounted for last
    int64_t handshake_ns  # spent since
    uint64_t handshake_events  # of those the reactor dispatched
    uint64_t handshake_seen  # others, at that turn
    uint32_t connections
    uint32_t max_connections
    uint32_t upstreams  # connections to endpoints
    uint32_t most_sockets  # connections on both sides for which there are descriptors
    uint32_t over_count
    Source* over[MAX_PROBES]  # connections beyond the limit, the oldest first
    uint32_t most_connections  # since memory was last given back
    uint32_t request_line
    uint32_t header_block
    uint32_t header_lines
    uint32_t high_water
    uint32_t unread_body
    uint32_t max_idle
    uint64_t requests_per_connection
    uint64_t max_body
    uint32_t response_block
    uint8_t healthy
    uint8_t ready
    uint8_t draining
    uint8_t parked  # an operation wants the stream to wait for Python
    int64_t date_second
    char date[64]  # "Date: ...\r\n"
    char server[256]
    uint32_t server_size
    Source* free_downstream
    Source* free_upstream
    char* free_saved  # blocks for heads, linked by their first word
    Source* connections_first  # all downstream connections, for draining
    void* plane  # PyObject*: the DataPlane
    # Python's side of scripted operations (python/bridge.pyx)
    int (*call_filter)(Stream*, Head*, uint32_t, uint32_t) noexcept nogil
    void (*end_exchange)(Stream*) noexcept nogil
    int (*keep_head)(Stream*, Head*) noexcept nogil
    int (*intercept)(Stream*, uint32_t, int) noexcept nogil
    int (*refuse)(Stream*, uint32_t, Gather*) noexcept nogil  # the reply a filter makes of an answer
    # hostResolver.cnameFlattening: look the end of the host's CNAME chain up; STEP_PARK meanwhile
    int (*find_alias)(Stream*, Head*) noexcept nogil
    void* credentials  # Credentials*: passwords and nonces that were right lately
    void* aliases  # AliasTable*: what was found lately; NULL = the option is off
    int (*match_regex)(void*, uint32_t, const char*, size_t) noexcept nogil
    # whoever reads records: called at the end of each client's exchange; NULL = nobody
    void (*observe)(Engine*, Stream*) noexcept nogil
    # and those who need texts of heads, which are gone by then
    void (*note_request)(Stream*, Head*) noexcept nogil
    void (*note_response)(Stream*, Head*) noexcept nogil  # an endpoint's, as it came
    void (*note_sent)(Stream*, const char*, size_t) noexcept nogil  # as it goes to the client, in lines
    void (*note_routed)(Stream*) noexcept nogil  # its route is known
    void* access_log  # AccessLog*
    void* metrics  # Requests*
    void* http2  # Http2Worker*: what connections of HTTP/2 share
