"""The pool of one endpoint's URL. See pool.pyx."""

from fastproxy.engine.stream.stream cimport Pool
from fastproxy.engine.tls.client cimport ClientContext


cdef class PoolHandle:
    cdef Pool* pool
    cdef readonly str url
    cdef readonly str host
    cdef readonly int port
    cdef object watch
    cdef list waiting  # futures of `looked_up`
    cdef ClientContext tls
    cdef void use_tls(self, ClientContext context)
