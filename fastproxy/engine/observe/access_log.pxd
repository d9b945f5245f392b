"""The access log. See access_log.pyx."""

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.stream.stream cimport Engine, Stream

cdef int access_log_install(Engine* engine, object options, int ring, int wake, int worker, list entry_points) except -1
cdef bint access_log_shows_headers(Engine* engine) noexcept
cdef void access_log_remove(Engine* engine) noexcept
cdef void access_log_begin(Stream* stream, Head* head) noexcept nogil
cdef void access_log_response(Stream* stream, Head* head) noexcept nogil
cdef void access_log_sent(Stream* stream, const char* head, size_t size) noexcept nogil
cdef void access_log_end(Engine* engine, Stream* stream, bint internal) noexcept nogil
