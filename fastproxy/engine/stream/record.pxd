"""What is known about one exchange when it ends: times, sizes, statuses, flags.

Part of the stream. The codecs and the exchange fill it; `exchange_begin` empties it, and the one end
(`exchange/end.pyx`) hands it to `Engine.observe`, complete, exactly once for every exchange that has
begun: also for one that was refused before it was a request (then `head` is 0).

Times are nanoseconds of the monotonic clock (`Reactor.now_ns`: when the turn began in which it
happened), 0 = it did not happen. Of several attempts the last one counts. Which endpoint, route and
entry point it was stand in the stream (`pool`, `route` with `table`, `entry_point`); they are still
held when the end is reported.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum RecordFlag:
    # Bits of Record.flags; behind them the code in log lines. None = a complete answer of
    # the endpoint.
    RECORD_NO_ROUTE = 1 << 0  # NR
    RECORD_NO_ENDPOINT = 1 << 1  # UH
    RECORD_BREAKER = 1 << 2  # UO
    RECORD_CONNECT_FAILED = 1 << 3  # UF
    RECORD_CONNECT_TIMEOUT = 1 << 4  # UFT
    RECORD_NAME = 1 << 5  # DF: the endpoint's name cannot be resolved
    RECORD_ENDPOINT_TLS = 1 << 6  # UX
    RECORD_HEAD_TIMEOUT = 1 << 7  # UT
    RECORD_CLOSED = 1 << 8  # UC: closed before a response head
    RECORD_MALFORMED = 1 << 9  # UPE: malformed response
    RECORD_CUT = 1 << 10  # UTR: the response's body was cut
    RECORD_EXHAUSTED = 1 << 11  # URX: no attempt is left
    RECORD_CLIENT_LEFT = 1 << 12  # DC
    RECORD_CLIENT_SLOW = 1 << 13  # DT
    RECORD_BAD_REQUEST = 1 << 14  # DPE: malformed, or larger than allowed
    RECORD_RATE_LIMIT = 1 << 15  # RL
    RECORD_CONNECTION_LIMIT = 1 << 16  # CL
    RECORD_WHITELIST = 1 << 17  # WL
    RECORD_UNAUTHORISED = 1 << 18  # UA
    RECORD_REDIRECT = 1 << 19  # RD
    RECORD_HOST = 1 << 20  # AH: not among the allowed hosts
    RECORD_MISDIRECTED = 1 << 21  # MD: 421
    RECORD_BUFFERING = 1 << 22  # BL: larger than buffering allows
    RECORD_PAGE = 1 << 23  # EP: an error page took the answer's place
    RECORD_TUNNEL_CLIENT = 1 << 24  # TC: the client ended the tunnel
    RECORD_TUNNEL_ENDPOINT = 1 << 25  # TU
    RECORD_SHUTDOWN = 1 << 26  # SD
    RECORD_INTERNAL = 1 << 27  # IE

cdef struct Attempt:
    # One that another followed; only kept while somebody reads records.
    Attempt* previous
    int64_t duration  # from the choice of the endpoint on
    uint32_t flags  # why it failed; 0: it was answered, with
    uint16_t status
    uint16_t url_size
    char url[128]  # of the endpoint, cut

cdef struct Record:
    # times
    int64_t first_byte  # of the request; the exchange begins
    int64_t head  # the head is complete
    int64_t body  # the request is complete
    int64_t chosen  # an endpoint is; of an own answer: the answer is decided
    int64_t connected  # to the endpoint; 0 = the connection was there
    int64_t secured  # its TLS handshake has ended
    int64_t written  # the whole request is with the kernel
    int64_t answered  # the response head has come, or an own answer is made
    int64_t last_in  # last byte of the response from the endpoint
    int64_t last_out  # last byte of the response with the kernel
    # sizes, bytes
    uint64_t received  # from the client, head and framing included
    uint64_t sent  # to the client, head and framing included
    uint64_t request_body  # content, without framing
    uint64_t response_body  # content as the client gets it: after compression, without framing
    uint64_t origin_body  # content as the step that answered made it: before compression and error pages
    uint64_t upstream_sent  # to endpoints, all attempts, heads and framing included
    uint64_t upstream_received
    Attempt* attempts  # those before the last one, the newest first
    # outcome
    uint32_t flags  # RECORD_*
    uint32_t retries  # repetitions by `[retry]`
    uint16_t status  # what the client got; 499: nothing, it had left; 0: nothing
    uint16_t origin_status  # of the step that answered, also where a page took its place
    uint8_t reused  # the connection to the endpoint had answered before
    uint8_t own  # fastproxy answered, not an endpoint
    uint8_t authenticated  # basic or digest authentication has accepted the user in Authorization
    uint8_t internal  # ping, API: neither logged nor counted

cdef inline uint32_t failure_flag(int failure) noexcept nogil:
    """The flag of a FAIL_* of stream.pxd."""
    cdef uint32_t[10] flags = [
        0, RECORD_CONNECT_FAILED, RECORD_CONNECT_TIMEOUT, RECORD_HEAD_TIMEOUT, RECORD_CLOSED, RECORD_MALFORMED,
        RECORD_CUT, RECORD_NAME, RECORD_ENDPOINT_TLS, RECORD_INTERNAL,
    ]
    return flags[failure]

cdef inline void record_again(Record* record) noexcept nogil:
    """Another attempt: forget when and how the last one got to its endpoint."""
    record.connected = record.secured = record.written = 0
    record.reused = 0
