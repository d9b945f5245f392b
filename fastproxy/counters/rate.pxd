# Rate limit (3.16). See rate.pyx. Every function is lock-free, makes no system call and takes
# the time (monotonic, nanoseconds, 0 < now_ns < 2**58) from its caller. `slot` is a number handed
# out by the publisher, below `slot_count(kind)`; a slot out of range is treated as "no limit".

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastproxy.counters.layout cimport Region

# `token_ns_and_burst` holds `buckets` pairs (nanoseconds per token, burst).
# 0: granted; else the delay in nanoseconds, the largest over the buckets, nothing taken.
cdef int64_t rate_take(
    Region* region, uint32_t slot, const char* key, size_t size,
    const int64_t* token_ns_and_burst, uint32_t buckets, int64_t lifetime_s, int64_t now_ns
) noexcept nogil
