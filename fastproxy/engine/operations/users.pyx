"""Basic authentication of users whose password was right lately (`features.md` 3.21).

The text that is remembered (`credentials`) is the value of Authorization, with it the user's name.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from fastproxy.engine.http.fields cimport Field
from fastproxy.engine.http.head cimport (
    KIND_AUTHORIZATION, Head, head_add, head_find_kind, head_remove, scratch_keep,
)
from fastproxy.engine.operations.credentials cimport credential_find, credential_keep
from fastproxy.engine.operations.payload cimport Payload, Text, blob, u32
from fastproxy.engine.stream.replies cimport STEP_GO_ON, STEP_OVER, plain_reply
from fastproxy.engine.stream.stream cimport Stream


cdef int remembered_user(Stream* stream, Head* head, Payload* payload) noexcept nogil:
    """The operation: u32 filter slot, u32 whether Authorization is removed, blob header field."""
    cdef uint32_t slot = u32(payload)
    cdef uint32_t remove = u32(payload)
    cdef Text name = blob(payload)
    cdef Field* field = head_find_kind(head, KIND_AUTHORIZATION)
    cdef const char* user
    cdef uint32_t size
    if field == NULL:
        return STEP_GO_ON
    user = credential_find(stream, slot, field.value, field.value_size, &size)
    return STEP_GO_ON if user == NULL else admit_user(stream, head, remove, name, user, size)


cdef int admit_user(
    Stream* stream, Head* head, bint remove, Text name, const char* user, size_t size
) noexcept nogil:
    """What a filter does with a request it admits, and go on behind it."""
    cdef char* kept
    stream.record.authenticated = 1
    if remove:
        head_remove(head, "Authorization", 13)
    if name.size:
        kept = scratch_keep(stream.engine.scratch, user, size)
        head_remove(head, name.data, name.size)
        if kept == NULL or head_add(head, name.data, name.size, kept, size) < 0:
            return plain_reply(stream.engine, 500, "Internal Server Error")
    return STEP_OVER


cdef void remember_user(
    Stream* stream, const Head* head, uint32_t slot, const char* name, size_t size
) noexcept nogil:
    """The filter has admitted this request, whose Authorization is still there."""
    cdef Field* field = head_find_kind(head, KIND_AUTHORIZATION)
    cdef char* kept = NULL
    stream.record.authenticated = 1
    if field != NULL:
        kept = credential_keep(stream, slot, field.value, field.value_size, size)
    if kept != NULL:
        memcpy(kept, name, size)
