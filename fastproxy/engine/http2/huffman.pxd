"""The Huffman code of HPACK. See huffman.pyx."""

from libc.stdint cimport int64_t

cdef enum:
    # `huffman_decode` may write one byte behind its result
    HUFFMAN_SLACK = 1

cdef inline size_t huffman_room(size_t size) noexcept nogil:
    """Bytes that `size` bytes of code can decode to at most (the shortest code has 5 bits), with slack."""
    return size * 8 // 5 + HUFFMAN_SLACK

cdef int64_t huffman_decode(char* out, const char* data, size_t size) noexcept nogil
cdef size_t huffman_size(const char* data, size_t size) noexcept nogil
cdef size_t huffman_encode(char* out, const char* data, size_t size) noexcept nogil
