"""Dates in lines, made once a second. See clock.pyx."""

from libc.stdint cimport int64_t

from fastproxy.engine.observe.program cimport AccessLog

cdef int64_t wall_of(AccessLog* access, int64_t monotonic) noexcept nogil
cdef void set_utc(AccessLog* access, int64_t second) noexcept nogil
cdef void set_local(AccessLog* access, int64_t second) noexcept nogil
