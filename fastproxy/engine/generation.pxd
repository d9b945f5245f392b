"""One generation of the compiled table. See generation.pyx."""

from libc.stdint cimport uint32_t

from fastproxy.engine.upstream.backends cimport Backends
from fastproxy.engine.stream.stream cimport LiveBackend, Table


cdef class Generation:
    cdef Table* table
    cdef readonly int number
    cdef dict filters  # slot -> live filter
    cdef dict regexes  # pattern -> Regex, or None for one that RE2 refuses
    cdef list created  # addresses of the live backends built for it
    cdef list replaced  # addresses of those it does away with
    cdef list servers  # what it holds for its filters: (endpoint, TLS)
    cdef int take_filters(self, Generation former, change) except -1
    cdef int _take_conditions(self, Generation former, patterns) except -1
    cdef int take_servers(self, Backends backends) except -1
    cdef int leave_servers(self, Backends backends) except -1
    cdef int take_backends(self, Generation former, change) except -1
    cdef int place_backend(self, uint32_t slot, LiveBackend* live) except -1
    cdef int _replace(self, uint32_t slot, LiveBackend* live) except -1
    cdef int enliven(self) except -1
    cdef void enliven_slot(self, uint32_t slot) noexcept
    cdef bint in_use(self) noexcept
