"""The live backends of a worker and the pools of their endpoints. See backends.pyx."""

from fastproxy.engine.upstream.pool cimport PoolHandle
from fastproxy.engine.stream.stream cimport Engine, LiveBackend
from fastproxy.engine.stream.tls_plane cimport TlsPlane


cdef class Backends:
    cdef Engine* engine
    cdef object resolver
    cdef TlsPlane tls
    cdef list names  # of the entry points, by index
    cdef dict pools  # (url, see `pool`) -> PoolHandle
    cdef set unsure  # keys of pools that may have become unused
    cdef list old_pools
    cdef list old  # addresses of live backends without a slot
    cdef LiveBackend* make(self, specification) except NULL
    cdef int fill(self, LiveBackend* live, endpoints) except -1
    cdef int let_go(self, list addresses) except -1
    cdef PoolHandle pool(self, endpoint, tls)
    cdef PoolHandle hold(self, endpoint, tls)
    cdef int leave(self, endpoint, tls) except -1
    cdef bint sweep(self) except -1
    cdef int drain(self) except -1
    cdef int close(self) except -1
    cdef int _free(self, LiveBackend* live) except -1
    cdef int _leave_pools(self, LiveBackend* live) except -1
    cdef int _watch_name(self, PoolHandle handle) except -1
