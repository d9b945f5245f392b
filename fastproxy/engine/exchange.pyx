"""One request as Python sees it, and the bridge from the engine to Python filters.

Idea: a `Scripted` operation makes the engine take the GIL and call a phase of a filter with an
`Exchange`, a thin view of the stream and its canonical head. A filter that answers at once costs a
call; one that returns an awaitable parks the stream: the head is copied out of the shared buffers,
a task of the worker's loop runs the awaitable, and when it ends the stream goes on behind the
operation that parked it.

`forward` and `fetch` make streams of their own whose owner is Python: the upstream side cannot tell
them from a client's request. Their responses are collected whole, within a limit.

Invariants
* `stream.exchange` holds one reference to the Exchange; `end_exchange` drops it, and an Exchange
  whose stream is gone raises RuntimeError instead of touching memory.
* Nothing here runs for a route without a Scripted operation.
* An exception in a filter is logged with its traceback and answered 500; it never reaches the loop.
"""

import asyncio
import logging

from fastproxy._block cimport ROUTE_PRESERVE_HOST, RouteRecord
from fastproxy.errors import (
    BackendError, BackendTimeout, NoEndpoint, TooLarge, UnknownBackend,
)
from fastproxy.model import Endpoint
from fastproxy.reply import Reply, Response
from fastproxy.spool import Spool

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from fastproxy._shared_nonces cimport nonce_advance
from fastproxy.engine.downstream_connection cimport Downstream, downstream_of
from fastproxy.engine.downstream_request cimport downstream_collect, downstream_continue
from fastproxy.engine.digest cimport remember_nonce
from fastproxy.engine.head cimport (
    KIND_X_FORWARDED_FOR, KIND_X_REAL_IP, Head, field_kind, head_add, head_remove,
)
from fastproxy.engine.head_writer cimport Forwarding, Writer, write_field, write_request, write_text
from fastproxy.engine.replies cimport (
    STEP_GO_ON, STEP_PARK, STEP_REPLY, plain_reply,
)
from fastproxy.engine.retry cimport retry
from fastproxy.engine.saved cimport SavedHead, head_copy, head_forget, head_save, head_save_again
from fastproxy.engine.step_access cimport trusts
from fastproxy.engine.step_paths cimport set_path
from fastproxy.engine.step_users cimport remember_user
from fastproxy.engine.steps cimport (
    backend_steps, end_steps, pick_endpoint, request_steps, response_steps, route_as,
)
from fastproxy.engine.stream cimport (
    FAIL_CONNECT_TIMEOUT, FAIL_RESPONSE_TIMEOUT, Engine, Reply as EngineReply,
    Remembered, Stream, StreamOwner, Table, route_flags,
)
from fastproxy.engine.upstream cimport upstream_abort, upstream_begin, upstream_body, upstream_full

log = logging.getLogger(__name__)

cdef enum:
    PHASE_REQUEST = 0
    PHASE_RESPONSE = 1
    PHASE_END = 2
    PHASE_AROUND = 3

cdef enum:
    PIECE = 65536  # of a request body, sent at once

cdef StreamOwner _collector


cdef str _text(const char* data, size_t size):
    return data[:size].decode("latin-1")


cdef class ResponseHead:
    """The head of a backend's response, valid during `on_response`."""

    cdef Head* head
    cdef list kept

    cdef Head* _live(self) except NULL:
        if self.head == NULL:
            raise RuntimeError("the response head has been sent")
        return self.head

    @property
    def status(self):
        return self._live().status

    def header(self, str name):
        return _header(self._live(), name)

    def set_header(self, str name, str value):
        _remove(self._live(), name)
        _add(self._live(), self.kept, name, value)

    def add_header(self, str name, str value):
        _add(self._live(), self.kept, name, value)

    def remove_header(self, str name):
        _remove(self._live(), name)


cdef object _header(Head* head, str name):
    cdef bytes wanted = name.lower().encode("latin-1")
    cdef uint32_t i
    for i in range(head.count):
        if not head.fields[i].dropped and head.fields[i].name_size == <uint32_t> len(wanted):
            if head.fields[i].name[:head.fields[i].name_size].lower() == wanted:
                return _text(head.fields[i].value, head.fields[i].value_size)
    return None


cdef int _remove(Head* head, str name) except -1:
    cdef bytes text = name.encode("latin-1")
    cdef const char* data = text
    head_remove(head, data, len(text))
    return 0


cdef int _add(Head* head, list kept, str name, str value) except -1:
    cdef bytes name_text = name.encode("latin-1")
    cdef bytes value_text = value.encode("latin-1")
    cdef const char* name_data = name_text
    cdef const char* value_data = value_text
    for byte in value_text:
        if byte in (0, 10, 13):
            raise ValueError(f"the value of {name} holds a line end or NUL")
    kept.append(name_text)
    kept.append(value_text)
    if head_add(head, name_data, len(name_text), value_data, len(value_text)) < 0:
        raise MemoryError
    return 0


cdef class Exchange:
    """Text is latin-1 throughout. Valid until the exchange ends; RuntimeError afterwards."""

    cdef Stream* stream
    cdef Head* head  # present one; NULL between phases
    cdef SavedHead* saved
    cdef object plane
    cdef object task
    cdef list kept  # bytes that fields point to
    cdef object bytes_body  # the whole request body once it was read
    cdef object collecting  # Spool
    cdef object collected  # future
    cdef Py_ssize_t limit
    cdef bint bad_path
    cdef uint32_t slot  # of the filter being called
    cdef public str user

    def __cinit__(self):
        self.kept = []
        self.user = ""

    def __dealloc__(self):
        head_forget(self.saved)

    cdef Head* _live(self) except NULL:
        if self.stream == NULL:
            raise RuntimeError("the exchange has ended")
        if self.head == NULL:
            raise RuntimeError("the request head is gone in this phase")
        return self.head

    cdef int _save(self) except -1:
        """Copy the head, or what operations have made of it since, out of the shared buffers."""
        cdef Downstream* downstream = downstream_of(self.stream)
        cdef SavedHead* newer
        cdef bytes path
        if self.stream.original_path != NULL:
            path = self.stream.original_path[:self.stream.original_path_size]
            self.kept.append(path)
            self.stream.original_path = path
        if self.saved != NULL and self.head == &self.saved.head:
            newer = head_save_again(self.saved, self.stream.engine.scratch)
            if newer == NULL:
                raise MemoryError
            self.saved = newer
        elif self.saved == NULL:
            self.saved = head_save(
                self._live(), self.stream.engine.scratch, downstream.wire.body,
                downstream.wire.body_size,
            )
            if self.saved == NULL:
                raise MemoryError
        self.head = &self.saved.head
        return 0

    @property
    def method(self):
        return _text(self._live().method_text, self.head.method_size)

    @property
    def target(self):
        return _text(self._live().target, self.head.target_size)

    @property
    def path(self):
        return _text(self._live().path, self.head.path_size)

    @path.setter
    def path(self, str value):
        cdef bytes text = value.encode("latin-1")
        cdef const char* data = text
        self._live()
        self.kept.append(text)
        if set_path(self.stream, self.head, data, len(text)) != STEP_GO_ON:
            self.bad_path = True

    @property
    def original_path(self):
        self._live()
        if self.stream.original_path != NULL:
            return _text(self.stream.original_path, self.stream.original_path_size)
        return self.path

    @property
    def query(self):
        if not self._live().has_query:
            return None
        return _text(self.head.query, self.head.query_size)

    @property
    def host(self):
        return _text(self._live().host, self.head.host_size)

    @property
    def scheme(self):
        self._alive()
        return "https" if self.stream.tls else "http"

    @property
    def entry_point(self):
        self._alive()
        return self.plane.entry_point_name(self.stream.entry_point)

    @property
    def client_address(self):
        self._alive()
        return _text(self.stream.client, self.stream.client_size)

    @property
    def client_certificates(self):
        self._alive()
        return self.plane.client_certificates(<size_t> downstream_of(self.stream).ssl)

    @property
    def route(self):
        self._alive()
        return _text(
            self.stream.table.block + self.stream.route.name.offset, self.stream.route.name.size
        )

    @property
    def backend(self):
        self._alive()
        return _text(
            self.stream.table.block + self.stream.route.backend_name.offset,
            self.stream.route.backend_name.size,
        )

    cdef int _alive(self) except -1:
        if self.stream == NULL:
            raise RuntimeError("the exchange has ended")
        return 0

    def header(self, str name):
        self._live()
        if self.head.upgrade and name.lower() == "upgrade":
            return _text(self.head.upgrade_value, self.head.upgrade_size)
        return _header(self.head, name)

    def headers(self, str name):
        wanted = name.lower()
        return [value for key, value in self.items() if key.lower() == wanted]

    def items(self):
        cdef Head* head = self._live()
        cdef uint32_t i
        found = []
        for i in range(head.count):
            if not head.fields[i].dropped:
                found.append((
                    _text(head.fields[i].name, head.fields[i].name_size),
                    _text(head.fields[i].value, head.fields[i].value_size),
                ))
        return found

    def set_header(self, str name, str value):
        _remove(self._live(), name)
        _add(self.head, self.kept, name, value)

    def add_header(self, str name, str value):
        _add(self._live(), self.kept, name, value)

    def remove_header(self, str name):
        _remove(self._live(), name)

    def advance_nonce(self, bytes nonce, uint32_t count, int64_t issued, int64_t lifetime, int64_t now):
        self._alive()
        if self.stream.engine.shared == NULL:
            raise RuntimeError("digest authentication needs the shared counters")
        return nonce_advance(
            self.stream.engine.shared, nonce, len(nonce), count, issued, lifetime, now
        )

    def remember_user(self, str name):
        cdef bytes text = name.encode("latin-1")
        cdef const char* data = text
        if remember_user(self.stream, self._live(), self.slot, data, len(text)) < 0:
            raise MemoryError

    def remember_nonce(self, bytes nonce, bytes user, bytes secret, bytes opaque, int64_t issued):
        self._alive()
        remember_nonce(self.stream, self.slot, nonce, user, secret, opaque, issued)

    def remember_headers(self, pairs):
        """Set header fields, on this request and on all later ones of the connection."""
        cdef Stream* stream = self.stream
        cdef bytes lines
        cdef const char* data
        cdef Remembered* made
        for name, value in pairs:
            self.set_header(name, value)
        lines = b"".join([f"{name}\0{value}\0".encode("latin-1") for name, value in pairs])
        data = lines
        made = <Remembered*> malloc(sizeof(Remembered) + len(lines))
        if made == NULL:
            raise MemoryError
        made.generation = stream.table.header.generation
        made.slot = self.slot
        made.size = <uint32_t> len(lines)
        made.lines = <char*> made + sizeof(Remembered)
        memcpy(made.lines, data, len(lines))
        free(stream.remembered)
        stream.remembered = made

    # --- the request body ---

    async def body(self, limit, memory=1 << 20):
        """The whole request body; raises `errors.TooLarge` above `limit` (0 = unlimited). What
        goes beyond `memory` bytes stands in a temporary file."""
        self._live()
        if self.bytes_body is None:
            self._save()
            if limit and self.head.content_length > limit:
                raise TooLarge(f"the request body is longer than {limit} bytes")
            await self._collect(limit, memory)
        if limit and len(self.bytes_body) > limit:
            raise TooLarge(f"the request body is longer than {limit} bytes")
        return self.bytes_body

    async def _collect(self, limit, memory):
        cdef Downstream* downstream = downstream_of(self.stream)
        first = self.saved.body[:self.saved.body_size]
        if downstream.wire.message_done:
            self.bytes_body = first
        else:
            if limit and len(first) > limit:
                raise TooLarge(f"the request body is longer than {limit} bytes")
            self.collecting = Spool(memory)
            self.collecting.write(first)
            self.limit = limit or 0
            self.collected = asyncio.get_running_loop().create_future()
            downstream_collect(self.stream)
            try:
                await self.collected
            finally:
                self.collected = None
            self.bytes_body = self.collecting.finish()
            self.collecting = None
        self._alive()
        self.stream.chunked = 0
        self.head.chunked = 0
        if len(self.bytes_body) or self.head.content_length >= 0:
            self.head.content_length = len(self.bytes_body)

    cdef void _collected(self, const char* data, size_t size, bint last) noexcept:
        if self.collecting is None:
            return
        try:
            self.collecting.write(data[:size])
        except OSError as error:
            if self.collected is not None and not self.collected.done():
                self.collected.set_exception(error)
            return
        if self.collected is None or self.collected.done():
            return
        if self.limit and len(self.collecting) > self.limit:
            self.collected.set_exception(TooLarge(f"the request body is longer than {self.limit} bytes"))
        elif last:
            self.collected.set_result(None)

    # --- sub-requests ---

    async def forward(self, limit=0, memory=0):
        """Run what stands behind this filter, up to the backend, and collect the response; what
        goes beyond `memory` bytes (0 = unlimited) stands in a temporary file."""
        cdef SubRequest request = SubRequest()
        cdef SavedHead* copy
        self._live()
        self._save()
        body = self.bytes_body if self.bytes_body is not None else b""
        copy = head_copy(self.saved)
        if copy == NULL:
            raise MemoryError
        request.prepare(self, limit, copy)
        request.data = Spool(memory)
        request.forward(body)
        return await request.finish(None)

    async def fetch(
        self, url, *, method="GET", headers=(), body=b"", timeout=30.0, backend=None,
        limit=1 << 20, tls=None,
    ):
        """A sub-request through the engine's own client side. Raises `errors.BackendError`."""
        cdef SubRequest request = SubRequest()
        self._alive()
        scheme, _, rest = url.partition("://")
        authority, slash, path = rest.partition("/")
        path = "/" + path if slash else "/"
        request.prepare(self, limit, NULL)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout  # for everything, the name's lookup included
        if backend is not None:
            request.use_backend(self, backend)
        else:
            await request.use_url(self.plane, scheme, authority, tls, timeout)
        request.send(self, method, path, authority, headers, body)
        return await request.finish(max(deadline - loop.time(), 0.001))


cdef class SubRequest:
    """A stream owned by Python; its response is collected whole."""

    cdef Stream* stream
    cdef SavedHead* saved
    cdef object future
    cdef list headers
    cdef object data  # Spool
    cdef object body  # of the request, while pieces of it are still to be sent
    cdef const unsigned char[::1] rest
    cdef size_t rest_at
    cdef int status
    cdef Py_ssize_t limit
    cdef bint strict  # failures raise instead of becoming a status
    cdef object pool_handle
    cdef Exchange parent

    def __dealloc__(self):
        if self.stream != NULL:
            upstream_abort(self.stream)
            end_steps(self.stream)
            free(self.stream.saved)
            free(self.stream.trailers)
            free(self.stream)
        head_forget(self.saved)

    cdef int prepare(self, Exchange parent, limit, SavedHead* saved) except -1:
        cdef Stream* model = parent.stream
        self.saved = saved
        self.parent = parent
        self.stream = <Stream*> calloc(1, sizeof(Stream))
        if self.stream == NULL:
            raise MemoryError
        self.future = asyncio.get_running_loop().create_future()
        self.data = Spool()
        self.limit = limit
        self.stream.owner = &_collector
        self.stream.engine = model.engine
        self.stream.entry_point = model.entry_point
        self.stream.tls = model.tls
        self.stream.ssl = model.ssl
        self.stream.client = model.client
        self.stream.client_size = model.client_size
        memcpy(self.stream.address, model.address, 16)
        self.stream.exchange = <void*> self
        self.stream.sub_request = 1
        return 0

    cdef int forward(self, body) except -1:
        """Go on behind the parent's filter. Of a long body the first piece is sent here, the others
        when the endpoint has taken it, so that no more than one waits in memory."""
        cdef Stream* stream = self.stream
        cdef Stream* model = self.parent.stream
        cdef Head* head = &self.saved.head
        cdef const char* data = NULL
        cdef size_t size = len(body)
        cdef size_t first = size if size <= PIECE else PIECE
        cdef int code
        if size:
            self.body = body
            self.rest = body
            data = <const char*> &self.rest[0]
        stream.table = model.table
        stream.table.references += 1
        stream.route = model.route
        stream.flags = model.flags
        stream.backend = model.backend
        if stream.backend != NULL:
            stream.backend.references += 1
        stream.is_head = model.is_head
        stream.te_trailers = model.te_trailers
        stream.is_safe = model.is_safe
        with nogil:
            code = request_steps(stream, head, model.step)
            if code == STEP_GO_ON:
                code = pick_endpoint(stream, head)
            if code == STEP_GO_ON:
                code = _send_head(stream, head, data, first, first == size, 0)
        if code == STEP_REPLY:
            self._take_reply()
        elif first < size:
            self.rest_at = first
            self._feed()
        return 0

    cdef void _feed(self) noexcept:
        """Send more of the request body, as much as the connection takes."""
        cdef Stream* stream = self.stream
        cdef size_t size, whole = self.rest.shape[0] if self.body is not None else 0
        while self.rest_at < whole and stream.upstream != NULL and not upstream_full(stream):
            size = whole - self.rest_at
            if size > PIECE:
                size = PIECE
            self.rest_at += size
            upstream_body(
                stream, <const char*> &self.rest[self.rest_at - size], size, self.rest_at == whole,
                NULL, 0,
            )

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
        self.data = Spool()
        self.data.write(reply.body[:reply.body_size])
        self.future.set_result(None)
        return 0

    cdef int use_backend(self, Exchange parent, str name) except -1:
        """The balancer of another backend on the same entry point."""
        cdef Table* table = parent.stream.table
        cdef bytes wanted = name.encode()
        cdef const RouteRecord* route
        cdef uint32_t i
        self.strict = True
        for i in range(table.header.route_count):
            route = &table.routes[i]
            if route.entry_point != parent.stream.entry_point or route.backend_name.size != <uint32_t> len(wanted):
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
        host, port = _split_authority(authority, 443 if scheme == "https" else 80)
        self.strict = True
        self.pool_handle = plane.pool_of(Endpoint(scheme, host, port), tls)
        if not await plane.resolved(self.pool_handle, timeout):
            raise BackendError(f"cannot resolve {host}")
        plane.take_pool(self.pool_handle, <size_t> self.stream)

    cdef int send(self, Exchange parent, str method, str path, str authority, headers, bytes body) except -1:
        """Write and send a request made by Python."""
        cdef Stream* stream = self.stream
        cdef Engine* engine = stream.engine
        cdef Writer writer
        cdef bytes piece, value_text
        cdef const char* data
        cdef const char* value
        cdef int code, kind
        cdef bint trusted
        cdef Head* head
        if stream.route != NULL:
            head = parent.head if parent.head != NULL else &engine.request
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
        # What a filter sends to a URL it has decided about itself.
        trusted = stream.route == NULL or trusts(
            &engine.entry_points[stream.entry_point], stream.address
        )
        if body or method not in ("GET", "HEAD", "OPTIONS", "TRACE", "DELETE"):
            rows.append(("Content-Length", str(len(body))))
        for name, text in rows:
            piece = name.encode("latin-1")
            kind = field_kind(piece, len(piece))
            if not trusted and KIND_X_FORWARDED_FOR <= kind <= KIND_X_REAL_IP:
                continue
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
        try:
            await asyncio.wait_for(self.future, timeout)
        except asyncio.TimeoutError:
            self.stream.status = 504
            raise BackendTimeout(f"no answer within {timeout} seconds") from None
        finally:
            if self.stream != NULL:
                upstream_abort(self.stream)
                end_steps(self.stream)
        return Response(self.status, self.headers or (), self.data.finish())

    cdef void _failed(self, int failure) noexcept:
        if self.future.done():
            return
        if self.strict:
            if self.stream.route != NULL:
                if retry(self.stream, failure) == STEP_GO_ON:
                    return
                self.stream.status = <uint16_t> self.stream.engine.reply.status
            if failure == FAIL_CONNECT_TIMEOUT or failure == FAIL_RESPONSE_TIMEOUT:
                self.future.set_exception(BackendTimeout("the endpoint did not answer in time"))
            else:
                self.future.set_exception(BackendError(f"the endpoint failed ({failure})"))
            return
        if retry(self.stream, failure) == STEP_GO_ON:
            return
        try:
            self._take_reply()
        except Exception as error:
            self.future.set_exception(error)

    cdef void _on_head(self, Head* head) noexcept:
        cdef uint32_t i
        response_steps(self.stream, head)
        self.status = head.status
        self.headers = []
        for i in range(head.count):
            if not head.fields[i].dropped:
                self.headers.append((
                    _text(head.fields[i].name, head.fields[i].name_size),
                    _text(head.fields[i].value, head.fields[i].value_size),
                ))
        if self.stream.is_head and head.content_length >= 0:
            self.headers.append(("Content-Length", str(head.content_length)))
        self.stream.status = head.status

    cdef void _on_body(self, const char* data, size_t size, bint last) noexcept:
        if self.future.done():
            return
        try:
            self.data.write(data[:size])
        except OSError as error:
            upstream_abort(self.stream)
            self.future.set_exception(error)
            return
        if self.limit and len(self.data) > self.limit:
            if not last:
                upstream_abort(self.stream)
            self.future.set_exception(TooLarge(f"the response is longer than {self.limit} bytes"))
        elif last:
            self.future.set_result(None)


cdef object _split_authority(str authority, int default):
    authority = authority.rpartition("@")[2]
    host, colon, port = authority.rpartition(":")
    if colon and port.isdigit() and not host.endswith(":") and (":" not in host or host.startswith("[")):
        return host.strip("[]"), int(port)
    return authority.strip("[]"), default


cdef int _send_head(
    Stream* stream, Head* head, const char* body, size_t size, uint8_t last, uint8_t anonymous
) noexcept nogil:
    """Write a canonical head for the picked endpoint and send it with the first piece of its body."""
    cdef Engine* engine = stream.engine
    cdef Forwarding forwarding
    cdef Writer writer
    cdef int failure
    memset(&forwarding, 0, sizeof(forwarding))
    forwarding.client = stream.client
    forwarding.client_size = stream.client_size
    forwarding.server = engine.server
    forwarding.server_size = engine.server_size
    if head.host_size == 0 or not stream.flags & ROUTE_PRESERVE_HOST:
        forwarding.host = stream.pool.host
        forwarding.host_size = stream.pool.host_size
    forwarding.trusted = trusts(&engine.entry_points[stream.entry_point], stream.address)
    forwarding.tls = stream.tls
    forwarding.anonymous = anonymous
    forwarding.content_length = -2
    head.expect_continue = 0
    writer.data = engine.out
    writer.size = 0
    writer.capacity = engine.out_size
    writer.failed = 0
    write_request(&writer, head, &forwarding)
    if writer.failed:
        return plain_reply(engine, 431, "Request Header Fields Too Large")
    failure = upstream_begin(stream, writer.data, writer.size, body, size, last)
    return retry(stream, failure) if failure else STEP_GO_ON


# --- the collector: what the upstream side reports to a SubRequest ---

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


cdef void _collect_writable(Stream* stream) noexcept with gil:
    (<SubRequest> stream.exchange)._feed()


cdef int _collect_raw(Stream* stream) noexcept nogil:
    return -1


cdef void _collect_upgraded(Stream* stream, char* data, size_t size) noexcept nogil:
    pass


_collector.on_head = _collect_head
_collector.on_body = _collect_body
_collector.on_failed = _collect_failed
_collector.on_writable = _collect_writable
_collector.on_continue = _collect_nothing
_collector.on_upgraded = _collect_upgraded
_collector.raw = _collect_raw


# --- the bridge ---

cdef Exchange _exchange_of(Stream* stream):
    """The Exchange of a stream, made when it is first asked for."""
    cdef Exchange exchange
    if stream.exchange != NULL:
        return <Exchange> stream.exchange
    exchange = Exchange()
    exchange.stream = stream
    exchange.plane = <object> stream.engine.plane
    Py_INCREF(exchange)
    stream.exchange = <void*> exchange
    return exchange


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
        if name.lower() == "date":
            engine.reply.has_date = 1
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
        exchange = _exchange_of(stream)
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
        return _call_request(stream, head, exchange, filter_, phase)
    except Exception:
        log.exception("a filter failed")
        plain_reply(stream.engine, 500, "Internal Server Error\n")
        stream.engine.reply.nosniff = 1
        return STEP_REPLY


cdef int _call_request(Stream* stream, Head* head, Exchange exchange, filter_, uint32_t phase) except -1:
    exchange.head = head
    try:
        result = filter_.around(exchange) if phase == PHASE_AROUND else filter_.on_request(exchange)
        if result is None:
            if exchange.bad_path:
                return STEP_REPLY  # engine.reply was filled by set_path
            return STEP_GO_ON
        if isinstance(result, Reply):
            return _fill_reply(stream, exchange, result)
        exchange._save()
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
    cdef bytes whole = None if exchange.bytes_body is None else bytes(exchange.bytes_body)
    cdef int code
    if isinstance(reply, Reply):
        code = _fill_reply(stream, exchange, reply)
    elif reply is not None:
        raise TypeError(f"a filter answers a Reply or None, not {type(reply).__name__}")
    elif exchange.bad_path:
        code = plain_reply(stream.engine, 400, "Bad Request")
    else:
        if whole is not None:
            body = <char*> <const char*> whole
            size = len(whole)
        stream.engine.scratch.extra_used = 0
        with nogil:
            code = request_steps(stream, head, stream.step)
    with nogil:
        downstream_continue(stream, head, body, size, code)
    return 0


cdef int _find_alias(Stream* stream, Head* head) noexcept with gil:
    """Let the stream wait until the end of the host's CNAME chain is known."""
    cdef Exchange exchange
    try:
        plane = <object> stream.engine.plane
        lookup = plane.find_alias(_text(head.name, head.name_size))
        if lookup is None:
            return STEP_GO_ON
        exchange = _exchange_of(stream)
        exchange.head = head
        exchange._save()
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
        if code == STEP_GO_ON:
            code = request_steps(stream, head, 0)
        downstream_continue(stream, head, exchange.saved.body, exchange.saved.body_size, code)
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
    if exchange.collected is not None and not exchange.collected.done():
        exchange.collected.cancel()
    Py_DECREF(exchange)


cdef void _collected(Stream* stream, const char* data, size_t size, uint8_t last) noexcept with gil:
    if stream.exchange != NULL:
        (<Exchange> stream.exchange)._collected(data, size, last)


cdef int _keep_head(Stream* stream, Head* head) noexcept with gil:
    """A route with error pages: the head is needed once more if the response is replaced."""
    cdef Exchange exchange
    try:
        exchange = _exchange_of(stream)
        exchange.head = head
        exchange._save()
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
        exchange = _exchange_of(stream)
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


cdef int exchange_install(Engine* engine, object plane) except -1:
    """Give the engine its way to Python."""
    engine.call_filter = _call_filter
    engine.end_exchange = _end_exchange
    engine.collected = _collected
    engine.keep_head = _keep_head
    engine.intercept = _intercept
    engine.find_alias = _find_alias
    return 0
