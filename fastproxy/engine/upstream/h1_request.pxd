"""Requests on their way to an endpoint. See h1_request.pyx."""

from libc.stdint cimport uint8_t

from fastproxy.engine.stream.stream cimport Stream

cdef int upstream_begin(
    Stream* stream, const char* head, size_t head_size, const char* body, size_t body_size, uint8_t last
) noexcept nogil
cdef int upstream_again(Stream* stream) noexcept nogil
cdef void upstream_body(
    Stream* stream, const char* data, size_t size, uint8_t last, const char* trailers, size_t trailers_size
) noexcept nogil
cdef bint upstream_full(Stream* stream) noexcept nogil
cdef int upstream_raw(Stream* stream) noexcept nogil
cdef bint upstream_waits(Stream* stream) noexcept nogil
cdef void upstream_tunnel(Stream* stream, const char* data, size_t size) noexcept nogil
cdef void upstream_shutdown(Stream* stream) noexcept nogil
cdef void upstream_pause(Stream* stream) noexcept nogil
cdef void upstream_resume(Stream* stream) noexcept nogil
cdef void upstream_abort(Stream* stream) noexcept nogil
cdef int stream_save_head(Stream* stream, const char* head, size_t size) noexcept nogil
cdef void stream_forget_head(Stream* stream) noexcept nogil
