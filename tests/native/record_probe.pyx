"""Only for tests: the records which an engine in this process reports at the end of exchanges."""

from fastproxy.engine.python.exchange cimport Exchange
from fastproxy.engine.stream.record cimport Record
from fastproxy.engine.stream.stream cimport Engine, Stream

taken = []


cdef void _observe(Engine* engine, Stream* stream) noexcept with gil:
    cdef Record* record = &stream.record
    row = dict(record[0])
    row["route"] = row["endpoint"] = None
    row["entry_point"] = stream.entry_point
    if stream.route != NULL:
        row["route"] = stream.table.block[
            stream.route.name.offset:stream.route.name.offset + stream.route.name.size
        ].decode()
    if stream.pool != NULL:
        row["endpoint"] = stream.pool.url[:stream.pool.url_size].decode()
    taken.append(row)


def watch(Exchange exchange):
    """From now on every exchange of this one's engine is reported."""
    exchange.stream.engine.observe = _observe
