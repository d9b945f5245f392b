"""Where the CNAME chains of hosts end, as far as it was looked up lately. See cname_chains.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef enum:
    ALIAS_SETS = 1024
    ALIAS_WAYS = 4
    ALIAS_LONGEST = 255  # bytes of a name

cdef struct AliasRow:
    int64_t until_ns
    uint32_t hash
    uint8_t host_size  # 0: the row is free
    uint8_t alias_size  # 0: the chain ends where it begins
    char* text  # host, then alias

cdef struct AliasTable:
    uint32_t seed
    AliasRow rows[ALIAS_SETS * ALIAS_WAYS]

cdef class Aliases:
    cdef AliasTable* table

cdef bint may_have_alias(const char* host, size_t size) noexcept nogil
cdef bint aliases_find(
    const AliasTable* table, const char* host, size_t size, int64_t now_ns, const char** alias, size_t* alias_size
) noexcept nogil
