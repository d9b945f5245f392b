"""Accepting connections. See listener.pyx."""

from libc.stdint cimport uint8_t, uint32_t

from fastproxy.engine.reactor cimport Source
from fastproxy.engine.stream cimport Engine

cdef struct Listener:
    Source source
    Engine* engine
    uint32_t entry_point

cdef Listener* listener_new(Engine* engine, int descriptor, uint32_t entry_point) noexcept nogil
cdef void listener_close(Listener* listener) noexcept nogil
