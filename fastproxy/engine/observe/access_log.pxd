"""The access log as the engine calls it. See access_log.pyx."""

from fastproxy.engine.observe.program cimport AccessLog
from fastproxy.engine.stream.stream cimport Engine

cdef int access_log_install(Engine* engine, object options, int ring, int wake, int worker, list entry_points) except -1
cdef void access_log_remove(Engine* engine) noexcept
