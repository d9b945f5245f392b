"""Matcher and balancers: pure algorithms, no input or output."""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free


cdef struct Balancer:
    uint32_t count
    uint32_t position


cdef void core_match(const char* section, const MatchRequest* request, MatchResult* result) noexcept nogil:
    result.route = NO_ROUTE
    result.flags = 0


cdef int core_check(const char* section, size_t size) noexcept nogil:
    return 0


cdef Balancer* balancer_new(uint32_t count, const int64_t* weights) noexcept nogil:
    cdef Balancer* balancer = <Balancer*>calloc(1, sizeof(Balancer))
    if balancer != NULL:
        balancer.count = count
    return balancer


cdef void balancer_free(Balancer* balancer) noexcept nogil:
    free(balancer)


cdef int balancer_pick(Balancer* balancer) noexcept nogil:
    if balancer.count == 0:
        return BALANCER_EMPTY
    balancer.position = (balancer.position + 1) % balancer.count
    return <int>balancer.position


cdef int balancer_update(Balancer* balancer, uint32_t count, const int64_t* weights) noexcept nogil:
    balancer.count = count
    balancer.position = 0
    return 0


cdef int drr_adjust(
    uint32_t count, const double* ratings, const int64_t* original, int64_t* weights,
) noexcept nogil:
    return 0
