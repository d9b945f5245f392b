"""One request as Python filters see it: a thin view of the stream and its canonical head.

The view ends with the exchange; one whose stream is gone raises RuntimeError instead of touching
memory. Text is latin-1 throughout.
"""

import asyncio

from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastproxy.counters.layout cimport SECRET_AT, SECRET_SIZE
from fastproxy.counters.nonces cimport nonce_advance
from fastproxy.engine.operations.digest cimport remember_nonce
from fastproxy.engine.http.head cimport Head, head_add, head_fields, head_remove, head_text
from fastproxy.engine.stream.replies cimport STEP_GO_ON
from fastproxy.engine.http.owned_head cimport head_forget, head_save, head_save_again
from fastproxy.engine.operations.paths cimport set_path
from fastproxy.engine.operations.users cimport remember_user
from fastproxy.engine.stream.stream cimport Remembered, Stream
from fastproxy.engine.python.sub_request cimport SubRequest


cdef class ResponseHead:
    """The head of a backend's response, valid during `on_response`."""

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


cdef class Exchange:
    """Text is latin-1 throughout. Valid until the exchange ends; RuntimeError afterwards."""

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

    cdef int save(self) except -1:
        """Copy the head, or what operations have made of it since, out of the shared buffers."""
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
                self._live(), self.stream.engine.scratch, self.stream.arrived, self.stream.arrived_size
            )
            if self.saved == NULL:
                raise MemoryError
        self.head = &self.saved.head
        return 0

    @property
    def method(self):
        return head_text(self._live().method_text, self.head.method_size)

    @property
    def target(self):
        return head_text(self._live().target, self.head.target_size)

    @property
    def path(self):
        return head_text(self._live().path, self.head.path_size)

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
            return head_text(self.stream.original_path, self.stream.original_path_size)
        return self.path

    @property
    def query(self):
        if not self._live().has_query:
            return None
        return head_text(self.head.query, self.head.query_size)

    @property
    def host(self):
        return head_text(self._live().host, self.head.host_size)

    @property
    def scheme(self):
        self._alive()
        return "https" if self.stream.client.tls else "http"

    @property
    def entry_point(self):
        self._alive()
        return self.plane.entry_point_name(self.stream.client.entry_point)

    @property
    def client_address(self):
        self._alive()
        return head_text(self.stream.client.text, self.stream.client.size)

    @property
    def client_certificates(self):
        self._alive()
        return self.plane.client_certificates(<size_t> self.stream.codec.tls(self.stream))

    @property
    def route(self):
        self._alive()
        return head_text(
            self.stream.table.block + self.stream.route.name.offset, self.stream.route.name.size
        )

    @property
    def backend(self):
        self._alive()
        return head_text(
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
            return head_text(self.head.upgrade_value, self.head.upgrade_size)
        return _header(self.head, name)

    def headers(self, str name):
        wanted = name.lower()
        return [value for key, value in self.items() if key.lower() == wanted]

    def items(self):
        return head_fields(self._live())

    def set_header(self, str name, str value):
        _remove(self._live(), name)
        _add(self.head, self.kept, name, value)

    def add_header(self, str name, str value):
        _add(self._live(), self.kept, name, value)

    def remove_header(self, str name):
        _remove(self._live(), name)

    @property
    def parent_secret(self):
        self._alive()
        if self.stream.engine.shared == NULL:
            raise RuntimeError("digest authentication needs the shared counters")
        return (<const char*> self.stream.engine.shared.base + SECRET_AT)[:SECRET_SIZE]

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
        remember_user(self.stream, self._live(), self.slot, data, len(text))

    def remember_nonce(self, bytes nonce, bytes user, bytes secret, bytes opaque, int64_t issued):
        self._alive()
        self.stream.record.authenticated = 1
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
        free(stream.client.remembered)
        stream.client.remembered = made

    # --- sub-requests ---

    async def fetch(
        self, url, *, method="GET", headers=(), body=b"", timeout=30.0, backend=None,
        limit=1 << 20, tls=None,
    ):
        """A sub-request through the engine's own client side. Raises `errors.BackendError`."""
        cdef SubRequest request = SubRequest()
        cdef Head* head
        self._alive()
        scheme, _, rest = url.partition("://")
        authority, slash, path = rest.partition("/")
        path = "/" + path if slash else "/"
        request.prepare(self, self.stream, limit)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout  # for everything, the name's lookup included
        if backend is not None:
            request.use_backend(self.stream.table, backend)
        else:
            await request.use_url(self.plane, scheme, authority, tls, timeout)
        head = self.head if self.head != NULL else &self.stream.engine.request
        request.send(head, method, path, authority, headers, body)
        return await request.finish(max(deadline - loop.time(), 0.001))


cdef object _header(Head* head, str name):
    cdef bytes wanted = name.lower().encode("latin-1")
    cdef uint32_t i
    for i in range(head.count):
        if not head.fields[i].dropped and head.fields[i].name_size == <uint32_t> len(wanted):
            if head.fields[i].name[:head.fields[i].name_size].lower() == wanted:
                return head_text(head.fields[i].value, head.fields[i].value_size)
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


cdef Exchange exchange_of(Stream* stream):
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
