"""A head that outlives the read buffer it arrived in.

A canonical head points into the window it was read into, into scratch memory, and into the table
block. When an exchange has to wait for Python, the first two are copied and every pointer into them
is moved; the table block is kept alive by the stream.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from fastproxy.engine.http.head cimport Head, Scratch
from fastproxy.engine.http.fields cimport Field, window_copy, window_free


cdef const char* _move(
    SavedHead* saved, const char* data, size_t size, const char* old, size_t old_size,
    const char* scratch, size_t scratch_size
) noexcept nogil:
    """Where these bytes stand in the copy."""
    cdef char* kept
    if old <= data <= old + old_size:
        return saved.window.data + (data - old)
    if scratch <= data < scratch + scratch_size:
        if size > saved.arena_size - saved.arena_used:
            return data
        kept = saved.arena + saved.arena_used
        memcpy(kept, data, size)
        saved.arena_used += <uint32_t> size
        return kept
    return data


cdef size_t _within(const char* data, size_t size, const char* scratch, size_t scratch_size) noexcept nogil:
    return size if scratch <= data < scratch + scratch_size else 0


cdef SavedHead* head_save(const Head* head, const Scratch* memory, const char* body, size_t body_size) noexcept nogil:
    """Copy a head out of the shared buffers; NULL without memory."""
    cdef const char* scratch = <const char*> memory
    cdef size_t scratch_size = sizeof(Scratch)
    cdef SavedHead* saved = <SavedHead*> calloc(1, sizeof(SavedHead))
    cdef const char* old = head.window.data
    cdef size_t old_size = head.window.used, needed
    cdef Field* field
    cdef Head* copy
    cdef uint32_t i
    if saved == NULL:
        return NULL
    saved.window = window_copy(head.window, head.window.used + 16)
    needed = (
        _within(head.path, head.path_size, scratch, scratch_size)
        + (_within(head.sent, head.sent_size, scratch, scratch_size) if head.sent != NULL else 0)
        + _within(head.name, head.name_size, scratch, scratch_size)
        + _within(head.host, head.host_size, scratch, scratch_size)
    )
    for i in range(head.count):
        needed += _within(head.fields[i].name, head.fields[i].name_size, scratch, scratch_size)
        needed += _within(head.fields[i].value, head.fields[i].value_size, scratch, scratch_size)
    saved.arena = <char*> malloc(needed + 1)
    saved.arena_size = <uint32_t> needed
    saved.body = <char*> malloc(body_size + 1)
    if saved.window == NULL or saved.arena == NULL or saved.body == NULL:
        head_forget(saved)
        return NULL
    if body_size:
        memcpy(saved.body, body, body_size)
    saved.body_size = body_size
    saved.head = head[0]
    copy = &saved.head
    copy.window = saved.window
    copy.fields = saved.window.fields
    copy.method_text = _move(saved, head.method_text, head.method_size, old, old_size, scratch, scratch_size)
    copy.target = _move(saved, head.target, head.target_size, old, old_size, scratch, scratch_size)
    copy.path = _move(saved, head.path, head.path_size, old, old_size, scratch, scratch_size)
    if head.sent != NULL:
        copy.sent = _move(saved, head.sent, head.sent_size, old, old_size, scratch, scratch_size)
    copy.query = _move(saved, head.query, head.query_size, old, old_size, scratch, scratch_size)
    copy.host = _move(saved, head.host, head.host_size, old, old_size, scratch, scratch_size)
    copy.name = _move(saved, head.name, head.name_size, old, old_size, scratch, scratch_size)
    if head.upgrade:
        copy.upgrade_value = _move(
            saved, head.upgrade_value, head.upgrade_size, old, old_size, scratch, scratch_size
        )
    for i in range(head.count):
        field = &copy.fields[i]
        field.name = <char*> _move(saved, field.name, field.name_size, old, old_size, scratch, scratch_size)
        field.value = <char*> _move(saved, field.value, field.value_size, old, old_size, scratch, scratch_size)
    return saved


cdef SavedHead* head_save_again(SavedHead* saved, const Scratch* scratch) noexcept nogil:
    """Save a saved head that was edited since: operations leave values in scratch memory. The new
    one owns the old one; NULL without memory (then the old one is still the caller's)."""
    cdef SavedHead* newer = head_save(&saved.head, scratch, saved.body, saved.body_size)
    if newer != NULL:
        newer.older = saved
    return newer


cdef void head_forget(SavedHead* saved) noexcept nogil:
    cdef SavedHead* older
    while saved != NULL:
        older = saved.older
        window_free(saved.window)
        free(saved.body)
        free(saved.arena)
        free(saved)
        saved = older
