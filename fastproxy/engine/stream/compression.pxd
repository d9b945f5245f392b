"""What the stream knows about the compression of its response. See exchange/compress.pyx."""

from libc.stdint cimport uint8_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.http.owned_head cimport SavedHead

cdef struct Compressor:
    void* zlib

cdef struct Compression:
    # Of the response on its way.
    Compressor* compressor  # NULL: it goes as it is
    Head* head  # of the response, while the first piece of the body must decide about it
    SavedHead* held  # and its copy, when that piece did not come with it
    char* lines  # of an own answer, written anew
    uint8_t undecided  # the first piece of the body decides; 2 = its type is missing too
    uint8_t may_hold
    uint8_t known_length
