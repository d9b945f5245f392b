"""A ring of bytes in shared memory with one producer and one consumer. See ring.pyx."""

from libc.stdint cimport uint64_t

from fastproxy.counters.layout cimport word_load, word_store

cdef struct RingHeader:
    # Each side's words on a cache line of its own.
    uint64_t head  # bytes ever produced
    uint64_t lines  # pieces ever produced
    uint64_t lost  # pieces for which there was no room
    uint64_t cut  # pieces that were longer than allowed
    uint64_t spare[4]
    uint64_t tail  # bytes ever consumed
    uint64_t written  # pieces the consumer has passed on
    uint64_t idle[6]
    uint64_t sleeping  # the consumer waits on the eventfd

cdef struct Ring:
    RingHeader* header
    char* data  # mapped twice, one behind the other: what lies across the end is in one piece
    uint64_t size  # a multiple of the page size
    int wake  # eventfd of the consumer

cdef Ring* ring_open(int descriptor, int wake) noexcept nogil
cdef void ring_close(Ring* ring) noexcept nogil
cdef void ring_wake(Ring* ring) noexcept nogil

cdef inline char* ring_room(Ring* ring, uint64_t size) noexcept nogil:
    """Where the producer may write `size` bytes, which nobody sees before `ring_publish`; NULL: no room."""
    if ring.header.head + size - word_load(&ring.header.tail) > ring.size:
        return NULL
    return ring.data + ring.header.head % ring.size

cdef inline void ring_publish(Ring* ring, uint64_t size) noexcept nogil:
    """The consumer may have what stands there now."""
    ring.header.lines += 1
    word_store(&ring.header.head, ring.header.head + size)
    if word_load(&ring.header.sleeping):
        ring_wake(ring)
