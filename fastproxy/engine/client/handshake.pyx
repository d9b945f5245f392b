"""Handshakes of clients: who waits, who has left, and how much of the worker's time they get.

Idea. The answer to a ClientHello costs ten times as much as a request, and whoever likes may ask
for thousands of them. So three things are asked before one is computed:

* Has the client left? Then nothing is computed: neither a ClientHello nor less than one leads
  anywhere when the end of the stream, or a reset, is behind it.
* Is there time? While there is other traffic, new clients of TLS get one part of the worker's time
  for every two of the rest, accepting them and closing what they left behind included; a worker
  that has nothing else to do spends all its time on them, and looks for other work in between.
  What they take beyond that is owed and paid by the turns that follow.
* Is it its turn? Those that cannot be answered at once wait in a queue, the oldest first, which is
  fair as long as whoever gives up leaves it. It is bounded: while MOST_WAITING wait, the entry
  points with TLS accept nobody, and the kernel's queue, which is bounded too, slows clients down.

Only a step which begins with a ClientHello waits, also the second one, after HelloRetryRequest. The
others belong to handshakes that were begun: they are taken at once, so that what was paid for is not
lost, and owed like the others.
"""

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport strlen

from fastproxy.engine.client.h1_connection cimport (
    DOWNSTREAM_HANDSHAKE, DOWNSTREAM_HEAD, Downstream, downstream_close, downstream_end, downstream_wait,
    downstream_sent, downstream_wait_no_more,
)
from fastproxy.engine.client.h1_request cimport downstream_read_head
from fastproxy.engine.client.h2 cimport http2_begin
from fastproxy.engine.exchange.end cimport exchange_begin, exchange_end
from fastproxy.engine.loop.posix cimport iovec
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_HANDSHAKE, DEADLINE_HEAD, Reactor, Source, clock_ns, deadline_set, source_run,
)
from fastproxy.engine.stream.record cimport RECORD_BAD_REQUEST, Record
from fastproxy.engine.stream.stream cimport Engine
from fastproxy.engine.tls.server cimport GREETING_HELLO, GREETING_OTHER
from fastproxy.engine.stream.transport cimport transport_write

cdef enum:
    QUANTUM = 250000  # nanoseconds for new clients between two looks at other events
    PARTS = 2  # of the time for other traffic to one for new clients


cdef void handshake_begin(Downstream* downstream) noexcept nogil:
    """Wait for the client's first record: the first event tells of it, and of the client's end."""
    downstream.state = DOWNSTREAM_HANDSHAKE
    deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_HANDSHAKE)


cdef void handshake_event(Downstream* downstream) noexcept nogil:
    """Something has arrived, or the client has ended its half."""
    cdef Engine* engine = downstream.engine
    cdef int64_t began = clock_ns()
    engine.handshake_events += 1
    _answer(downstream)
    handshake_charge(engine, began)


cdef void _answer(Downstream* downstream) noexcept nogil:
    cdef Engine* engine = downstream.engine
    cdef int greeting = engine.tls.greeting(downstream.source.descriptor, downstream.ssl != NULL)
    if greeting == GREETING_HELLO:
        if downstream.hung_up:
            _forget(downstream)
        elif not downstream.waiting:
            if engine.waiting_first == NULL and handshake_may(engine):
                _step(downstream)
            else:
                downstream_wait(downstream)
                _call_worker(engine)
    elif greeting == GREETING_OTHER:
        _step(downstream)
    elif downstream.hung_up:
        _forget(downstream)


cdef void handshake_reset(Downstream* downstream) noexcept nogil:
    """The client has reset the connection."""
    downstream.engine.handshake_events += 1
    _forget(downstream)


cdef void _forget(Downstream* downstream) noexcept nogil:
    downstream.engine.tls.refused(NULL, downstream.client)
    downstream_close(downstream)


# --- time ------------------------------------------------------------------------------------

cdef bint handshake_may(Engine* engine) noexcept nogil:
    """Whether new clients have time left; what passed since this was last asked is paid in."""
    cdef Reactor* reactor = engine.reactor
    cdef int64_t others
    if engine.handshake_turn != reactor.now_ns:
        others = reactor.now_ns - engine.handshake_turn - engine.handshake_ns
        if reactor.dispatched == engine.handshake_events + engine.handshake_seen:
            engine.handshake_credit = QUANTUM  # nobody else wanted anything
        else:
            engine.handshake_credit = min(engine.handshake_credit + others // PARTS, <int64_t> QUANTUM)
        engine.handshake_seen = reactor.dispatched - engine.handshake_events
        engine.handshake_turn = reactor.now_ns
        engine.handshake_ns = 0
    return engine.handshake_credit > 0


cdef void handshake_charge(Engine* engine, int64_t began) noexcept nogil:
    """What was done since then was for new clients."""
    cdef int64_t took = clock_ns() - began
    engine.handshake_ns += took
    engine.handshake_credit -= took


cdef void _step(Downstream* downstream) noexcept nogil:
    """Let OpenSSL go on with a handshake."""
    cdef Engine* engine = downstream.engine
    cdef int code
    if downstream.ssl == NULL:
        downstream.ssl = engine.tls.accept(
            engine.entry_points[downstream.stream.client.entry_point].tls_server, downstream.source.descriptor
        )
        if downstream.ssl == NULL:
            downstream_close(downstream)
            return
    code = engine.tls.handshake(downstream.ssl)
    if code == 1 and engine.tls.http2(downstream.ssl):
        downstream.readable = 1
        http2_begin(downstream, NULL, 0)
    elif code == 1:
        downstream.state = DOWNSTREAM_HEAD
        downstream.readable = 1
        deadline_set(&downstream.source, &downstream.source.deadline, DEADLINE_HEAD)
        downstream_read_head(downstream)
    elif code != -1 and code != -2:
        engine.tls.refused(downstream.ssl, downstream.client)
        _refuse(downstream)


# --- the queue -------------------------------------------------------------------------------

cdef void _call_worker(Engine* engine) noexcept nogil:
    """Have the queue looked at in the next turn."""
    engine.handshaker.reactor = engine.reactor
    engine.handshaker.on_event = _work
    source_run(&engine.handshaker)


cdef void _work(Source* source, uint32_t events) noexcept nogil:
    """Take steps of those who wait while there is time."""
    cdef Engine* engine = <Engine*> (<char*> source - <size_t> &(<Engine*> NULL).handshaker)
    cdef Downstream* downstream
    cdef int64_t began
    engine.handshake_events += 1
    while engine.waiting_first != NULL and handshake_may(engine):
        began = clock_ns()
        downstream = <Downstream*> engine.waiting_first
        downstream_wait_no_more(downstream)
        if engine.tls.left(downstream.source.descriptor):
            _forget(downstream)
        else:
            _step(downstream)
        handshake_charge(engine, began)
    if engine.waiting_first != NULL:
        source_run(source)


# --- refusals --------------------------------------------------------------------------------

cdef void _refuse(Downstream* downstream) noexcept nogil:
    """A handshake has failed. The client is to read why, be it an alert or a page: closing at once
    while something of its own is unread would reset the connection and take that from it."""
    cdef bint plain = downstream.engine.tls.plain_http(downstream.ssl)
    downstream.engine.tls.free(downstream.ssl)
    downstream.ssl = NULL
    if plain:
        _write_plain(downstream)
    downstream_end(downstream)


cdef void _write_plain(Downstream* downstream) noexcept nogil:
    """HTTP where TLS is spoken: say so in the clear, as Go's server does."""
    cdef const char* text = (
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    )
    cdef Record* record = &downstream.stream.record
    cdef iovec vector[1]
    vector[0].iov_base = <void*> text
    vector[0].iov_len = strlen(text)
    exchange_begin(&downstream.stream)
    if transport_write(downstream.engine, downstream.source.descriptor, NULL, vector, 1) > 0:
        downstream_sent(downstream, vector[0].iov_len)
    record.own = 1
    record.status = record.origin_status = 400
    record.flags = RECORD_BAD_REQUEST
    exchange_end(&downstream.stream)
