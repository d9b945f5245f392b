"""Layout of the compiled matcher section, shared by its writer and its reader.

One block, little-endian, 8-aligned, of fixed records that name each other by number and text by
offset into the `text` area: it means the same at any address, so it can be mapped read-only.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    SECTION_VERSION = 1

cdef enum:  # how a host table is found; also the slot's kind, 0 being an empty slot
    HOST_EXACT = 1
    HOST_WILDCARD = 2
    HOST_NONE = 3

cdef enum:  # what must follow the text of a path
    PATH_PREFIX
    PATH_EXACT
    PATH_ELEMENTS          # nothing or `/`
    PATH_SLASH_FREE        # `Path:/p`
    PATH_SLASHED           # `Path:/p/`, stored without its last slash
    TEMPLATE_SLASH_FREE    # `Path` with a template: decided by the last byte of the request
    TEMPLATE_SLASHED
    PATH_KINDS

cdef enum:  # alternatives of a condition; the path kinds above come first
    PATH_REGEX = PATH_KINDS
    TEXT_HOST
    TEXT_HOST_WILDCARD
    HOST_REGEX
    TEXT_METHOD
    TEXT_HEADER
    HEADER_PRESENT
    HEADER_REGEX
    TEXT_QUERY
    QUERY_PRESENT
    QUERY_REGEX
    ALTERNATIVE_KINDS

cdef struct Header:
    uint64_t magic
    uint32_t version
    uint32_t size             # of the whole section
    uint32_t host_kinds       # bit 1 << kind for every kind of host table in use
    uint32_t slots
    uint32_t slot_count       # a power of two
    uint32_t nodes
    uint32_t node_count
    uint32_t candidates
    uint32_t candidate_count
    uint32_t conditions
    uint32_t condition_count
    uint32_t alternatives
    uint32_t alternative_count
    uint32_t regexes
    uint32_t regex_count
    uint32_t firsts           # first byte of every node's label, node_count of them
    uint32_t text
    uint32_t text_size
    uint32_t reserved[2]

cdef struct Slot:             # open addressing, linear probing
    uint32_t hash
    uint32_t kind
    uint32_t entry_point
    uint32_t name
    uint32_t name_size
    uint32_t root             # node

cdef enum:  # what `Node.held` means
    HOLDS_NOTHING
    HOLDS_ROUTE            # a route without conditions; its rank is `best`, its path kind `kind`
    HOLDS_CANDIDATES       # the number of the first of a list

cdef struct Node:             # children are neighbours, sorted by first byte, after their parent
    uint32_t label
    uint32_t label_size
    uint32_t first_child
    uint32_t held
    uint32_t best             # lowest rank in this node and below it
    unsigned short child_count
    unsigned char holds
    unsigned char kind

cdef struct Candidate:        # neighbours, sorted by rank
    uint32_t rank             # position in the total order; lower wins
    uint32_t route
    uint32_t condition        # the first of condition_count; all must hold
    unsigned short condition_count
    unsigned char kind        # a path kind
    unsigned char last        # of its list

cdef struct Condition:        # one of the alternatives must hold
    uint32_t alternative
    uint32_t alternative_count

cdef struct Alternative:
    uint32_t kind
    uint32_t text
    uint32_t text_size
    uint32_t value            # offset in the text area, or number of a regular expression
    uint32_t value_size

cdef struct Regex:
    uint32_t text
    uint32_t text_size


cdef inline uint64_t section_magic() noexcept nogil:
    cdef uint64_t magic = 0
    memcpy(&magic, b"FPMATCH1", 8)
    return magic


cdef inline uint64_t mixed(uint64_t value) noexcept nogil:
    value ^= value >> 32
    value *= <uint64_t>0xD6E8FEB86659FD93
    value ^= value >> 32
    return value


cdef inline uint32_t host_hash(
    uint32_t kind, uint32_t entry_point, const char* name, size_t size,
) noexcept nogil:
    """Eight bytes at a time: a host name is too short to deserve more ceremony."""
    cdef uint64_t state = mixed((<uint64_t>entry_point << 2) + kind + (<uint64_t>size << 34))
    cdef uint64_t chunk = 0
    while size >= 8:
        memcpy(&chunk, name, 8)
        state = mixed(state ^ chunk)
        name += 8
        size -= 8
    if size:
        chunk = 0
        memcpy(&chunk, name, size)
        state = mixed(state ^ chunk)
    return <uint32_t>(state ^ (state >> 29))


cdef inline bint same_bytes(const char* left, const char* right, size_t size) noexcept nogil:
    """Short texts: a loop the compiler keeps inline beats a call of memcmp."""
    cdef uint64_t a = 0, b = 0
    while size >= 8:
        memcpy(&a, left, 8)
        memcpy(&b, right, 8)
        if a != b:
            return False
        left += 8
        right += 8
        size -= 8
    while size:
        if left[0] != right[0]:
            return False
        left += 1
        right += 1
        size -= 1
    return True
