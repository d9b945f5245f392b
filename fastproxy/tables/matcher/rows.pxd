"""Routes as C arrays: what `rows` hands to `build`."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy

cdef struct Text:
    const char* data
    size_t size


cdef struct Area:             # a growing array
    char* data
    size_t size               # in bytes
    size_t capacity


cdef struct Place:            # one literal path (or literal beginning) of a row
    Text text
    uint32_t kind
    uint32_t condition
    uint32_t condition_count


cdef struct Row:
    uint32_t entry            # its position in the entries
    uint32_t route
    uint32_t host             # first in `hosts`
    uint32_t host_count
    uint32_t place            # first in `places`
    uint32_t place_count


cdef struct Key:              # in the order in which they decide; smaller is better
    uint64_t priority
    uint64_t place            # host, then path
    uint64_t tie_break
    uint32_t row


cdef struct Table:
    Text name
    uint32_t name_offset      # in the text of the section
    uint32_t hash
    uint32_t kind
    uint32_t entry_point
    uint32_t count            # items
    uint32_t first
    uint32_t root


cdef inline void* more(Area* area, size_t size) except NULL:
    """Room for `size` further bytes at the end, counted as used."""
    cdef size_t capacity
    cdef char* data
    if area.size + size > area.capacity or area.data == NULL:
        capacity = max(2 * area.capacity, area.size + size, <size_t>1024)
        data = <char*>realloc(area.data, capacity)
        if data == NULL:
            raise MemoryError
        area.data = data
        area.capacity = capacity
    area.size += size
    return area.data + area.size - size


cdef inline void copy(void* to, Text text) noexcept nogil:
    if text.size:
        memcpy(to, text.data, text.size)


cdef class Rows:
    cdef Area rows
    cdef Area keys            # of the rows; after `sort` in the total order
    cdef Area hosts           # table numbers
    cdef Area places
    cdef Area tables
    cdef Area conditions      # from here on as in the section
    cdef Area alternatives
    cdef Area regexes
    cdef Area text
    cdef uint64_t* table_slots
    cdef uint32_t table_slot_count
    cdef list kept
    cdef dict regex_numbers
    cdef bint named_in_order
    cdef uint32_t entry_point  # of the row being read
    cdef bint whole           # of the row being read: some path matcher wants the whole path
    cdef size_t longest       # and its longest path
    cdef Text keep(self, str text)
    cdef uint32_t store(self, str text) except? 0xFFFFFFFF
    cdef uint32_t regex(self, str pattern) except? 0xFFFFFFFF
    cdef int alternative(self, uint32_t kind, str text, str value, str pattern) except -1
    cdef int condition(self, list alternatives) except -1
    cdef list path_alternatives(self, object matcher)
    cdef list conditions_of(self, object matcher)
    cdef bint read_conditions(self, list matchers) except -1
    cdef int add_host(self, Row* row, uint32_t kind, Text name) except -1
    cdef bint read_hosts(self, Row* row, object matcher) except -1
    cdef int place(
        self, Row* row, Text text, uint32_t kind, uint32_t first, uint32_t count,
    ) except -1
    cdef bint read_paths(self, Row* row, object matcher, uint32_t first) except -1
    cdef int read_alternative(
        self, Row* row, tuple alternative, uint32_t first, uint32_t count,
    ) except -1
    cdef bint read(self, Row* row, object matchers, object precedence) except -1
    cdef int add_key(self, uint64_t host_class, object precedence) except -1
    cdef int read_all(self, list entries) except -1
    cdef int sort(self, list entries) except -1
    cdef int more_slots(self) except -1
    cdef uint32_t table_of(self, uint32_t kind, uint32_t entry_point, Text name) except? 0xFFFFFFFF
