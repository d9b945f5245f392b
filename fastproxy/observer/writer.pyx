# The thread that moves lines from the workers' rings to the access log, without the interpreter.
#
# It takes whole lines as they stand in the rings and writes them in one call. Three things are promised:
#
# * No line is ever torn by another process that writes to the same pipe: a pipe gets pieces of at most PIPE_BUF
#   which end at a line, and only when they fit, so that the thread never blocks in a write.
# * What a full disk or a reader that has gone does not take stays in the ring and is tried again each second;
#   one line in fastproxy's log tells when that begins and when it ends. A line of which a part was written
#   is completed first.
# * The order of one worker's lines holds.

from libc.errno cimport EAGAIN, EINTR, EPIPE, errno
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

import logging
import os

from fastproxy.counters.layout cimport word_load, word_store
from fastproxy.system.ring cimport Ring, ring_close, ring_open


cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int POLLIN
    int POLLOUT
    int POLLERR
    int poll(pollfd* fds, unsigned long count, int timeout)


cdef extern from "<string.h>" nogil:
    void* memrchr(const void* data, int byte, size_t size)
    void* memchr(const void* data, int byte, size_t size)


cdef extern from "<unistd.h>" nogil:
    long write(int descriptor, const void* data, size_t size)
    long read(int descriptor, void* data, size_t size)


cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int nanosleep(const timespec* wanted, timespec* left)

log = logging.getLogger("fastproxy.observer")

cdef enum:
    PIECE = 4096  # PIPE_BUF of Linux
    PIECES = 64  # from one ring before the next one's turn
    MOST = 1 << 18  # bytes in one write to a file
    LOOK = 2  # milliseconds between two looks while there is something to do
    RETRY = 1000  # milliseconds until a failed write is tried again
    FULL_PIPE = 50  # milliseconds between two looks at a pipe that takes nothing


cdef void _sleep(int milliseconds) noexcept nogil:
    cdef timespec wanted
    wanted.tv_sec = milliseconds // 1000
    wanted.tv_nsec = (milliseconds % 1000) * 1000000
    nanosleep(&wanted, NULL)


cdef uint64_t _lines(const char* data, size_t size) noexcept nogil:
    cdef const char* end = data + size
    cdef uint64_t count = 0
    while True:
        data = <const char*> memchr(data, 10, end - data)
        if data == NULL:
            return count
        count += 1
        data += 1


cdef class Writer:
    """Writes what stands in the rings; `run` is for a thread of its own."""

    cdef Ring** _rings
    cdef int _count
    cdef int _wake
    cdef int _output  # -1: none could be opened yet
    cdef int _next_output  # -1: no change is asked for
    cdef bint _change
    cdef bint _is_pipe
    cdef bint _stopping
    cdef int _gather  # milliseconds
    cdef int _torn  # ring whose line was written in part; -1: none
    cdef int _error
    cdef str _name

    def __cinit__(self, rings, int wake, str name, int gather=LOOK):
        """`rings` are descriptors; `name` says in the log what is written; `gather`: milliseconds between writes."""
        self._count = 0
        self._wake = wake
        self._output = self._next_output = self._torn = -1
        self._name = name
        self._gather = gather
        self._rings = <Ring**> calloc(len(rings), sizeof(Ring*))
        for descriptor in rings:
            self._rings[self._count] = ring_open(descriptor, wake)
            if self._rings[self._count] == NULL:
                raise OSError("cannot map a ring")
            self._count += 1

    def __dealloc__(self):
        cdef int i
        for i in range(self._count):
            ring_close(self._rings[i])
        free(self._rings)

    def set_output(self, int descriptor):
        """Write there from the next whole line on; the writer owns the descriptor, and closes the one before."""
        self._next_output = descriptor
        self._change = True
        self._nudge()

    def stop(self):
        """Write what is there and let `run` return; what a failing output does not take is given up."""
        self._stopping = True
        self._nudge()

    def _nudge(self):
        os.eventfd_write(self._wake, 1)

    def run(self):
        with nogil:
            self._run()

    cdef void _run(self) noexcept nogil:
        cdef bint moved
        cdef int i
        while True:
            if self._change and self._torn < 0:
                with gil:
                    self._exchange()
            moved = self._pass()
            if self._stopping and (not moved or self._error):
                return
            if self._error:
                self._wait(RETRY)
            elif moved:
                _sleep(self._gather)
            else:
                for i in range(self._count):
                    word_store(&self._rings[i].header.sleeping, 1)
                if not self._something():
                    self._wait(-1)
                for i in range(self._count):
                    word_store(&self._rings[i].header.sleeping, 0)

    cdef bint _something(self) noexcept nogil:
        cdef int i
        for i in range(self._count):
            if word_load(&self._rings[i].header.head) != self._rings[i].header.tail:
                return True
        return False

    cdef void _wait(self, int milliseconds) noexcept nogil:
        cdef pollfd waited
        cdef uint64_t count
        waited.fd = self._wake
        waited.events = POLLIN
        if poll(&waited, 1, milliseconds) > 0:
            read(self._wake, &count, sizeof(count))

    cdef bint _pass(self) noexcept nogil:
        """Write something of every ring; whether there was anything."""
        cdef bint moved = False
        cdef int i, _piece
        if self._torn >= 0:
            if not self._drain(self._torn):
                return True
        for i in range(self._count):
            for _piece in range(PIECES):
                if word_load(&self._rings[i].header.head) == self._rings[i].header.tail:
                    break
                moved = True
                if not self._drain(i):
                    return True
        return moved

    cdef bint _drain(self, int number) noexcept nogil:
        """Write what is in a ring; False when the output takes no more, or a line is torn."""
        cdef Ring* ring = self._rings[number]
        cdef uint64_t tail = ring.header.tail
        cdef uint64_t size = word_load(&ring.header.head) - tail
        cdef const char* data = ring.data + tail % ring.size
        cdef const void* end
        cdef long done
        if size == 0:
            return True
        if self._output < 0:
            return self._fail(EPIPE)
        if self._is_pipe:
            if not self._takes():
                return False
            if size > PIECE:
                end = memrchr(data, 10, PIECE)
                size = PIECE if end == NULL else <const char*> end - data + 1
        elif size > MOST:
            size = <const char*> memrchr(data, 10, MOST) - data + 1
        done = write(self._output, data, size)
        if done < 0:
            if errno == EINTR or errno == EAGAIN:
                return False
            return self._fail(errno)
        if self._error:
            self._well()
        ring.header.written += _lines(data, done)
        word_store(&ring.header.tail, tail + done)
        self._torn = number if done and data[done - 1] != 10 else -1
        return self._torn < 0

    cdef bint _takes(self) noexcept nogil:
        """Whether a pipe has room for a piece; waits a little for it."""
        cdef pollfd waited
        waited.fd = self._output
        waited.events = POLLOUT
        return poll(&waited, 1, 0 if self._stopping else FULL_PIPE) > 0

    cdef bint _fail(self, int error) noexcept nogil:
        if self._error != error:
            self._error = error
            with gil:
                self._tell_failure(error)
        return False

    cdef void _well(self) noexcept nogil:
        self._error = 0
        with gil:
            self._tell_end()

    cdef object _tell_failure(self, int error):
        log.error(
            "%s cannot be written (%s); it is tried each second, meanwhile lines wait in memory",
            self._name, os.strerror(error),
        )

    cdef object _tell_end(self):
        lost = sum(self._rings[i].header.lost for i in range(self._count))
        log.info("%s is written again; %d lines were dropped since the start for want of room", self._name, lost)

    cdef object _exchange(self):
        before = self._output
        self._change = False
        self._output = self._next_output
        self._is_pipe = self._output >= 0 and not os.path.isfile(f"/proc/self/fd/{self._output}")
        if before > 2:
            os.close(before)
