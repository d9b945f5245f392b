"""The operation of error pages. See pages.pyx."""

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.operations.payload cimport Payload
from fastproxy.engine.stream.stream cimport Stream

cdef int error_pages(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef bint page_wanted(const Stream* stream, int status) noexcept nogil
