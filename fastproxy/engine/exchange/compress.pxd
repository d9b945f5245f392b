"""gzip for responses (entry point option `compress`). See compress.pyx."""

from libc.stdint cimport uint8_t

from fastproxy.engine.http.head cimport Head, Scratch
from fastproxy.engine.stream.compression cimport Compression, Compressor

cdef enum:
    COMPRESS_MINIMUM = 512  # shorter bodies stay as they are
    # What a request asked for, in Stream.compress.
    WISH_VARY = 1
    WISH_GZIP = 2

cdef const char* compress_sniff(const char* data, size_t size) noexcept nogil
cdef Compressor* compress_begin() noexcept nogil
cdef void compress_free(Compressor* compressor) noexcept nogil
cdef uint8_t compress_wish(const Head* request) noexcept nogil
cdef void compress_plan(
    Compression* compression, uint8_t wish, Head* head, Scratch* scratch, bint bodiless
) noexcept nogil
cdef bint compress_decide(
    Compression* compression, const Scratch* scratch, const char* data, size_t size, uint8_t last
) noexcept nogil
cdef bint compress_answer(
    Compression* compression, Scratch* scratch, int status, const char** lines, size_t* lines_size, char** body,
    size_t* size
) noexcept nogil
cdef int compress_piece(
    Compressor* compressor, const char* data, size_t size, uint8_t last, char** out, size_t* out_size
) noexcept nogil
cdef void compress_end(Compression* compression) noexcept nogil
