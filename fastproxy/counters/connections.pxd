# Maximum connections (features.md 3.15). See connections.pyx. Every function is lock-free, makes no system call and takes
# the time (monotonic, nanoseconds, 0 < now_ns < 2**58) from its caller. `slot` is a number handed
# out by the publisher, below `slot_count(kind)`; a slot out of range is treated as "no limit".

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastproxy.counters.layout cimport Region

# 1: taken, give `ticket` back exactly once; 0: refused, the key already has `amount`;
# -1: no room to count it (more keys or requests than the table holds): let it through, `ticket`
# is 0. Releasing ticket 0 does nothing.
cdef int connections_take(
    Region* region, uint32_t slot, const char* key, size_t size, int64_t amount, uint64_t* ticket
) noexcept nogil
cdef void connections_release(Region* region, uint64_t ticket) noexcept nogil
cdef void region_forget_worker(Region* region, uint32_t worker) noexcept nogil
