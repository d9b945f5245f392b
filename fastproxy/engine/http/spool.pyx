"""A request or a response read completely before it is passed on (`features.md` 3.20).

Its head is copied out of the buffers it was read into, the body grows in memory, and beyond what the
configuration allows there it goes to a file without a name, which is mapped when the body is
complete: of a body on disk only the pages in use are in memory.
"""

import tempfile

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy

from fastproxy.engine.http.head cimport Head, Scratch
from fastproxy.engine.loop.posix cimport MAP_FAILED, MAP_SHARED, PROT_READ, close, mmap, munmap, ssize_t
from fastproxy.engine.http.owned_head cimport head_forget, head_save

cdef extern from "<stdlib.h>" nogil:
    int mkostemp(char* template, int flags)

cdef extern from "<unistd.h>" nogil:
    ssize_t write(int descriptor, const void* data, size_t size)
    int unlink(const char* path)

cdef extern from "<fcntl.h>" nogil:
    int O_CLOEXEC

cdef enum:
    START = 16384

cdef bytes _template = (tempfile.gettempdir() + "/fastproxy-XXXXXX").encode()
cdef const char* _template_text = _template
cdef size_t _template_size = len(_template) + 1


cdef Gather* gather_new(const Head* head, const Scratch* scratch) noexcept nogil:
    cdef Gather* gather = <Gather*> calloc(1, sizeof(Gather))
    if gather == NULL:
        return NULL
    gather.descriptor = -1
    if head != NULL:
        gather.saved = head_save(head, scratch, NULL, 0)
        if gather.saved == NULL:
            gather_free(gather)
            return NULL
    return gather


cdef Gather* gather_of(const char* data, size_t size) noexcept nogil:
    cdef Gather* gather = gather_new(NULL, NULL)
    if gather == NULL:
        return NULL
    gather.data = <char*> malloc(size + 1)
    if gather.data == NULL:
        gather_free(gather)
        return NULL
    memcpy(gather.data, data, size)
    gather.size = gather.capacity = size
    return gather


cdef bint _write(Gather* gather, const char* data, size_t size) noexcept nogil:
    cdef ssize_t count
    while size:
        count = write(gather.descriptor, data, size)
        if count <= 0:
            return False
        data += count
        size -= count
    return True


cdef bint _to_disk(Gather* gather) noexcept nogil:
    cdef char* path = <char*> malloc(_template_size)
    if path == NULL:
        return False
    memcpy(path, _template_text, _template_size)
    gather.descriptor = mkostemp(path, O_CLOEXEC)
    if gather.descriptor >= 0:
        unlink(path)
    free(path)
    if gather.descriptor < 0 or not _write(gather, gather.data, gather.size):
        return False
    free(gather.data)
    gather.data = NULL
    gather.capacity = 0
    return True


cdef int gather_add(
    Gather* gather, const char* data, size_t size, uint64_t limit, uint64_t memory
) noexcept nogil:
    cdef size_t capacity
    cdef char* larger
    if limit and gather.size + size > limit:
        return GATHER_TOO_LARGE
    if gather.descriptor < 0 and memory and gather.size + size > memory and not _to_disk(gather):
        return GATHER_FAILED
    if gather.descriptor >= 0:
        if not _write(gather, data, size):
            return GATHER_FAILED
    elif size:
        if gather.size + size > gather.capacity:
            capacity = gather.capacity * 2 if gather.capacity else START
            while capacity < gather.size + size:
                capacity *= 2
            larger = <char*> realloc(gather.data, capacity)
            if larger == NULL:
                return GATHER_FAILED
            gather.data = larger
            gather.capacity = capacity
        memcpy(gather.data + gather.size, data, size)
    gather.size += size
    return GATHERED


cdef char* gather_whole(Gather* gather) noexcept nogil:
    """The whole body, valid until `gather_free`; NULL when it cannot be mapped."""
    cdef void* address
    if gather.descriptor < 0:
        return gather.data if gather.data != NULL else <char*> <const char*> ""
    address = mmap(NULL, gather.size, PROT_READ, MAP_SHARED, gather.descriptor, 0)
    if address == MAP_FAILED:
        return NULL
    gather.data = <char*> address
    gather.mapped = gather.size
    return gather.data


cdef void gather_free(Gather* gather) noexcept nogil:
    if gather == NULL:
        return
    head_forget(gather.saved)
    if gather.mapped:
        munmap(gather.data, gather.mapped)
    else:
        free(gather.data)
    if gather.descriptor >= 0:
        close(gather.descriptor)
    free(gather)
