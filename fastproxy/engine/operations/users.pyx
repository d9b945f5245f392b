"""Basic authentication of users whose password was right lately (`features.md` 3.21).

Idea: a client sends its password with every request, and only the first one has to be hashed. What
the Python filter has found right is kept here, by a mark of the header's value, and the operation in
front of the filter does for the next request what the filter would do, and leaves it out.

A mark is two keyed hashes of 128 bits with secrets of this process; passwords are not kept. It is
worth something for one filter of one generation only, so whatever changes the users ends it. It may
stand in four places, chosen by the mark; when they are taken, it replaces one of the others, and
costs that one more check in Python.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from fastproxy.counters.layout cimport keyed_hash
from fastproxy.engine.http.head cimport (
    KIND_AUTHORIZATION, Head, head_add, head_find_kind, head_remove, scratch_keep,
)
from fastproxy.engine.operations.payload cimport Payload, Text, blob, u32
from fastproxy.engine.loop.posix cimport ssize_t
from fastproxy.engine.stream.replies cimport STEP_GO_ON, STEP_OVER, plain_reply
from fastproxy.engine.stream.stream cimport Stream
from fastproxy.engine.http.h1_parser cimport Field

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void* data, size_t size, unsigned int flags)


cdef class AdmissionTable:
    def __cinit__(self):
        self.rows = <Admissions*> calloc(1, sizeof(Admissions))
        if self.rows == NULL:
            raise MemoryError
        if getrandom(self.rows.secrets, sizeof(self.rows.secrets), 0) != sizeof(self.rows.secrets):
            raise OSError("the kernel gives no random bytes")

    def __dealloc__(self):
        cdef uint32_t i
        if self.rows != NULL:
            for i in range(PLACES):
                free(self.rows.places[i])
            free(self.rows)


cdef Admitted** _place(
    const Stream* stream, const Head* head, uint32_t slot, uint64_t* marks
) noexcept nogil:
    """Where the request's credentials stand, or may be put; NULL when it has none."""
    cdef Admissions* rows = <Admissions*> stream.engine.admissions
    cdef Field* field = head_find_kind(head, KIND_AUTHORIZATION)
    cdef Admitted** place
    cdef Admitted** room
    cdef uint32_t i
    if rows == NULL or field == NULL:
        return NULL
    for i in range(KEYS):
        keyed_hash(
            rows.secrets + 2 * i, field.value, field.value_size, &marks[2 * i], &marks[2 * i + 1]
        )
    # one user comes to many routes with the same credentials
    place = &rows.places[(marks[0] + slot) * WAYS & (PLACES - 1)]
    room = place + (marks[1] & (WAYS - 1))
    for i in range(WAYS):
        if place[i] == NULL or place[i].generation != stream.table.header.generation:
            room = place + i
        elif place[i].slot == slot and memcmp(place[i].marks, marks, sizeof(place[i].marks)) == 0:
            return place + i
    return room


cdef int remembered_user(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """The operation: u32 filter slot, u32 whether Authorization is removed, blob header field."""
    cdef uint32_t slot = u32(payload)
    cdef uint32_t remove = u32(payload)
    cdef Text name = blob(payload)
    cdef uint64_t marks[4]
    cdef Admitted** place = _place(stream, head, slot, marks)
    cdef const Admitted* found = place[0] if place != NULL else NULL
    if (
        found == NULL or found.slot != slot
        or found.generation != stream.table.header.generation
        or memcmp(found.marks, marks, sizeof(marks)) != 0
    ):
        return STEP_GO_ON
    return admit_user(stream, head, remove, name, <const char*> (found + 1), found.name_size)


cdef int admit_user(
    Stream* stream, Head* head, bint remove, Text name, const char* user, size_t size
) noexcept nogil:
    """What a filter does with a request it admits (FIX 30), and go on behind it."""
    cdef char* kept
    if remove:
        head_remove(head, "Authorization", 13)
    if name.size:
        kept = scratch_keep(stream.engine.scratch, user, size)
        head_remove(head, name.data, name.size)
        if kept == NULL or head_add(head, name.data, name.size, kept, size) < 0:
            return plain_reply(stream.engine, 500, "Internal Server Error")
    return STEP_OVER


cdef int remember_user(
    Stream* stream, const Head* head, uint32_t slot, const char* name, size_t size
) noexcept nogil:
    """The filter has admitted this request, whose Authorization is still there."""
    cdef uint64_t marks[4]
    cdef Admitted** place = _place(stream, head, slot, marks)
    cdef Admitted* made
    if place == NULL:
        return 0
    made = <Admitted*> malloc(sizeof(Admitted) + size)
    if made == NULL:
        return -1
    memcpy(made.marks, marks, sizeof(marks))
    made.generation = stream.table.header.generation
    made.slot = slot
    made.name_size = <uint32_t> size
    memcpy(made + 1, name, size)
    free(place[0])
    place[0] = made
    return 0
