"""The engine's way to Python filters, and theirs back.

Idea: a `Scripted` operation makes the engine take the GIL and call a phase of a filter with an
`Exchange`. A filter that answers at once costs a call; one that returns an awaitable parks the
stream: the head is copied out of the shared buffers, a task of the worker's loop runs the
awaitable, and when it ends the stream goes on behind the operation that parked it.

Invariants
* `stream.exchange` holds one reference to the Exchange; `_end_exchange` drops it.
* Nothing here runs for a route without a Scripted operation.
* An exception in a filter is logged with its traceback and answered 500; it never reaches the loop.
"""

import asyncio
import logging

from fastproxy.model.reply import Reply, Response

from cpython.ref cimport Py_DECREF
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memset

from fastproxy.engine.python.exchange cimport Exchange, ResponseHead, exchange_of
from fastproxy.engine.http.spool cimport Gather
from fastproxy.engine.http.head cimport Head, head_fields, head_text
from fastproxy.engine.stream.replies cimport STEP_GO_ON, STEP_PARK, STEP_REPLY, because, plain_reply
from fastproxy.engine.exchange.routing cimport route_as
from fastproxy.engine.http.owned_head cimport SavedHead
from fastproxy.engine.stream.record cimport RECORD_UNAUTHORISED
from fastproxy.engine.stream.stream cimport Engine, Stream, Table

log = logging.getLogger(__name__)

cdef enum:
    PHASE_REQUEST = 0
    PHASE_RESPONSE = 1
    PHASE_END = 2


cdef int _fill_reply(Stream* stream, Exchange exchange, reply) except -1:
    """`engine.reply` from a Python Reply; the exchange keeps its bytes alive."""
    cdef Engine* engine = stream.engine
    body = reply.body
    cdef const unsigned char[::1] view
    cdef const char* data = ""
    cdef bytearray lines = bytearray()
    cdef bytes block
    cdef uint64_t length = len(body)
    for name, value in reply.headers:
        if name.lower() == "content-length" and stream.is_head and not len(body) and value.isdecimal():
            length = int(value)  # of the body a GET would get
        if name.lower() in ("content-length", "transfer-encoding", "connection"):
            continue
        if any(character in "\r\n\0" for character in name + value):
            raise ValueError(f"header {name} of an answer holds a line end or NUL")
        lines += f"{name}: {value}\r\n".encode("latin-1")
    block = bytes(lines)
    if len(body):
        view = body
        data = <const char*> &view[0]
        exchange.kept.append(view)
    exchange.kept.append(block)
    has_date = any(name.lower() == "date" for name, _ in reply.headers)
    has_server = any(name.lower() == "server" for name, _ in reply.headers)
    memset(&engine.reply, 0, sizeof(engine.reply))
    engine.reply.status = reply.status
    engine.reply.body = data
    engine.reply.body_size = length
    engine.reply.lines = <const char*> block
    engine.reply.lines_size = len(block)
    engine.reply.raw = 1
    engine.reply.has_date = has_date
    engine.reply.has_server = has_server
    return STEP_REPLY


cdef int _call_filter(Stream* stream, Head* head, uint32_t slot, uint32_t phase) noexcept with gil:
    cdef Exchange exchange
    cdef ResponseHead response
    try:
        if stream.sub_request:
            return STEP_GO_ON
        if slot >= stream.table.filter_count or stream.table.filters[slot] == NULL:
            raise RuntimeError(f"the table names filter {slot}, which this worker does not have")
        filter_ = <object> stream.table.filters[slot]
        exchange = exchange_of(stream)
        exchange.slot = slot
        if phase == PHASE_RESPONSE:
            response = ResponseHead()
            response.head = head
            response.kept = exchange.kept
            try:
                filter_.on_response(exchange, response)
            finally:
                response.head = NULL
            return STEP_GO_ON
        if phase == PHASE_END:
            filter_.on_end(exchange)
            return STEP_GO_ON
        return _call_request(stream, head, exchange, filter_)
    except Exception:
        log.exception("a filter failed")
        plain_reply(stream.engine, 500, "Internal Server Error\n")
        stream.engine.reply.nosniff = 1
        return STEP_REPLY


cdef int _call_request(Stream* stream, Head* head, Exchange exchange, filter_) except -1:
    exchange.head = head
    try:
        result = filter_.on_request(exchange)
        if result is None:
            if exchange.bad_path:
                return STEP_REPLY  # engine.reply was filled by set_path
            return STEP_GO_ON
        if isinstance(result, Reply):
            return _fill_reply(stream, exchange, result)
        exchange.save()
        exchange.task = asyncio.ensure_future(_run(exchange, result), loop=exchange.plane.event_loop)
        return STEP_PARK
    finally:
        exchange.head = &exchange.saved.head if exchange.saved != NULL else NULL


async def _run(Exchange exchange, awaitable):
    """Await what a filter returned, then let the stream go on. Whatever the filter does, the stream
    does: nothing else would wake it."""
    try:
        reply = await awaitable
    except asyncio.CancelledError:
        if exchange.stream == NULL:
            return
        log.exception("a filter was cancelled by something else than the end of its exchange")
        reply = _failed_reply()
    except Exception:
        log.exception("a filter failed")
        reply = _failed_reply()
    if exchange.stream == NULL:
        return
    exchange.task = None
    try:
        _resume(exchange, reply)
    except Exception:
        log.exception("a filter answered what cannot be sent")
        _resume(exchange, _failed_reply())


def _failed_reply():
    return Reply(500, b"Internal Server Error\n", (
        ("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff"),
    ))


cdef int _resume(Exchange exchange, reply) except -1:
    cdef Stream* stream = exchange.stream
    cdef Head* head = exchange.head
    cdef char* body = exchange.saved.body
    cdef size_t size = exchange.saved.body_size
    cdef int code = STEP_GO_ON
    if isinstance(reply, Reply):
        code = _fill_reply(stream, exchange, reply)
    elif reply is not None:
        raise TypeError(f"a filter answers a Reply or None, not {type(reply).__name__}")
    elif exchange.bad_path:
        code = plain_reply(stream.engine, 400, "Bad Request")
    with nogil:
        stream.owner.resume(stream, head, body, size, code)
    return 0


cdef int _find_alias(Stream* stream, Head* head) noexcept with gil:
    """Let the stream wait until the end of the host's CNAME chain is known."""
    cdef Exchange exchange
    try:
        plane = <object> stream.engine.plane
        lookup = plane.find_alias(head_text(head.name, head.name_size))
        if lookup is None:
            return STEP_GO_ON
        exchange = exchange_of(stream)
        exchange.head = head
        exchange.save()
        exchange.task = asyncio.ensure_future(_route_later(exchange, lookup), loop=plane.event_loop)
        return STEP_PARK
    except Exception:
        log.exception("cannot look up a CNAME")
        return STEP_GO_ON


async def _route_later(Exchange exchange, lookup):
    """Await the alias of the host, then let the stream be routed."""
    try:
        alias = await lookup
    except asyncio.CancelledError:
        return
    if exchange.stream != NULL:
        exchange.task = None
        _route(exchange, alias)


cdef int _route(Exchange exchange, bytes alias) except -1:
    cdef Stream* stream = exchange.stream
    cdef Head* head = exchange.head
    cdef const char* data = alias
    cdef size_t size = len(alias)
    cdef int code
    stream.engine.scratch.extra_used = 0
    with nogil:
        code = route_as(stream, head, data, size)
        stream.step = 0
        stream.owner.resume(stream, head, exchange.saved.body, exchange.saved.body_size, code)
    return 0


cdef void _end_exchange(Stream* stream) noexcept with gil:
    cdef Exchange exchange
    if stream.sub_request:
        return
    exchange = <Exchange> stream.exchange
    stream.exchange = NULL
    exchange.stream = NULL
    exchange.head = NULL
    if exchange.task is not None:
        exchange.task.cancel()
        exchange.task = None
    Py_DECREF(exchange)


cdef int _keep_head(Stream* stream, Head* head) noexcept with gil:
    """A route with error pages: the head is needed once more if the response is replaced."""
    cdef Exchange exchange
    try:
        exchange = exchange_of(stream)
        exchange.head = head
        exchange.save()
        return 0
    except Exception:
        log.exception("cannot keep a request head")
        return -1


cdef bint _has_backend(const Table* table, bytes wanted):
    """Does a route, on whatever entry point, use this backend?"""
    cdef const char* data = wanted
    cdef size_t size = len(wanted)
    cdef uint32_t i
    for i in range(table.header.route_count):
        if table.routes[i].backend_name.size == size and (
            memcmp(table.block + table.routes[i].backend_name.offset, data, size) == 0
        ):
            return True
    return False


cdef int _intercept(Stream* stream, uint32_t slot, int status) noexcept with gil:
    """Replace a response by what the filter makes of its status; 0 = the stream is parked."""
    cdef Exchange exchange
    try:
        filter_ = <object> stream.table.filters[slot]
        for backend in filter_.backends_for(status):
            if _has_backend(stream.table, backend.encode()):
                break
        else:
            return -1
        exchange = exchange_of(stream)
        if exchange.saved == NULL and stream.saved_head != NULL:
            exchange.saved = <SavedHead*> stream.saved_head
            exchange.head = &exchange.saved.head
            stream.saved_head = NULL
        awaitable = _page(filter_, exchange, status, backend)
        exchange.task = asyncio.ensure_future(_run(exchange, awaitable), loop=exchange.plane.event_loop)
        return 0
    except Exception:
        log.exception("an error page failed")
        return -1


async def _page(filter_, exchange, status, backend):
    reply = await filter_.on_intercept(exchange, status, backend)
    if reply is None:
        reply = Reply(
            status, b"Internal Server Error", (("Content-Type", "text/plain; charset=utf-8"),)
        )
    return reply


cdef int _refuse(Stream* stream, uint32_t slot, Gather* answer) noexcept with gil:
    """What a filter makes of the answer of the server that the engine has asked for it."""
    cdef Exchange exchange
    cdef Head* head = &answer.saved.head
    try:
        exchange = exchange_of(stream)
        body = answer.data[:answer.size] if answer.size else b""
        reply = (<object> stream.table.filters[slot]).on_refusal(Response(head.status, head_fields(head), body))
        _fill_reply(stream, exchange, reply)
        return because(stream.engine, RECORD_UNAUTHORISED)
    except Exception:
        log.exception("a filter failed")
        plain_reply(stream.engine, 500, "Internal Server Error\n")
        stream.engine.reply.nosniff = 1
        return STEP_REPLY


cdef int bridge_install(Engine* engine, object plane) except -1:
    """Give the engine its way to Python."""
    engine.call_filter = _call_filter
    engine.end_exchange = _end_exchange
    engine.keep_head = _keep_head
    engine.intercept = _intercept
    engine.refuse = _refuse
    engine.find_alias = _find_alias
    return 0
