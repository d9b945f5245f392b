# Opening and closing the counters in shared memory; the essay stands in region.pyx.

from libc.stdint cimport uint32_t

from fastproxy.counters.layout cimport Region

# `worker` is 0..1023, or 0xFFFFFFFF for a process that takes no connections (parent, controller).
# Opening as a worker gives back what an earlier process of that number still held.
# NULL when the descriptor is no region or memory is short.
cdef Region* region_open(int descriptor, uint32_t worker) noexcept nogil
cdef void region_close(Region* region) noexcept nogil
