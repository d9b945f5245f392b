# The C interface of the counters in shared memory; the essay stands in _shared.pyx.
#
# Every function is lock-free, makes no system call and takes the time (monotonic, nanoseconds,
# 0 < now_ns < 2**58) from its caller. `slot` is a number handed out by the publisher, below
# `slot_count(kind)`; a slot out of range is treated as "no limit".

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef struct Region:
    unsigned char* base          # the mapping, the same in every process
    uint32_t worker              # whose in-flight counts we write; NO_WORKER for none
    uint32_t ticket_high         # tickets below this number have been used
    uint32_t ticket_free         # head of the list of free tickets, number + 1
    uint32_t* ticket_next        # private memory: the list of free tickets
    uint32_t* quality_seen       # private memory: the version of the weights last handed out

# `worker` is 0..1023, or 0xFFFFFFFF for a process that takes no connections (parent, controller).
# Opening as a worker gives back what an earlier process of that number still held.
# NULL when the descriptor is no region or memory is short.
cdef Region* region_open(int descriptor, uint32_t worker) noexcept nogil
cdef void region_close(Region* region) noexcept nogil
cdef void region_forget_worker(Region* region, uint32_t worker) noexcept nogil

# Maximum connections (features.md 3.15).
# 1: taken, give `ticket` back exactly once; 0: refused, the key already has `amount`;
# -1: no room to count it (more keys or requests than the table holds): let it through, `ticket`
# is 0. Releasing ticket 0 does nothing.
cdef int connections_take(
    Region* region, uint32_t slot, const char* key, size_t size, int64_t amount, uint64_t* ticket
) noexcept nogil
cdef void connections_release(Region* region, uint64_t ticket) noexcept nogil

# Rate limit (3.16). `token_ns_and_burst` holds `buckets` pairs (nanoseconds per token, burst).
# 0: granted; else the delay in nanoseconds, the largest over the buckets, nothing taken.
cdef int64_t rate_take(
    Region* region, uint32_t slot, const char* key, size_t size,
    const int64_t* token_ns_and_burst, uint32_t buckets, int64_t lifetime_s, int64_t now_ns
) noexcept nogil

# Circuit breaker (3.19). `program` is the postfix form of fastproxy/expression.py.
# Call breaker_record only for exchanges that breaker_admit let through (1).
cdef int breaker_admit(Region* region, uint32_t slot, int64_t now_ns) noexcept nogil
cdef void breaker_record(
    Region* region, uint32_t slot, int status, int64_t latency_ns,
    const char* program, size_t size, int64_t now_ns
) noexcept nogil

# Statistics of drr (3.13), per backend slot and index of the endpoint (below 1024).
# quality_reset: call whenever the endpoints are set (first time or changed), in every worker, with
# a fingerprint of the ordered list of URLs and weights: the first caller of a new fingerprint
# restores the original weights and clears the statistics, the others change nothing.
# quality_weights: rebalances if it is time, then returns 1 and fills `weights` when they differ
# from what this process was last told for this slot; 0 leaves `weights` untouched.
cdef void quality_reset(Region* region, uint32_t slot, uint64_t fingerprint) noexcept nogil
cdef void quality_record(
    Region* region, uint32_t slot, uint32_t endpoint, int status, int64_t now_ns
) noexcept nogil
cdef int quality_weights(
    Region* region, uint32_t slot, uint32_t count, const int64_t* original, int64_t* weights,
    int64_t now_ns
) noexcept nogil
