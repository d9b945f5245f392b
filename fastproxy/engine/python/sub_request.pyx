"""Requests which a filter makes: a page of another backend, a question to an authentication server.

Their streams are owned by Python: the upstream side cannot tell them from a client's request. A
response is collected whole, within a limit.
"""

import asyncio

from fastproxy.tables.block cimport ROUTE_PRESERVE_HOST, RouteRecord
from fastproxy.model.errors import BackendError, BackendTimeout, NoEndpoint, TooLarge, UnknownBackend
from fastproxy.model.configuration import endpoint_of
from fastproxy.model.reply import Response

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free

from fastproxy.engine.exchange.balancing cimport pick_endpoint
from fastproxy.engine.stream.complaint cimport complain_failure
from fastproxy.engine.exchange.end cimport exchange_end
from fastproxy.engine.http.head cimport Head, head_fields
from fastproxy.engine.http.writer cimport Writer, write_field, write_text
from fastproxy.engine.stream.replies cimport STEP_GO_ON, STEP_REPLY
from fastproxy.engine.exchange.connect_retry cimport retry
from fastproxy.engine.exchange.run cimport backend_steps, response_steps
from fastproxy.engine.stream.stream cimport (
    FAIL_CONNECT_TIMEOUT, FAIL_RESPONSE_TIMEOUT, Engine, Reply as EngineReply, Stream, StreamOwner,
    Table, route_flags,
)
from fastproxy.engine.upstream.h1_request cimport upstream_abort, upstream_begin

cdef StreamOwner _collector


cdef class SubRequest:
    """A stream owned by Python; its response is collected whole."""

    def __dealloc__(self):
        if self.stream != NULL:
            upstream_abort(self.stream)
            exchange_end(self.stream)
            free(self.stream.saved)
            free(self.stream.trailers)
            free(self.stream)

    cdef int prepare(self, object parent, const Stream* model, limit) except -1:
        """Begin a request beside that of `parent`, for the same client; `limit` (0 = none) is the
        most bytes of a response."""
        self.parent = parent
        self.stream = <Stream*> calloc(1, sizeof(Stream))
        if self.stream == NULL:
            raise MemoryError
        self.future = asyncio.get_running_loop().create_future()
        self.data = bytearray()
        self.limit = limit
        self.stream.owner = &_collector
        self.stream.engine = model.engine
        self.stream.client = model.client
        self.stream.client.remembered = NULL  # the connection's
        self.stream.ssl = model.ssl
        self.stream.exchange = <void*> self
        self.stream.sub_request = 1
        return 0

    cdef int _take_reply(self) except -1:
        """An answer of our own in place of a response."""
        cdef EngineReply* reply = &self.stream.engine.reply
        if self.future.done():
            return 0
        self.stream.status = <uint16_t> reply.status
        self.status = reply.status
        lines = (reply.lines[:reply.lines_size]).decode("latin-1").split("\r\n") if reply.lines_size else []
        self.headers = [tuple(line.split(": ", 1)) for line in lines if line]
        kind = "text/plain; charset=utf-8" if reply.type == NULL else reply.type.decode()
        self.headers.append(("Content-Type", kind))
        if reply.nosniff:
            self.headers.append(("X-Content-Type-Options", "nosniff"))
        self.data = bytearray(reply.body[:reply.body_size])
        self.future.set_result(None)
        return 0

    cdef int use_backend(self, Table* table, str name) except -1:
        """The balancer of another backend on the same entry point."""
        cdef bytes wanted = name.encode()
        cdef const RouteRecord* route
        cdef uint32_t i
        for i in range(table.header.route_count):
            route = &table.routes[i]
            if route.entry_point != self.stream.client.entry_point or route.backend_name.size != <uint32_t> len(wanted):
                continue
            if (table.block + route.backend_name.offset)[:route.backend_name.size] != wanted:
                continue
            self.stream.table = table
            table.references += 1
            self.stream.route = route
            self.stream.flags = route_flags(route)
            if route.backend_slot < table.backend_count and table.backends[route.backend_slot] != NULL:
                self.stream.backend = table.backends[route.backend_slot]
                self.stream.backend.references += 1
            return 0
        raise UnknownBackend(f"no route of this entry point uses the backend {name}")

    async def use_url(self, plane, scheme, authority, tls, timeout):
        """Any URL: a pool for it, its name resolved."""
        endpoint = endpoint_of(scheme, authority)
        self.pool_handle = plane.pool_of(endpoint, tls)
        plane.take_pool(self.pool_handle, <size_t> self.stream)  # so that it stays until then
        known = self.stream.pool.address_count != 0
        if not known:  # apart from the question above, or gcc 14 warns
            known = await plane.resolved(self.pool_handle, timeout)
        if not known:
            raise BackendError(f"cannot resolve {endpoint.host}")

    cdef int send(self, Head* head, str method, str path, str authority, headers, bytes body) except -1:
        """Write and send a request made by Python; `head` is the client's, by which the backend's
        limits count."""
        cdef Stream* stream = self.stream
        cdef Engine* engine = stream.engine
        cdef Writer writer
        cdef bytes piece, value_text
        cdef const char* data
        cdef const char* value
        cdef int code
        if stream.route != NULL:
            code = backend_steps(stream, head)
            if code == STEP_GO_ON:
                code = pick_endpoint(stream, head)
            if code == STEP_REPLY:
                if engine.reply.status == 503 and stream.backend != NULL and stream.backend.count == 0:
                    stream.status = 503
                    raise NoEndpoint(f"the backend of {path} has no endpoint")
                self._take_reply()
                return 0
            if not stream.flags & ROUTE_PRESERVE_HOST:
                authority = stream.pool.host[:stream.pool.host_size].decode("latin-1")
        stream.is_head = method == "HEAD"
        stream.is_safe = method in ("GET", "HEAD", "OPTIONS") and not body
        writer.data = engine.out
        writer.size = 0
        writer.capacity = engine.out_size
        writer.failed = 0
        piece = f"{method} {path} HTTP/1.1\r\n".encode("latin-1")
        if any(byte <= 32 for byte in piece.rstrip(b"\r\n").replace(b" ", b"", 2)):
            raise ValueError(f"{method} {path} is not a request line")
        write_text(&writer, piece, len(piece))
        stream.host_offset = <uint32_t> len(piece) + len(b"Host: ")  # for another endpoint
        stream.host_size = <uint32_t> len(authority)
        rows = [("Host", authority), *headers]
        if body or method not in ("GET", "HEAD", "OPTIONS", "TRACE", "DELETE"):
            rows.append(("Content-Length", str(len(body))))
        for name, text in rows:
            piece = name.encode("latin-1")
            value_text = text.encode("latin-1")
            data = piece
            value = value_text
            if not write_field(&writer, data, len(piece), value, len(value_text)):
                raise ValueError(f"header {name} of a sub-request holds a line end or NUL")
        write_text(&writer, "\r\n", 2)
        if writer.failed:
            raise ValueError("the head of a sub-request is too long")
        data = body
        code = upstream_begin(stream, writer.data, writer.size, data, len(body), 1)
        if code:
            self._failed(code)
        return 0

    async def finish(self, timeout):
        """Wait for the response; the stream is released in any case."""
        # half the price of asyncio.wait_for
        timer = asyncio.get_running_loop().call_later(timeout, self.late, timeout)
        try:
            await self.future
        finally:
            timer.cancel()
            if self.stream != NULL:
                upstream_abort(self.stream)
                exchange_end(self.stream)
        return Response(self.status, self.headers or (), bytes(self.data))

    def late(self, timeout):
        if not self.future.done():
            self.stream.status = 504
            self.future.set_exception(BackendTimeout(f"no answer within {timeout} seconds"))

    cdef void _failed(self, int failure) noexcept:
        if self.future.done():
            return
        if self.stream.route != NULL:
            if retry(self.stream, failure) == STEP_GO_ON:
                return
            self.stream.status = <uint16_t> self.stream.engine.reply.status
        else:
            complain_failure(self.stream, self.stream.pool, failure, 0)
        if failure == FAIL_CONNECT_TIMEOUT or failure == FAIL_RESPONSE_TIMEOUT:
            self.future.set_exception(BackendTimeout("the endpoint did not answer in time"))
        else:
            self.future.set_exception(BackendError(f"the endpoint failed ({failure})"))

    cdef void _on_head(self, Head* head) noexcept:
        response_steps(self.stream, head)
        self.status = head.status
        self.headers = head_fields(head)
        if self.stream.is_head and head.content_length >= 0:
            self.headers.append(("Content-Length", str(head.content_length)))
        self.stream.status = head.status

    cdef void _on_body(self, const char* data, size_t size, bint last) noexcept:
        if self.future.done():
            return
        self.data += data[:size]
        if self.limit and len(self.data) > self.limit:
            if not last:
                upstream_abort(self.stream)
            self.future.set_exception(TooLarge(f"the response is longer than {self.limit} bytes"))
        elif last:
            self.future.set_result(None)


# --- what the upstream side reports ---

cdef void _collect_head(Stream* stream, Head* head) noexcept with gil:
    (<SubRequest> stream.exchange)._on_head(head)


cdef void _collect_body(Stream* stream, char* data, size_t size, uint8_t last) noexcept with gil:
    if stream.trailers != NULL:
        free(stream.trailers)
        stream.trailers = NULL
    (<SubRequest> stream.exchange)._on_body(data, size, last)


cdef void _collect_failed(Stream* stream, int failure) noexcept with gil:
    (<SubRequest> stream.exchange)._failed(failure)


cdef void _collect_nothing(Stream* stream) noexcept nogil:
    pass


cdef int _collect_raw(Stream* stream) noexcept nogil:
    return -1


cdef void _collect_upgraded(Stream* stream, char* data, size_t size) noexcept nogil:
    pass


_collector.on_head = _collect_head
_collector.on_body = _collect_body
_collector.on_failed = _collect_failed
_collector.on_writable = _collect_nothing
_collector.on_continue = _collect_nothing
_collector.on_upgraded = _collect_upgraded
_collector.raw = _collect_raw
