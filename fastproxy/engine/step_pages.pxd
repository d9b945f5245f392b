"""The operation of error pages. See step_pages.pyx."""

from fastproxy.engine.head cimport Head
from fastproxy.engine.payload cimport Payload
from fastproxy.engine.stream cimport Stream

cdef int error_pages(Stream* stream, Head* head, Payload* payload) noexcept nogil
cdef bint page_wanted(const Stream* stream, int status) noexcept nogil
