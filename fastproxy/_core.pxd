"""C interface of the matcher and the balancers, for the engine."""

from libc.stdint cimport int64_t, uint32_t

cdef enum:
    NO_ROUTE = 0xFFFFFFFF

cdef enum:
    MATCH_ADD_SLASH = 1
    MATCH_REMOVE_SLASH = 2

cdef enum:
    BALANCER_EMPTY = -1
    BALANCER_ZERO = -2

# Calls the engine back for the index-th value of the header of that name (case-insensitive);
# returns 0 when there is none.
ctypedef int (*HeaderValue)(
    void* context, const char* name, size_t name_size, uint32_t index,
    const char** value, size_t* value_size,
) noexcept nogil

# Does regular expression number `regex` (index into section_regexes) match somewhere in the
# subject? Anchoring is part of the pattern text.
ctypedef int (*RegexMatches)(
    void* context, uint32_t regex, const char* subject, size_t subject_size,
) noexcept nogil

cdef struct MatchRequest:
    uint32_t entry_point
    const char* host        # lower-case, without port; may be empty
    size_t host_size
    const char* path        # normalised, still percent-encoded
    size_t path_size
    const char* query       # without `?`; NULL when there is none
    size_t query_size
    const char* method
    size_t method_size
    void* context           # handed to the two functions
    HeaderValue header      # NULL: the request has no headers
    RegexMatches regex      # NULL: no regular expression matches

cdef struct MatchResult:
    uint32_t route          # index given at build, NO_ROUTE when nothing matches
    uint32_t flags          # MATCH_ADD_SLASH, MATCH_REMOVE_SLASH: answer 301 to that form instead

cdef void core_match(const char* section, const MatchRequest* request, MatchResult* result) noexcept nogil
# 0 when the section is well formed; matching in a section that passed never reads outside it.
cdef int core_check(const char* section, size_t size) noexcept nogil

cdef struct Balancer

cdef Balancer* balancer_new(uint32_t count, const int64_t* weights) noexcept nogil  # NULL: no memory
cdef void balancer_free(Balancer* balancer) noexcept nogil
# Index of an endpoint, BALANCER_EMPTY (answer 503) or BALANCER_ZERO (answer 500).
cdef int balancer_pick(Balancer* balancer) noexcept nogil
# Replaces endpoints and weights and starts anew; -1 (and nothing changed) without memory.
cdef int balancer_update(Balancer* balancer, uint32_t count, const int64_t* weights) noexcept nogil

# The pure step of dynamic round robin: adjusts `weights` in place from failure ratings (0..1);
# returns 1 when weights are to be applied and the back-off timer to be started, -1: no memory.
cdef int drr_adjust(
    uint32_t count, const double* ratings, const int64_t* original, int64_t* weights,
) noexcept nogil
