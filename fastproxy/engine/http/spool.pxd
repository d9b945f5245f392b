"""A message read completely before it is passed on. See spool.pyx."""

from libc.stdint cimport uint64_t

from fastproxy.engine.http.head cimport Head, Scratch
from fastproxy.engine.http.owned_head cimport SavedHead

cdef enum:
    GATHERED = 0
    GATHER_TOO_LARGE = 1
    GATHER_FAILED = 2  # no memory, or a full disk

cdef struct Gather:
    SavedHead* saved  # NULL: the head is not needed
    char* data
    size_t size
    size_t capacity  # of `data`
    size_t mapped
    int descriptor  # of the file; -1: everything is in memory

# `head` may be NULL; NULL without memory
cdef Gather* gather_new(const Head* head, const Scratch* scratch) noexcept nogil
# a copy of a whole body, in memory
cdef Gather* gather_of(const char* data, size_t size) noexcept nogil
cdef int gather_add(
    Gather* gather, const char* data, size_t size, uint64_t limit, uint64_t memory
) noexcept nogil
cdef char* gather_whole(Gather* gather) noexcept nogil
cdef void gather_free(Gather* gather) noexcept nogil
