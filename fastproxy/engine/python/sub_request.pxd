"""Requests which a filter makes. See sub_request.pyx."""

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.stream.stream cimport Stream, Table


cdef class SubRequest:
    cdef Stream* stream
    cdef object future
    cdef list headers
    cdef bytearray data
    cdef int status
    cdef Py_ssize_t limit
    cdef object pool_handle
    cdef object parent  # what must live as long as the stream
    cdef int prepare(self, object parent, const Stream* model, limit) except -1
    cdef int use_backend(self, Table* table, str name) except -1
    cdef int send(self, Head* head, str method, str path, str authority, headers, bytes body) except -1
    cdef int _take_reply(self) except -1
    cdef void _failed(self, int failure) noexcept
    cdef void _on_head(self, Head* head) noexcept
    cdef void _on_body(self, const char* data, size_t size, bint last) noexcept
