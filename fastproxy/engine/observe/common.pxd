"""The common format of Traefik 1.7. See common.pyx."""

from fastproxy.engine.observe.facts cimport Facts
from fastproxy.engine.observe.line cimport Line
from fastproxy.engine.observe.notes cimport Notes
from fastproxy.engine.observe.program cimport AccessLog
from fastproxy.engine.stream.stream cimport Stream

cdef void write_common(AccessLog* access, Stream* stream, const Notes* notes, const Facts* facts, Line* line) noexcept nogil
