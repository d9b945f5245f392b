"""Texts of one exchange that its line needs, kept from the head to the end. See notes.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.engine.http.head cimport Head

cdef enum:
    FIRST_ROOM = 2048  # bytes of a block, enough for most requests

cdef struct Note:
    uint32_t at
    uint32_t size

cdef struct NotedField:
    uint32_t name  # where in the data
    uint16_t name_size
    uint8_t section  # SECTION_*
    uint8_t mode
    uint32_t value
    uint32_t value_size

cdef enum:
    SECTION_REQUEST
    SECTION_ORIGIN
    SECTION_DOWNSTREAM
    MOST_FIELDS = 384

cdef struct Notes:
    Notes* next  # of those that are free
    uint64_t count  # RequestCount
    Note method
    Note target
    Note host
    Note forwarded  # X-Forwarded-For of a trusted peer
    Note referer
    Note agent
    Note authorization
    const char* protocol
    uint8_t has_host
    uint32_t fields
    uint32_t used
    uint32_t capacity
    char* data
    NotedField* list  # room for MOST_FIELDS; NULL: headers are not wanted

cdef Notes* notes_new(Notes** free_notes, bint with_fields) noexcept nogil
cdef void notes_free(Notes** free_notes, Notes* notes) noexcept nogil
cdef Note note(Notes* notes, const char* data, size_t size) noexcept nogil
cdef void note_field(
    Notes* notes, int section, int mode, const char* name, size_t name_size, const char* value, size_t value_size
) noexcept nogil
cdef void notes_drop_section(Notes* notes, int section) noexcept nogil
