"""Credentials which a Python filter has found right lately, and what it knows of them.

Idea: a client sends the same credentials with every request, and only the first time it is dear to
find out whether they are right. The filter leaves here what it found, by a mark of the text that was
right, and the operation in front of the filter does for the next request what the filter would do.

A mark is two keyed hashes of 128 bits with secrets of this process; the text is not kept. It is worth
something for one filter of one generation only, so whatever changes the users ends it. It may stand
in four places, chosen by the mark; when they are taken, it replaces one of the others, and costs that
one more check in Python.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from fastproxy.counters.layout cimport keyed_hash
from fastproxy.engine.loop.posix cimport ssize_t
from fastproxy.engine.stream.stream cimport Stream

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void* data, size_t size, unsigned int flags)


cdef class CredentialCache:
    def __cinit__(self):
        self.rows = <Credentials*> calloc(1, sizeof(Credentials))
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


cdef bint _is(const Credential* found, const Stream* stream, uint32_t slot, const uint64_t* marks) noexcept nogil:
    return (
        found != NULL and found.slot == slot and found.generation == stream.table.header.generation
        and memcmp(found.marks, marks, sizeof(found.marks)) == 0
    )


cdef Credential** _place(
    const Stream* stream, uint32_t slot, const char* text, size_t size, uint64_t* marks
) noexcept nogil:
    """Where a text stands, or may be put; NULL where nothing is remembered."""
    cdef Credentials* rows = <Credentials*> stream.engine.credentials
    cdef Credential** place
    cdef Credential** room
    cdef uint32_t i
    if rows == NULL:
        return NULL
    for i in range(KEYS):
        keyed_hash(rows.secrets + 2 * i, text, size, &marks[2 * i], &marks[2 * i + 1])
    # one user comes to many routes with the same credentials
    place = &rows.places[(marks[0] + slot) * WAYS & (PLACES - 1)]
    room = place + (marks[1] & (WAYS - 1))
    for i in range(WAYS):
        if place[i] == NULL or place[i].generation != stream.table.header.generation:
            room = place + i
        elif _is(place[i], stream, slot, marks):
            return place + i
    return room


cdef const char* credential_find(
    const Stream* stream, uint32_t slot, const char* text, size_t size, uint32_t* found_size
) noexcept nogil:
    """What filter `slot` of this generation has left about a text; NULL for nothing."""
    cdef uint64_t marks[4]
    cdef Credential** place = _place(stream, slot, text, size, marks)
    if place == NULL or not _is(place[0], stream, slot, marks):
        return NULL
    found_size[0] = place[0].size
    return <const char*> (place[0] + 1)


cdef char* credential_keep(
    const Stream* stream, uint32_t slot, const char* text, size_t size, size_t room
) noexcept nogil:
    """Make `room` bytes for what filter `slot` knows of a text; the caller fills all of them at once.

    NULL when there is no memory for it: then nothing is remembered.
    """
    cdef uint64_t marks[4]
    cdef Credential** place = _place(stream, slot, text, size, marks)
    cdef Credential* made
    if place == NULL:
        return NULL
    made = <Credential*> malloc(sizeof(Credential) + room)
    if made == NULL:
        return NULL
    memcpy(made.marks, marks, sizeof(marks))
    made.generation = stream.table.header.generation
    made.slot = slot
    made.size = <uint32_t> room
    free(place[0])
    place[0] = made
    return <char*> (made + 1)
