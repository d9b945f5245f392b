"""C interface of the balancers; the engine imports it through `_core`."""

from libc.stdint cimport int64_t, uint32_t

cdef enum:
    BALANCER_EMPTY = -1       # no endpoint: answer 503
    BALANCER_ZERO = -2        # all weights are 0: answer 500

cdef struct Balancer

# NULL without memory.
cdef Balancer* balancer_new(uint32_t count, const int64_t* weights) noexcept nogil
cdef void balancer_free(Balancer* balancer) noexcept nogil
# Index of an endpoint, or one of the two above.
cdef int balancer_pick(Balancer* balancer) noexcept nogil
# Replaces endpoints and weights and starts anew; -1 (and nothing changed) without memory.
cdef int balancer_update(Balancer* balancer, uint32_t count, const int64_t* weights) noexcept nogil

# The pure step of dynamic round robin: adjusts `weights` in place from failure ratings (0..1);
# returns 1 when weights are to be applied and the back-off timer to be started, -1: no memory.
cdef int drr_adjust(
    uint32_t count, const double* ratings, const int64_t* original, int64_t* weights,
) noexcept nogil
