"""Accepting connections from a listening socket that belongs to the parent process.

The socket is watched level-triggered, so a backlog is never forgotten. A worker that has all the
connections it may have closes the one that has been idle for longest. When all are in use, accepting
pauses and is tried again with every tick; only the entry point of `/ping` goes on, with a few
connections on which nothing else is answered: who asks whether we live must not wait for a client.
"""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free

from fastproxy.engine.stream.complaint cimport WHY_PAUSED, complain_plainly
from fastproxy.engine.client.h1 cimport downstream_accept, downstream_give_way
from fastproxy.engine.client.handshake cimport handshake_charge, handshake_may
from fastproxy.engine.loop.posix cimport (
    EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPOLL_CTL_DEL, EPOLLIN, IPPROTO_TCP, SOCK_CLOEXEC,
    SOCK_NONBLOCK, TCP_NODELAY, accept4, close, epoll_ctl, errno, setsockopt, sockaddr, sockaddr_storage,
    socklen_t,
)
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_ACCEPT, Source, clock_ns, deadline_set, source_add, source_retire,
)
from fastproxy.engine.stream.stream cimport Engine
from fastproxy.engine.tls.server cimport GREETING_OTHER
from fastproxy.engine.upstream.connection cimport upstream_give_way

cdef enum:
    BATCH = 32
    LAST_BATCH = 4096
    WINDOW = 100  # milliseconds, as long as accepting pauses
    MOST_LEFT = 200  # in a window; whoever floods without waiting for answers is slowed down to that
    MOST_WAITING = 256  # for a step of their handshake


cdef void _on_event(Source* source, uint32_t events) noexcept nogil:
    cdef Listener* listener = <Listener*> source
    cdef Engine* engine = listener.engine
    cdef sockaddr_storage address
    cdef socklen_t size
    cdef int64_t began = 0
    cdef int descriptor, _i
    cdef bint over = False
    cdef bint tls = engine.entry_points[listener.entry_point].tls
    engine.handshake_events += tls
    for _i in range(BATCH):
        if tls:
            if engine.waiting >= MOST_WAITING or not handshake_may(engine):
                return  # meanwhile others wait in the kernel, where they cost nothing
            began = clock_ns()
        if _full(engine):
            if _i:
                return  # whether another one waits is not known; then the next turn is told
            if not downstream_give_way(engine):
                over = engine.entry_points[listener.entry_point].ping
                if not over:
                    complain_plainly(engine, WHY_PAUSED)
                    _pause(listener)
                    return
        size = sizeof(address)
        descriptor = accept4(source.descriptor, <sockaddr*> &address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if descriptor < 0:
            if errno == EAGAIN:
                return
            if _exhausted():
                if upstream_give_way(engine) or downstream_give_way(engine):
                    continue
                _pause(listener)
                return
            continue  # only this connection has failed (accept(2), error handling)
        if tls and engine.tls.left(descriptor) and (
            engine.tls.greeting(descriptor, False) != GREETING_OTHER  # plain HTTP is told what it did
        ):
            close(descriptor)
            if _is_flood(listener):
                _pause(listener)
                return
        else:
            downstream_accept(engine, descriptor, listener.entry_point, &address, over)
        over = False
        if tls:
            handshake_charge(engine, began)


cdef bint _is_flood(Listener* listener) noexcept nogil:
    """Count one who has left before it was accepted; whether they are too many."""
    cdef int64_t now = listener.engine.reactor.now
    if now - listener.window >= WINDOW:
        listener.window = now
        listener.left = 0
    listener.left += 1
    return listener.left >= MOST_LEFT


cdef inline bint _full(const Engine* engine) noexcept nogil:
    return engine.connections - engine.over_count >= engine.max_connections


cdef inline bint _exhausted() noexcept nogil:
    return errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM


cdef void _pause(Listener* listener) noexcept nogil:
    epoll_ctl(listener.engine.reactor.epoll, EPOLL_CTL_DEL, listener.source.descriptor, NULL)
    deadline_set(&listener.source, &listener.source.deadline, DEADLINE_ACCEPT)


cdef void _on_deadline(Source* source, int kind) noexcept nogil:
    cdef Listener* listener = <Listener*> source
    source_add(listener.engine.reactor, source, source.descriptor, EPOLLIN)


cdef void _free(Source* source) noexcept nogil:
    free(source)


cdef Listener* listener_new(Engine* engine, int descriptor, uint32_t entry_point) noexcept nogil:
    """Start to accept; NULL with errno. The descriptor stays the caller's."""
    cdef Listener* listener = <Listener*> calloc(1, sizeof(Listener))
    cdef int one = 1
    if listener == NULL:
        return NULL
    listener.source.on_event = _on_event
    listener.source.on_deadline = _on_deadline
    listener.source.on_free = _free
    listener.engine = engine
    listener.entry_point = entry_point
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))  # inherited when accepting
    if source_add(engine.reactor, &listener.source, descriptor, EPOLLIN) < 0:
        free(listener)
        return NULL
    return listener


cdef void listener_close(Listener* listener) noexcept nogil:
    """Take what is queued, which the last close of the socket would reset, and stop to accept."""
    cdef sockaddr_storage address
    cdef socklen_t size
    cdef int descriptor, _i
    for _i in range(LAST_BATCH):
        size = sizeof(address)
        descriptor = accept4(
            listener.source.descriptor, <sockaddr*> &address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC
        )
        if descriptor < 0:
            if errno == EAGAIN or _exhausted():
                break
            continue
        downstream_accept(listener.engine, descriptor, listener.entry_point, &address, False)
    epoll_ctl(listener.engine.reactor.epoll, EPOLL_CTL_DEL, listener.source.descriptor, NULL)
    source_retire(&listener.source)
