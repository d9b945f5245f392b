"""Who observes exchanges. See observe.pyx."""

from fastproxy.engine.stream.stream cimport Engine

cdef int observe_install(Engine* engine, object settings, object observed, int worker, list entry_points) except -1
cdef void observe_remove(Engine* engine) noexcept
