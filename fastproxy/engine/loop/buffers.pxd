"""Output queues: what a socket did not take, waiting in order."""

from libc.stdint cimport uint32_t

from fastproxy.engine.loop.posix cimport iovec, ssize_t

cdef struct Chunk:
    Chunk* next
    uint32_t start
    uint32_t end
    uint32_t capacity

cdef struct Queue:
    Chunk* first
    Chunk* last
    size_t size

cdef inline char* chunk_data(Chunk* chunk) noexcept nogil:
    return <char*> chunk + sizeof(Chunk)

cdef int queue_append(Queue* queue, const char* data, size_t size) noexcept nogil
cdef int queue_append_rest(Queue* queue, const iovec* vector, int count, size_t skip) noexcept nogil
cdef int queue_vector(const Queue* queue, iovec* vector, int most) noexcept nogil
cdef void queue_consume(Queue* queue, size_t size) noexcept nogil
cdef void queue_clear(Queue* queue) noexcept nogil
