"""Connections to endpoints. See upstream.pyx."""

cdef void upstream_install() noexcept
