"""One JSON object for each exchange. See json.pyx."""

from fastproxy.engine.observe.facts cimport Facts
from fastproxy.engine.observe.line cimport Line
from fastproxy.engine.observe.notes cimport Notes
from fastproxy.engine.observe.program cimport AccessLog
from fastproxy.engine.stream.stream cimport Stream

cdef void write_json(AccessLog* access, Stream* stream, Notes* notes, const Facts* facts, Line* line) noexcept nogil
