"""The engine's way to Python filters. See bridge.pyx."""

from fastproxy.engine.stream.stream cimport Engine

cdef int bridge_install(Engine* engine, object plane) except -1
