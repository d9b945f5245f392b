"""Making a connection to an endpoint. See connect.pyx."""

from fastproxy.engine.stream.stream cimport Pool, Stream, Upstream

cdef int upstream_open_any(Stream* stream, Upstream** result) noexcept nogil
cdef void upstream_limit_connecting(Upstream* upstream) noexcept nogil
cdef void upstream_connected(Upstream* upstream) noexcept nogil
cdef void upstream_handshake(Upstream* upstream) noexcept nogil
cdef void upstream_try_next(Upstream* upstream, int failure) noexcept nogil
cdef void pool_resolved(Pool* pool) noexcept nogil
