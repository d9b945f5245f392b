# A line is written when its exchange ends, but the head it speaks of is gone by then. So what the line
# needs is copied when the head is there, and only that: blocks are used again, so nothing is allocated for
# most requests.

from libc.stdint cimport uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy

cdef enum:
    KEPT_ROOM = 16384  # bytes; a larger block is not kept
    MOST_ROOM = 1 << 20


cdef Notes* notes_new(Notes** free_notes, bint with_fields) noexcept nogil:
    """An empty one; NULL when there is no memory."""
    cdef Notes* notes = free_notes[0]
    if notes != NULL:
        free_notes[0] = notes.next
    else:
        notes = <Notes*> calloc(1, sizeof(Notes))
        if notes == NULL:
            return NULL
        notes.data = <char*> malloc(FIRST_ROOM)
        notes.list = <NotedField*> malloc(MOST_FIELDS * sizeof(NotedField)) if with_fields else NULL
        notes.capacity = FIRST_ROOM
        if notes.data == NULL or (with_fields and notes.list == NULL):
            free(notes.data)
            free(notes.list)
            free(notes)
            return NULL
    notes.used = notes.fields = 0
    notes.count = 0
    notes.has_host = 0
    notes.method = notes.target = notes.host = notes.forwarded = Note(0, 0)
    notes.referer = notes.agent = notes.authorization = Note(0, 0)
    return notes


cdef void notes_free(Notes** free_notes, Notes* notes) noexcept nogil:
    if notes.capacity > KEPT_ROOM:
        free(notes.data)
        free(notes.list)
        free(notes)
        return
    notes.next = free_notes[0]
    free_notes[0] = notes


cdef Note note(Notes* notes, const char* data, size_t size) noexcept nogil:
    """Keep a text; an empty one when there is no room."""
    cdef Note kept = Note(0, 0)
    cdef uint32_t capacity = notes.capacity
    cdef char* larger
    if notes.used + size > capacity:
        while notes.used + size > capacity and capacity < MOST_ROOM:
            capacity *= 2
        if notes.used + size > capacity:
            return kept
        larger = <char*> realloc(notes.data, capacity)
        if larger == NULL:
            return kept
        notes.data = larger
        notes.capacity = capacity
    memcpy(notes.data + notes.used, data, size)
    kept.at = notes.used
    kept.size = <uint32_t> size
    notes.used += <uint32_t> size
    return kept


cdef void note_field(
    Notes* notes, int section, int mode, const char* name, size_t name_size, const char* value, size_t value_size
) noexcept nogil:
    cdef NotedField* field
    if notes.fields == MOST_FIELDS or name_size > 0xFFFF:
        return
    field = &notes.list[notes.fields]
    field.section = section
    field.mode = mode
    field.name = note(notes, name, name_size).at
    field.name_size = <uint16_t> name_size
    field.value = note(notes, value, value_size).at
    field.value_size = <uint32_t> value_size
    notes.fields += 1


cdef void notes_drop_section(Notes* notes, int section) noexcept nogil:
    """What was kept of an answer that did not reach the client."""
    cdef uint32_t i, left = 0
    for i in range(notes.fields):
        if notes.list[i].section != section:
            notes.list[left] = notes.list[i]
            left += 1
    notes.fields = left
