"""Header fields as they were received: the bytes of a head in one piece, and where each field stands in it.

A window is the worker's own, for heads that arrive whole, or private: one that grows with a head that
comes slowly, or the copy of one that has to be kept.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy


cdef Window* window_new(uint32_t capacity, uint32_t fields) noexcept nogil:
    cdef Window* window = <Window*> calloc(1, sizeof(Window))
    if window == NULL:
        return NULL
    window.data = <char*> malloc(capacity)
    window.fields = <Field*> malloc(fields * sizeof(Field))
    window.capacity = capacity
    window.fields_capacity = fields
    if window.data == NULL or window.fields == NULL:
        window_free(window)
        return NULL
    return window


cdef Window* window_copy(const Window* window, uint32_t capacity) noexcept nogil:
    """A private copy of an unfinished head."""
    cdef uint32_t fields = window.count + 8
    cdef Window* copy = window_new(capacity, fields)
    cdef char* data
    cdef Field* rows
    if copy == NULL:
        return NULL
    data = copy.data
    rows = copy.fields
    memcpy(data, window.data, window.used)
    memcpy(rows, window.fields, window.count * sizeof(Field))
    copy[0] = window[0]
    copy.data = data
    copy.fields = rows
    copy.capacity = capacity
    copy.fields_capacity = fields
    copy.private = 1
    return copy


cdef int window_grow(Window* window, uint32_t limit) noexcept nogil:
    """Double the room for bytes, up to `limit`; -1 when there is no more to be had."""
    cdef uint32_t capacity = window.capacity * 2
    cdef char* data
    if window.capacity >= limit:
        return -1
    if capacity > limit:
        capacity = limit
    data = <char*> realloc(window.data, capacity)
    if data == NULL:
        return -1
    window.data = data
    window.capacity = capacity
    return 0


cdef int window_more_fields(Window* window) noexcept nogil:
    cdef uint32_t capacity = window.fields_capacity * 2
    cdef Field* fields = <Field*> realloc(window.fields, capacity * sizeof(Field))
    if fields == NULL:
        return -1
    window.fields = fields
    window.fields_capacity = capacity
    return 0


cdef void window_reset(Window* window) noexcept nogil:
    window.used = 0
    window.count = 0
    window.target_size = 0
    window.has_target = 0
    window.head_size = 0


cdef void window_free(Window* window) noexcept nogil:
    if window != NULL:
        free(window.data)
        free(window.fields)
        free(window)
