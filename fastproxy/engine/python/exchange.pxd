"""One request as Python filters see it. See exchange.pyx."""

from libc.stdint cimport uint32_t

from fastproxy.engine.http.head cimport Head
from fastproxy.engine.http.owned_head cimport SavedHead
from fastproxy.engine.stream.stream cimport Stream


cdef class ResponseHead:
    cdef Head* head
    cdef list kept
    cdef Head* _live(self) except NULL


cdef class Exchange:
    cdef Stream* stream
    cdef Head* head  # present one; NULL between phases
    cdef SavedHead* saved
    cdef object plane
    cdef object task
    cdef list kept  # bytes that fields point to
    cdef bint bad_path
    cdef uint32_t slot  # of the filter being called
    cdef public str user
    cdef Head* _live(self) except NULL
    cdef int save(self) except -1
    cdef int _alive(self) except -1


cdef Exchange exchange_of(Stream* stream)
