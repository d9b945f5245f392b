"""Accepting connections. See listener.pyx."""

from libc.stdint cimport int64_t, uint32_t

from fastproxy.engine.loop.reactor cimport Source
from fastproxy.engine.stream.stream cimport Engine

cdef struct Listener:
    Source source
    Engine* engine
    uint32_t entry_point
    uint32_t left  # who had left before they were accepted, in this window
    int64_t window  # milliseconds: when it began

cdef Listener* listener_new(Engine* engine, int descriptor, uint32_t entry_point) noexcept nogil
cdef void listener_close(Listener* listener) noexcept nogil
