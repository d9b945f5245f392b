"""Where the CNAME chains of hosts end, as far as it was looked up lately (`hostResolver`).

Idea: clients choose host names, so this memory has a fixed size: 4,096 names, 2 MB at most. A name has
four places. A new one takes a free place, else that of an outdated name, else that of a name
without alias, else that which becomes outdated first: a flood of invented names, which have no
alias, does not push out those that have one.
"""

import os

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy


cdef bint may_have_alias(const char* host, size_t size) noexcept nogil:
    """Is this a name, and no address? Addresses are digits and dots, or hold a colon."""
    cdef bint letter = False
    cdef size_t i
    if size == 0 or size > ALIAS_LONGEST:
        return False
    for i in range(size):
        if host[i] == c':':
            return False
        letter |= not (host[i] == c'.' or c'0' <= host[i] <= c'9')
    return letter


cdef uint32_t _hash(const AliasTable* table, const char* host, size_t size) noexcept nogil:
    cdef uint32_t hash = table.seed
    cdef size_t i
    for i in range(size):
        hash = (hash ^ <uint8_t> host[i]) * 16777619
    return hash ^ (hash >> 15)


cdef bint aliases_find(
    const AliasTable* table, const char* host, size_t size, int64_t now_ns, const char** alias, size_t* alias_size
) noexcept nogil:
    """Is it known where the chain of this host ends? `alias` is valid until the next `put`."""
    cdef uint32_t hash = _hash(table, host, size)
    cdef const AliasRow* row = &table.rows[(hash % ALIAS_SETS) * ALIAS_WAYS]
    cdef int _i
    for _i in range(ALIAS_WAYS):
        if row.hash == hash and row.host_size == size and row.until_ns > now_ns and memcmp(row.text, host, size) == 0:
            alias[0] = row.text + size
            alias_size[0] = row.alias_size
            return True
        row += 1
    return False


cdef int64_t _worth(const AliasRow* row, int64_t now_ns) noexcept nogil:
    """The place of least worth is taken next."""
    if row.host_size == 0 or row.until_ns <= now_ns:
        return -1
    return row.until_ns if row.alias_size else 0


cdef class Aliases:
    """Owns the memory; times are nanoseconds of the reactor's clock."""

    def __cinit__(self):
        self.table = <AliasTable*> calloc(1, sizeof(AliasTable))
        if self.table == NULL:
            raise MemoryError
        self.table.seed = int.from_bytes(os.urandom(4), "little")

    def __dealloc__(self):
        cdef int i
        if self.table != NULL:
            for i in range(ALIAS_SETS * ALIAS_WAYS):
                free(self.table.rows[i].text)
            free(self.table)

    def put(self, bytes host, bytes alias, int64_t now_ns, int64_t until_ns):
        """Remember where the chain of a host ends; an empty alias: where it begins."""
        cdef const char* host_text = host
        cdef const char* alias_text = alias
        cdef size_t size = len(host), alias_size = len(alias)
        cdef uint32_t hash = _hash(self.table, host_text, size)
        cdef AliasRow* row = &self.table.rows[(hash % ALIAS_SETS) * ALIAS_WAYS]
        cdef AliasRow* chosen = row
        cdef char* text
        cdef int _i
        if size == 0 or size > ALIAS_LONGEST or alias_size > ALIAS_LONGEST:
            return
        for _i in range(ALIAS_WAYS):
            if row.hash == hash and row.host_size == size and memcmp(row.text, host_text, size) == 0:
                chosen = row
                break
            if _worth(row, now_ns) < _worth(chosen, now_ns):
                chosen = row
            row += 1
        text = <char*> malloc(size + alias_size)
        if text == NULL:
            raise MemoryError
        memcpy(text, host_text, size)
        memcpy(text + size, alias_text, alias_size)
        free(chosen.text)
        chosen.text = text
        chosen.hash = hash
        chosen.host_size = <uint8_t> size
        chosen.alias_size = <uint8_t> alias_size
        chosen.until_ns = until_ns

    def find(self, bytes host, int64_t now_ns):
        """The alias, empty where there is none; None when it is not known (any more)."""
        cdef const char* alias = NULL
        cdef size_t size = 0
        if not aliases_find(self.table, host, len(host), now_ns, &alias, &size):
            return None
        return alias[:size]


def is_name(bytes host):
    """Whether a lookup makes sense: an address has no CNAME."""
    return may_have_alias(host, len(host))
