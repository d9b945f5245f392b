"""RE2 without Python. See re2.pyx."""

cdef struct View:
    # std::string_view as libstdc++ lays it out
    size_t size
    const char* data

cdef class Regex:
    cdef void* compiled  # re2::RE2
    cdef readonly bytes pattern

cdef bint regex_search(
    const void* compiled, const char* text, size_t size, size_t start, View* groups, int count
) noexcept nogil
