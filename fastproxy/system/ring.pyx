# A ring of bytes in shared memory: one process produces, another consumes, nobody waits.
#
# The producer writes behind `head` and then moves `head`, so a piece is there whole or not at all: a
# producer that is killed leaves nothing half, and what it had published is still consumed. Its successor,
# or the consumer's, goes on with the same words. Positions count bytes for ever; the place is their rest.
#
# The data is mapped twice, one behind the other, so a piece that lies across the end can be written and
# read like any other.
#
# A consumer that has nothing to do says so in `sleeping` and waits on an eventfd; the producer writes to that
# only then. After waking the consumer looks for some milliseconds before it sleeps again, so under load the
# producer makes no system call.

import os

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from fastproxy.counters.layout cimport PAGE, word_load, word_store


cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* address, size_t size, int protection, int flags, int descriptor, long offset)
    int munmap(void* address, size_t size)
    int PROT_NONE
    int PROT_READ
    int PROT_WRITE
    int MAP_SHARED
    int MAP_PRIVATE
    int MAP_ANONYMOUS
    int MAP_FIXED
    void* MAP_FAILED


cdef extern from "<unistd.h>" nogil:
    long write(int descriptor, const void* data, size_t size)
    long lseek(int descriptor, long offset, int whence)
    int SEEK_END


cdef Ring* ring_open(int descriptor, int wake) noexcept nogil:
    """Map a ring; NULL when it cannot be."""
    cdef long whole = lseek(descriptor, 0, SEEK_END)
    cdef long size = whole - PAGE
    cdef char* base
    cdef Ring* ring
    if size < PAGE or size % PAGE:
        return NULL
    base = <char*> mmap(NULL, PAGE + 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if base == MAP_FAILED:
        return NULL
    ring = <Ring*> calloc(1, sizeof(Ring))
    if (
        ring == NULL
        or mmap(base, whole, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, 0) == MAP_FAILED
        or mmap(
            base + whole, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, PAGE
        ) == MAP_FAILED
    ):
        munmap(base, PAGE + 2 * size)
        free(ring)
        return NULL
    ring.header = <RingHeader*> base
    ring.data = base + PAGE
    ring.size = size
    ring.wake = wake
    return ring


cdef void ring_close(Ring* ring) noexcept nogil:
    if ring != NULL:
        munmap(ring.header, PAGE + 2 * ring.size)
        free(ring)


cdef void ring_wake(Ring* ring) noexcept nogil:
    cdef uint64_t one = 1
    word_store(&ring.header.sleeping, 0)
    write(ring.wake, &one, sizeof(one))


# Python's view.

def create_ring(size):
    size = max(1, -(-size // PAGE)) * PAGE
    descriptor = os.memfd_create("fastproxy-ring", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, PAGE + size)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


cdef class SharedRing:
    cdef Ring* _ring

    def __init__(self, int descriptor, int wake=-1):
        ring_close(self._ring)
        self._ring = ring_open(descriptor, wake)
        if self._ring == NULL:
            raise OSError("cannot map a ring")

    def __dealloc__(self):
        ring_close(self._ring)

    def put(self, bytes piece):
        cdef char* place = ring_room(self._ring, len(piece))
        cdef Py_ssize_t i
        if place == NULL:
            self._ring.header.lost += 1
            return False
        for i in range(len(piece)):
            place[i] = piece[i]
        ring_publish(self._ring, len(piece))
        return True

    def take(self):
        cdef uint64_t tail = self._ring.header.tail
        cdef uint64_t head = word_load(&self._ring.header.head)
        cdef bytes found = self._ring.data[tail % self._ring.size : tail % self._ring.size + (head - tail)]
        word_store(&self._ring.header.tail, head)
        return found

    @property
    def counts(self):
        cdef RingHeader* header = self._ring.header
        return {
            "lines": header.lines, "lost": header.lost, "cut": header.cut, "written": header.written,
            "waiting": header.head - header.tail,
        }
