"""The epoll set inside uvloop: readiness, a run queue and deadlines. See reactor.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastproxy.engine.loop.posix cimport epoll_event

cdef enum DeadlineClass:
    DEADLINE_HEAD  # a complete request head
    DEADLINE_IDLE  # keep-alive between requests
    DEADLINE_BODY  # progress of a request body
    DEADLINE_REQUEST  # respondingTimeouts.readTimeout: the whole request
    DEADLINE_WRITE  # respondingTimeouts.writeTimeout: until the response is written
    DEADLINE_STALL  # a client that takes nothing
    DEADLINE_LEFT  # a client that has ended, while the endpoint is silent
    DEADLINE_LINGER  # after our own end, reading what is left
    DEADLINE_HANDSHAKE  # TLS, client side
    DEADLINE_CONNECT  # to an endpoint
    DEADLINE_TRY  # to one of several addresses of it
    DEADLINE_NAME  # the first lookup of an endpoint's name
    DEADLINE_UPSTREAM_HANDSHAKE
    DEADLINE_RESPONSE  # forwardingTimeouts.responseHeaderTimeout
    DEADLINE_UPGRADE  # limits.websocketHandshakeTimeout, or the one above if it is shorter
    DEADLINE_UPSTREAM_STALL  # an endpoint that takes nothing of the request
    DEADLINE_POOL  # idle upstream connection
    DEADLINE_CONTINUE  # waiting for 100 from the endpoint
    DEADLINE_TUNNEL
    DEADLINE_QUESTION  # forward authentication: everything about the answer
    DEADLINE_ACCEPT  # a listener that ran out of descriptors
    DEADLINE_CLASSES

cdef struct Deadline:
    Deadline* previous
    Deadline* next
    int64_t expires  # milliseconds of the monotonic clock
    Source* source
    uint8_t kind
    uint8_t linked

cdef struct Source:
    # First member of everything that lives in the epoll set.
    void (*on_event)(Source*, uint32_t) noexcept nogil
    void (*on_deadline)(Source*, int) noexcept nogil
    void (*on_free)(Source*) noexcept nogil
    void (*on_flush)(Source*) noexcept nogil  # at the end of a turn in which source_flush was called
    Source* next_ready
    Source* next_flush
    Source* next_dead
    Reactor* reactor
    Deadline deadline  # of the phase the source is in
    int descriptor
    uint8_t queued
    uint8_t flushing
    uint8_t dead

cdef struct DeadlineList:
    Deadline* first
    Deadline* last
    int64_t duration  # milliseconds; 0 = unlimited

cdef struct Reactor:
    int epoll
    int wake
    int timer
    uint8_t turning  # events are being handled
    int64_t now  # milliseconds, monotonic, refreshed once per turn
    int64_t now_ns
    uint64_t dispatched  # events of sources, those of the reactor's own apart
    int64_t wall  # seconds since 1970, refreshed with the timer
    Source* ready_first
    Source* ready_last
    Source* flush_first
    Source* graveyard
    DeadlineList deadlines[DEADLINE_CLASSES]
    void (*on_tick)(Reactor*) noexcept nogil  # about ten times a second
    void* context
    void* handle  # the uv_poll_t; the Reactor's address is stored in front of it
    epoll_event events[256]
    Source wake_source
    Source timer_source

cdef int64_t clock_ns() noexcept nogil
cdef int source_add(Reactor* reactor, Source* source, int descriptor, uint32_t events) noexcept nogil
cdef void source_run(Source* source) noexcept nogil
cdef void source_flush(Source* source) noexcept nogil
cdef void source_retire(Source* source) noexcept nogil
cdef void deadline_set(Source* source, Deadline* deadline, int kind) noexcept nogil
cdef void deadline_clear(Reactor* reactor, Deadline* deadline) noexcept nogil

cdef Reactor* reactor_new(object loop) except NULL
cdef int reactor_unhook(Reactor* reactor, object loop) except -1
cdef void reactor_free(Reactor* reactor) noexcept nogil
