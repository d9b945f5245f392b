"""gzip for responses (entry point option `compress`). See compress.pyx."""

from libc.stdint cimport uint8_t

from fastproxy.engine.head cimport Head

cdef enum:
    COMPRESS_MINIMUM = 512  # shorter bodies stay as they are
    # What a request asked for, in Stream.compress.
    WISH_VARY = 1
    WISH_GZIP = 2

cdef struct Compressor:
    void* zlib

cdef uint8_t compress_wish(const Head* request) noexcept nogil
cdef bint compress_allowed(const Head* response) noexcept nogil
cdef bint compress_encoded(const char* lines, size_t size) noexcept nogil
cdef const char* compress_sniff(const char* data, size_t size) noexcept nogil
cdef Compressor* compress_begin() noexcept nogil
cdef int compress_piece(
    Compressor* compressor, const char* data, size_t size, uint8_t last, char** out, size_t* out_size
) noexcept nogil
cdef void compress_free(Compressor* compressor) noexcept nogil
