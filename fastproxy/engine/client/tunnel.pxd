"""A client's bytes after 101. See tunnel.pyx."""

from fastproxy.engine.client.h1_connection cimport Downstream

cdef void downstream_read_tunnel(Downstream* downstream) noexcept nogil
cdef void downstream_settle_tunnel(Downstream* downstream) noexcept nogil
