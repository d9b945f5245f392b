"""Responses of endpoints. See h1_response.pyx."""

from fastproxy.engine.stream.stream cimport Upstream

cdef void upstream_read_head(Upstream* upstream) noexcept nogil
cdef void upstream_read_body(Upstream* upstream) noexcept nogil
cdef void upstream_read_tunnel(Upstream* upstream) noexcept nogil
