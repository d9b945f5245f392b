"""What became of attempts that another one followed, for whoever reads the record of an exchange."""

from libc.stdint cimport uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastproxy.engine.stream.record cimport Attempt
from fastproxy.engine.stream.stream cimport Pool, Stream


cdef void tried(Stream* stream, uint32_t flags, int status) noexcept nogil:
    """The attempt in work is over, and another one follows: `flags` say why, or `status` was answered."""
    cdef const Pool* pool = stream.pool
    cdef Attempt* attempt
    if stream.engine.observe == NULL or pool == NULL or stream.record.first_byte == 0:
        return
    attempt = <Attempt*> malloc(sizeof(Attempt))
    if attempt == NULL:
        return
    attempt.previous = stream.record.attempts
    attempt.duration = stream.engine.reactor.now_ns - stream.record.chosen
    attempt.flags = flags
    attempt.status = <uint16_t> status
    attempt.url_size = <uint16_t> min(<size_t> pool.url_size, sizeof(attempt.url))
    memcpy(attempt.url, pool.url, attempt.url_size)
    stream.record.attempts = attempt


cdef void forget_tried(Stream* stream) noexcept nogil:
    cdef Attempt* attempt = stream.record.attempts
    cdef Attempt* previous
    stream.record.attempts = NULL
    while attempt != NULL:
        previous = attempt.previous
        free(attempt)
        attempt = previous
