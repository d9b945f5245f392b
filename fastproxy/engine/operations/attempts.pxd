"""How many attempts `[retry]` allows: below the limits, which count as attempts too (limits)."""

from libc.stdint cimport uint32_t

from fastproxy.engine.stream.stream cimport ALL_ENDPOINTS, Stream

cdef enum:
    MOST_ATTEMPTS = 255

cdef inline bint another_attempt(Stream* stream) noexcept nogil:
    """Nothing was sent in the attempt that failed: does `[retry]` allow another?"""
    cdef uint32_t attempts
    if stream.route == NULL:
        return False
    attempts = stream.route.retry_attempts
    if attempts == ALL_ENDPOINTS:
        attempts = stream.backend.count if stream.backend != NULL else 1
    if attempts > MOST_ATTEMPTS:
        attempts = MOST_ATTEMPTS
    if stream.attempts + 1 >= <int> attempts:
        return False
    stream.attempts += 1
    stream.record.retries += 1
    stream.engine.counters.retries += 1
    return True
