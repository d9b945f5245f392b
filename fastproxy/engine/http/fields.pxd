"""Header fields, where they stand, and trailers. See fields.pyx."""

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    TRAILER_BLOCK = 8192

cdef struct Field:
    # While the head is being read, name and value are offsets into the window; once it is complete
    # they are addresses (see head.pyx).
    char* name
    char* value
    uint32_t name_size
    uint32_t value_size
    uint8_t kind
    uint8_t dropped
    uint8_t added  # by a feature: its bytes are checked when they are written

cdef struct Window:
    char* data
    uint32_t used
    uint32_t capacity
    Field* fields
    uint32_t count
    uint32_t fields_capacity
    uint32_t target_start
    uint32_t target_size
    uint32_t head_size
    uint8_t private
    uint8_t has_target

cdef struct Trailers:
    uint32_t size
    uint32_t lines
    char data[8192]  # TRAILER_BLOCK

cdef Window* window_new(uint32_t capacity, uint32_t fields) noexcept nogil
cdef Window* window_copy(const Window* window, uint32_t capacity) noexcept nogil
cdef int window_grow(Window* window, uint32_t limit) noexcept nogil
cdef int window_more_fields(Window* window) noexcept nogil
cdef void window_reset(Window* window) noexcept nogil
cdef void window_free(Window* window) noexcept nogil
