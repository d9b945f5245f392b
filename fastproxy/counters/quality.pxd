# Statistics of drr (3.13), per backend slot and index of the endpoint (below 1024). See
# quality.pyx. Every function is lock-free, makes no system call and takes
# the time (monotonic, nanoseconds, 0 < now_ns < 2**58) from its caller. `slot` is a number handed
# out by the publisher, below `slot_count(kind)`; a slot out of range is treated as "no limit".

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastproxy.counters.layout cimport Region

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
