"""Output queues: what a socket did not take, waiting in order.

A queue is a list of chunks of at least 4 KiB. It is empty nearly always: bytes are copied here only
when a socket is full, and whoever feeds a queue stops reading its own side above the high-water
mark, so its size is bounded by that mark plus one read.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastproxy.engine.loop.posix cimport iovec

cdef enum:
    SMALLEST = 4096 - 32


cdef int queue_append(Queue* queue, const char* data, size_t size) noexcept nogil:
    """Copy bytes to the end; 0, or -1 without memory."""
    cdef Chunk* last = queue.last
    cdef size_t room, part
    if last != NULL:
        room = last.capacity - last.end
        part = size if size < room else room
        memcpy(chunk_data(last) + last.end, data, part)
        last.end += <uint32_t> part
        queue.size += part
        data += part
        size -= part
    if size == 0:
        return 0
    room = size if size > SMALLEST else SMALLEST
    last = <Chunk*> malloc(sizeof(Chunk) + room)
    if last == NULL:
        return -1
    last.next = NULL
    last.start = 0
    last.end = <uint32_t> size
    last.capacity = <uint32_t> room
    memcpy(chunk_data(last), data, size)
    if queue.last == NULL:
        queue.first = last
    else:
        queue.last.next = last
    queue.last = last
    queue.size += size
    return 0


cdef int queue_append_rest(Queue* queue, const iovec* vector, int count, size_t skip) noexcept nogil:
    """Append a vector without its first `skip` bytes."""
    cdef int i
    for i in range(count):
        if skip >= vector[i].iov_len:
            skip -= vector[i].iov_len
            continue
        if queue_append(queue, <const char*> vector[i].iov_base + skip, vector[i].iov_len - skip) < 0:
            return -1
        skip = 0
    return 0


cdef int queue_vector(const Queue* queue, iovec* vector, int most) noexcept nogil:
    """Describe the first chunks for `writev`; returns how many entries were filled."""
    cdef int count = 0
    cdef Chunk* chunk = queue.first
    while chunk != NULL and count < most:
        vector[count].iov_base = chunk_data(chunk) + chunk.start
        vector[count].iov_len = chunk.end - chunk.start
        count += 1
        chunk = chunk.next
    return count


cdef void queue_consume(Queue* queue, size_t size) noexcept nogil:
    cdef Chunk* chunk
    cdef size_t here
    queue.size -= size
    while size:
        chunk = queue.first
        here = chunk.end - chunk.start
        if size < here:
            chunk.start += <uint32_t> size
            return
        size -= here
        queue.first = chunk.next
        if queue.first == NULL:
            queue.last = NULL
        free(chunk)


cdef void queue_clear(Queue* queue) noexcept nogil:
    cdef Chunk* chunk = queue.first
    cdef Chunk* following
    while chunk != NULL:
        following = chunk.next
        free(chunk)
        chunk = following
    queue.first = NULL
    queue.last = NULL
    queue.size = 0
