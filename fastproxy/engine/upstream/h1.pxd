"""Connections to endpoints. See h1.pyx."""

cdef void upstream_install() noexcept
