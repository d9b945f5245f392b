"""One request as Python sees it. See exchange.pyx."""

from fastproxy.engine.stream cimport Engine

cdef int exchange_install(Engine* engine, object plane) except -1
