# Circuit breaker (3.19). See breaker.pyx. Every function is lock-free, makes no system call and takes
# the time (monotonic, nanoseconds, 0 < now_ns < 2**58) from its caller. `slot` is a number handed
# out by the publisher, below `slot_count(kind)`; a slot out of range is treated as "no limit".

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastproxy.counters.layout cimport Region

cdef enum BreakerState:
    STANDBY = 0
    TRIPPED = 1
    RECOVERING = 2

# `program` is the postfix form of fastproxy/expression.py.
# Call breaker_record only for exchanges that breaker_admit let through (1).
cdef int breaker_admit(Region* region, uint32_t slot, int64_t now_ns) noexcept nogil
cdef void breaker_record(
    Region* region, uint32_t slot, int status, int64_t latency_ns,
    const char* program, size_t size, int64_t now_ns
) noexcept nogil
cdef BreakerState breaker_state(Region* region, uint32_t slot) noexcept nogil
