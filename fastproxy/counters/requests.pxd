"""What one worker has counted of requests, for the metrics. See requests.pyx."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    MOST_BUCKETS = 24
    MOST_SERIES = 32768
    MOST_OWNERS = 8192
    OWNER_TEXT = 112
    INDEX = 65536  # places of the hash index over the series
    CODE_OPEN = 0  # the code of series which only count what is open

cdef enum OwnerKind:
    OWNER_ENTRY_POINT = 1
    OWNER_BACKEND

cdef struct Owner:
    uint64_t hash
    uint32_t kind
    uint32_t size
    char text[OWNER_TEXT]

cdef struct Series:
    uint64_t owner  # hash of its name
    uint64_t labels  # code, method << 16, protocol << 24
    uint64_t nanoseconds
    uint64_t retries
    int64_t open
    uint64_t received
    uint64_t sent
    uint64_t counts[MOST_BUCKETS + 1]  # not cumulative; the last one: longer than all

cdef struct RequestsHeader:
    uint64_t series  # in use; stored when the series is complete
    uint64_t owners
    uint64_t overflow  # requests for which there was no room
    uint64_t spare[5]

cdef struct Requests:
    RequestsHeader* header
    uint32_t* index
    Owner* owners
    Series* series
    uint32_t buckets
    int64_t bounds[MOST_BUCKETS]  # nanoseconds

cdef Requests* requests_open(int descriptor) noexcept nogil
cdef void requests_close(Requests* requests) noexcept nogil
cdef Series* requests_find(
    Requests* requests, int kind, const char* name, size_t size, uint32_t code, uint32_t method, uint32_t protocol
) noexcept nogil
