"""C interface of the matcher and the balancers, for the engine."""

from libc.stdint cimport uint32_t

from fastproxy.balancing.round_robin cimport (
    BALANCER_EMPTY, BALANCER_ZERO, Balancer, balancer_free, balancer_new, balancer_pick,
    balancer_update, drr_adjust,
)
# 0 when the section is well formed; matching in a section that passed never reads outside it.
from fastproxy.tables.matcher.check cimport core_check

cdef enum:
    NO_ROUTE = 0xFFFFFFFF

cdef enum:
    MATCH_ADD_SLASH = 1
    MATCH_REMOVE_SLASH = 2

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
    const char* alias       # the end of the host's CNAME chain: exact hosts match it too
    size_t alias_size       # 0: there is none
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

cdef void core_match(
    const char* section, const MatchRequest* request, MatchResult* result,
) noexcept nogil
