"""The epoll set inside uvloop.

Idea: all traffic sockets of a worker live in one epoll set of our own. Its descriptor is watched by
a single `uv_poll_t` on uvloop's own libuv loop, whose callback is a C function of this module.
uvloop runs `uv_run` without the GIL, so a turn of the engine never touches Python; uvloop stays the
only event loop, and its timers, signals and sockets go on beside the traffic.

Invariants
* One `epoll_wait` per wake-up and one read per source and turn. What is left over goes to the run
  queue, and the eventfd in the set wakes the loop again; draining until nothing is left delayed
  uvloop's timers by more than 100 ms when it was tried.
* Sources are registered once, edge-triggered, and never modified.
* A source that is closed during a turn stays in memory until the end of the turn, because events of
  this turn may still point to it (`source_retire`).
* Deadlines: one list per class of equal duration; a new deadline goes to the tail, so the head is
  always the next to expire and everything is O(1). They are looked at ten times a second.

Should a uvloop not export libuv's functions, its own `add_reader` watches the descriptor: correct, but
every wake-up then goes through Python (up to 1.12 x the processor time on prototypes, and a busy Python
thread in the process holds traffic up). `FASTPROXY_EVENTS=reader` asks for that on purpose.

What we do not like: libuv's functions are looked up in uvloop's module at run time, because the
wheel carries its own copy of libuv. uvloop closes all handles of its loop when it is closed and
casts their `data` to its own class unless it is NULL, so ours stays NULL and the address of the
reactor is stored in front of the handle.
"""

import logging
import os

import uvloop
import uvloop.loop as _module
from uvloop.loop import libuv_get_loop_t_ptr

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastproxy.engine.loop.posix cimport (
    CLOCK_MONOTONIC, EFD_CLOEXEC, EFD_NONBLOCK, EPOLL_CLOEXEC, EPOLL_CTL_ADD,
    EPOLLET, EPOLLIN, RTLD_NOLOAD, RTLD_NOW, TFD_CLOEXEC, TFD_NONBLOCK, clock_gettime,
    close, dlopen, dlsym, epoll_create1, epoll_ctl, epoll_event, epoll_wait, errno, eventfd,
    itimerspec, read, time, timerfd_create, timerfd_settime, timespec, write,
)

log = logging.getLogger(__name__)

cdef enum:
    UV_READABLE = 1
    UV_POLL = 8  # uv_handle_type; proved by uv_handle_size and uv_poll_init's result
    TICK_MS = 100
    EVENTS = 256

ctypedef void (*uv_poll_callback)(void*, int, int) noexcept nogil
ctypedef void (*uv_close_callback)(void*) noexcept nogil

cdef size_t (*uv_handle_size)(int) noexcept nogil
cdef int (*uv_poll_init)(void*, void*, int) noexcept nogil
cdef int (*uv_poll_start)(void*, int, uv_poll_callback) noexcept nogil
cdef int (*uv_poll_stop)(void*) noexcept nogil
cdef void (*uv_close)(void*, uv_close_callback) noexcept nogil


cdef void* _symbol(void* library, str name) except NULL:
    cdef bytes text = name.encode()
    cdef void* address = dlsym(library, text)
    if address == NULL:
        raise ImportError(f"uvloop {uvloop.__version__} does not export {name}")
    return address


cdef int _resolve() except -1:
    global uv_handle_size, uv_poll_init, uv_poll_start, uv_poll_stop, uv_close
    cdef bytes path = _module.__file__.encode()
    cdef void* library = dlopen(path, RTLD_NOW | RTLD_NOLOAD)
    if library == NULL:
        raise ImportError(f"cannot open {_module.__file__} to find libuv")
    uv_handle_size = <size_t (*)(int) noexcept nogil> _symbol(library, "uv_handle_size")
    uv_poll_init = <int (*)(void*, void*, int) noexcept nogil> _symbol(library, "uv_poll_init")
    uv_poll_start = <int (*)(void*, int, uv_poll_callback) noexcept nogil> _symbol(library, "uv_poll_start")
    uv_poll_stop = <int (*)(void*) noexcept nogil> _symbol(library, "uv_poll_stop")
    uv_close = <void (*)(void*, uv_close_callback) noexcept nogil> _symbol(library, "uv_close")
    return 0


cdef bint _hooked = False
if os.environ.get("FASTPROXY_EVENTS") != "reader":
    try:
        _resolve()
        _hooked = True
    except ImportError as error:
        log.warning("%s: events take the slower way through Python", error)


cdef int64_t clock_ns() noexcept nogil:
    """The monotonic clock, for what is measured within a turn."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t> now.tv_sec * 1000000000 + now.tv_nsec


cdef inline void _refresh_clock(Reactor* reactor) noexcept nogil:
    reactor.now_ns = clock_ns()
    reactor.now = reactor.now_ns / 1000000


cdef int source_add(Reactor* reactor, Source* source, int descriptor, uint32_t events) noexcept nogil:
    """Put a source into the epoll set; 0, or -1 with errno."""
    cdef epoll_event event
    event.events = events
    event.data.ptr = source
    source.reactor = reactor
    source.descriptor = descriptor
    return epoll_ctl(reactor.epoll, EPOLL_CTL_ADD, descriptor, &event)


cdef inline void _wake(Reactor* reactor) noexcept nogil:
    cdef uint64_t one = 1
    write(reactor.wake, &one, sizeof(one))


cdef void source_run(Source* source) noexcept nogil:
    """Call the source's `on_event` with 0 in the next turn."""
    cdef Reactor* reactor = source.reactor
    if source.queued or source.dead:
        return
    source.queued = 1
    source.next_ready = NULL
    if reactor.ready_last == NULL:
        reactor.ready_first = source
        _wake(reactor)
    else:
        reactor.ready_last.next_ready = source
    reactor.ready_last = source


cdef void source_flush(Source* source) noexcept nogil:
    """Call `on_flush` behind all events of this turn: whoever has much to say says it at once."""
    if source.flushing or source.dead:
        return
    source.flushing = 1
    source.next_flush = source.reactor.flush_first
    source.reactor.flush_first = source
    if source.next_flush == NULL and not source.reactor.turning:
        _wake(source.reactor)  # Python has brought this


cdef void _flush(Reactor* reactor) noexcept nogil:
    """What is asked for meanwhile waits for the next turn."""
    cdef Source* source = reactor.flush_first
    cdef Source* following
    reactor.flush_first = NULL
    while source != NULL:
        following = source.next_flush
        source.flushing = 0
        if not source.dead:
            source.on_flush(source)
        source = following
    if reactor.flush_first != NULL:
        _wake(reactor)


cdef void source_retire(Source* source) noexcept nogil:
    """The descriptor is closed; free the source at the end of the turn."""
    if source.dead:
        return
    source.dead = 1
    deadline_clear(source.reactor, &source.deadline)
    source.next_dead = source.reactor.graveyard
    source.reactor.graveyard = source


cdef void deadline_clear(Reactor* reactor, Deadline* deadline) noexcept nogil:
    cdef DeadlineList* row
    if not deadline.linked:
        return
    row = &reactor.deadlines[deadline.kind]
    if deadline.previous == NULL:
        row.first = deadline.next
    else:
        deadline.previous.next = deadline.next
    if deadline.next == NULL:
        row.last = deadline.previous
    else:
        deadline.next.previous = deadline.previous
    deadline.linked = 0


cdef void deadline_set(Source* source, Deadline* deadline, int kind) noexcept nogil:
    """Replace the deadline; a class whose duration is 0 (unlimited) only remembers the class."""
    cdef Reactor* reactor = source.reactor
    cdef DeadlineList* row = &reactor.deadlines[kind]
    deadline_clear(reactor, deadline)
    deadline.kind = kind
    deadline.source = source
    if row.duration <= 0:
        return
    deadline.expires = reactor.now + row.duration
    deadline.previous = row.last
    deadline.next = NULL
    if row.last == NULL:
        row.first = deadline
    else:
        row.last.next = deadline
    row.last = deadline
    deadline.linked = 1


cdef void _expire(Reactor* reactor) noexcept nogil:
    cdef int kind
    cdef Deadline* deadline
    for kind in range(DEADLINE_CLASSES):
        while True:
            deadline = reactor.deadlines[kind].first
            if deadline == NULL or deadline.expires > reactor.now:
                break
            deadline_clear(reactor, deadline)
            if not deadline.source.dead:
                deadline.source.on_deadline(deadline.source, kind)


cdef void _bury(Reactor* reactor) noexcept nogil:
    """Free what was retired, except sources the run queue still points to."""
    cdef Source* source = reactor.graveyard
    cdef Source* kept = NULL
    cdef Source* following
    reactor.graveyard = NULL
    while source != NULL:
        following = source.next_dead
        if source.queued or source.flushing:
            source.next_dead = kept
            kept = source
        else:
            source.on_free(source)
        source = following
    while kept != NULL:
        following = kept.next_dead
        kept.next_dead = reactor.graveyard
        reactor.graveyard = kept
        kept = following


cdef void _turn(Reactor* reactor) noexcept nogil:
    cdef int count = epoll_wait(reactor.epoll, reactor.events, EVENTS, 0)
    cdef int i
    cdef Source* source
    cdef Source* following
    _refresh_clock(reactor)
    reactor.turning = 1
    # What was ready before this turn runs once; what these calls queue waits for the next turn.
    source = reactor.ready_first
    reactor.ready_first = NULL
    reactor.ready_last = NULL
    while source != NULL:
        following = source.next_ready
        source.queued = 0
        if not source.dead:
            reactor.dispatched += 1
            source.on_event(source, 0)
        source = following
    for i in range(count):
        source = <Source*> reactor.events[i].data.ptr
        if not source.dead:
            reactor.dispatched += 1
            source.on_event(source, reactor.events[i].events)
    if reactor.flush_first != NULL:
        _flush(reactor)
    reactor.turning = 0
    _bury(reactor)


cdef void _on_poll(void* handle, int status, int events) noexcept nogil:
    _turn((<Reactor**> handle - 1)[0])


cdef void _on_wake(Source* source, uint32_t events) noexcept nogil:
    source.reactor.dispatched -= 1  # edge-triggered: the counter need not be read


cdef void _on_timer(Source* source, uint32_t events) noexcept nogil:
    cdef uint64_t ticks
    cdef Reactor* reactor = source.reactor
    reactor.dispatched -= 1
    read(source.descriptor, &ticks, sizeof(ticks))
    reactor.wall = time(NULL)
    if reactor.on_tick != NULL:
        reactor.on_tick(reactor)
    _expire(reactor)


cdef void _no_deadline(Source* source, int kind) noexcept nogil:
    pass


cdef void _no_free(Source* source) noexcept nogil:
    pass


cdef int _own_source(Reactor* reactor, Source* source, int descriptor, uint32_t events) except -1:
    source.on_deadline = _no_deadline
    source.on_free = _no_free
    if descriptor < 0 or source_add(reactor, source, descriptor, events) < 0:
        raise OSError(errno, "cannot set up the engine's epoll set")
    return 0


cdef Reactor* reactor_new(object loop) except NULL:
    """Create the epoll set and watch it from uvloop's loop. Call after fork."""
    cdef Reactor* reactor = <Reactor*> calloc(1, sizeof(Reactor))
    cdef itimerspec interval
    cdef size_t size = uv_handle_size(UV_POLL) if _hooked else 64
    cdef char* block
    cdef void* uv_loop = PyCapsule_GetPointer(libuv_get_loop_t_ptr(loop), NULL)
    if reactor == NULL:
        raise MemoryError
    if size < 64 or size > 1024:
        raise ImportError(f"uvloop {uvloop.__version__}: uv_poll_t of {size} bytes is not plausible")
    reactor.epoll = epoll_create1(EPOLL_CLOEXEC)
    if reactor.epoll < 0:
        raise OSError(errno, "cannot create an epoll set")
    reactor.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    reactor.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
    reactor.wake_source.on_event = _on_wake
    reactor.timer_source.on_event = _on_timer
    _own_source(reactor, &reactor.wake_source, reactor.wake, EPOLLIN | EPOLLET)
    _own_source(reactor, &reactor.timer_source, reactor.timer, EPOLLIN)
    memset(&interval, 0, sizeof(interval))
    interval.it_interval.tv_nsec = TICK_MS * 1000000
    interval.it_value.tv_nsec = TICK_MS * 1000000
    timerfd_settime(reactor.timer, 0, &interval, NULL)
    _refresh_clock(reactor)
    reactor.wall = time(NULL)
    if not _hooked:
        loop.add_reader(reactor.epoll, _turn_from_python, <size_t> reactor)
        return reactor
    block = <char*> calloc(1, sizeof(Reactor*) + 8 + size)
    if block == NULL:
        raise MemoryError
    reactor.handle = block + sizeof(Reactor*) + 8
    (<Reactor**> reactor.handle - 1)[0] = reactor
    if uv_poll_init(uv_loop, reactor.handle, reactor.epoll) != 0:
        raise OSError("libuv refused the engine's epoll descriptor")
    if uv_poll_start(reactor.handle, UV_READABLE, _on_poll) != 0:
        raise OSError("libuv cannot watch the engine's epoll descriptor")
    return reactor


cdef void _on_closed(void* handle) noexcept nogil:
    free(<char*> handle - sizeof(Reactor*) - 8)


def _turn_from_python(size_t reactor):
    with nogil:
        _turn(<Reactor*> reactor)


cdef int reactor_unhook(Reactor* reactor, object loop) except -1:
    """Leave uvloop's loop; give the loop one turn before it is closed."""
    if not _hooked:
        loop.remove_reader(reactor.epoll)
    if reactor.handle != NULL:
        uv_poll_stop(reactor.handle)
        uv_close(reactor.handle, _on_closed)
        reactor.handle = NULL
    return 0


cdef void reactor_free(Reactor* reactor) noexcept nogil:
    """Close the epoll set; every source must have been retired."""
    _bury(reactor)
    close(reactor.epoll)
    close(reactor.wake)
    close(reactor.timer)
    free(reactor)
