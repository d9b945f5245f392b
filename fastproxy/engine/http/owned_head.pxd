"""A head that outlives the read buffer it arrived in. See owned_head.pyx."""

from libc.stdint cimport uint32_t

from fastproxy.engine.http.head cimport Head, Scratch
from fastproxy.engine.http.fields cimport Window

cdef struct SavedHead:
    Head head
    Window* window
    char* body  # the first piece of the body
    size_t body_size
    char* arena
    uint32_t arena_used
    uint32_t arena_size
    SavedHead* older  # which this one was made from and may point into

cdef SavedHead* head_save(const Head* head, const Scratch* memory, const char* body, size_t body_size) noexcept nogil
cdef SavedHead* head_save_again(SavedHead* saved, const Scratch* scratch) noexcept nogil
cdef void head_forget(SavedHead* saved) noexcept nogil
