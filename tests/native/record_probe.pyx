"""Only for tests: the records which an engine in this process reports at the end of exchanges."""

from fastproxy.engine.python.exchange cimport Exchange
from fastproxy.engine.stream.record cimport Attempt, Record
from fastproxy.engine.stream.stream cimport Engine, Stream

taken = []


cdef void _observe(Engine* engine, Stream* stream) noexcept with gil:
    cdef Record* record = &stream.record
    cdef const Attempt* attempt = record.attempts
    row = {
        "first_byte": record.first_byte, "head": record.head, "body": record.body, "chosen": record.chosen,
        "connected": record.connected, "secured": record.secured, "written": record.written,
        "answered": record.answered, "last_in": record.last_in, "last_out": record.last_out,
        "received": record.received, "sent": record.sent, "request_body": record.request_body,
        "response_body": record.response_body, "origin_body": record.origin_body,
        "upstream_sent": record.upstream_sent, "upstream_received": record.upstream_received,
        "flags": record.flags, "retries": record.retries, "status": record.status,
        "origin_status": record.origin_status, "reused": record.reused, "own": record.own,
        "attempts": [],
    }
    while attempt != NULL:
        row["attempts"].insert(0, (
            attempt.url[:attempt.url_size].decode(), attempt.flags, attempt.status, attempt.duration,
        ))
        attempt = attempt.previous
    row["route"] = row["endpoint"] = None
    row["entry_point"] = stream.client.entry_point
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
