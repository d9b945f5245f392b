cdef int core_check(const char* section, size_t size) noexcept nogil
