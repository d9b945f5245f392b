"""The engine of one worker as `fastproxy.processes.worker` sees it.

Idea: everything a request needs is reached from one pointer, `engine.table`. `prepare` maps the next
table and builds the live objects which that generation brings, beside the running one; `activate`
stores the pointer. Streams hold a reference to the table they started on, so the old one is unmapped
when its last exchange has ended.

`generation` is the table, `backends` what outlives it.
"""

import asyncio
import contextlib
import fcntl
import ipaddress
import os
import socket

from fastproxy.names.cname_chains import Chains
from fastproxy.system.complaints import Complaint, Complaints
from fastproxy.system.descriptors import allowed
from fastproxy.engine.operations import writer
from fastproxy.names.resolver import Resolver

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from fastproxy.counters.region cimport region_close, region_open
from fastproxy.counters.layout cimport region_beat
from fastproxy.engine.exchange.cname_chains cimport Aliases
from fastproxy.engine.upstream.backends cimport Backends
from fastproxy.engine.python.bridge cimport bridge_install
from fastproxy.engine.stream.complaint cimport complaints_install, complaints_take
from fastproxy.engine.observe.observe cimport observe_install, observe_remove
from fastproxy.engine.operations.credentials cimport CredentialCache
from fastproxy.engine.client.h1 cimport downstream_close_all, downstream_drain
from fastproxy.engine.generation cimport Generation
from fastproxy.engine.http.head cimport Scratch
from fastproxy.engine.client.h2 cimport http2_install
from fastproxy.engine.client.listener cimport Listener, listener_close, listener_new
from fastproxy.engine.upstream.pool cimport PoolHandle
from fastproxy.engine.loop.posix cimport errno, write
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_ACCEPT, DEADLINE_BODY, DEADLINE_CONNECT, DEADLINE_CONTINUE, DEADLINE_HANDSHAKE,
    DEADLINE_HEAD, DEADLINE_IDLE, DEADLINE_LEFT, DEADLINE_LINGER, DEADLINE_NAME, DEADLINE_POOL,
    DEADLINE_QUESTION, DEADLINE_REQUEST, DEADLINE_RESPONSE, DEADLINE_STALL, DEADLINE_TRY, DEADLINE_TUNNEL,
    DEADLINE_UPGRADE, DEADLINE_UPSTREAM_HANDSHAKE,
    DEADLINE_UPSTREAM_STALL, DEADLINE_WRITE, Reactor, Source, reactor_new, reactor_unhook,
)
from fastproxy.engine.operations.re2 cimport regex_search
from fastproxy.engine.stream.stream cimport Engine, EntryPoint, Stream, Table
from fastproxy.engine.stream.tls_plane cimport TlsPlane, client_certificates
from fastproxy.engine.upstream.h1 cimport upstream_install
from fastproxy.engine.http.h1_parser cimport wire_limit_trailers
from fastproxy.engine.http.fields cimport window_new

cdef extern from "<malloc.h>" nogil:
    int malloc_trim(size_t pad)

cdef enum:
    BODY_BUFFER = 128 * 1024
    OUT_BUFFER = 96 * 1024
    PIPE_SIZE = 256 * 1024
    MANY_GONE = 1000  # connections

cdef double FOREVER = 10 * 365 * 86400.0
cdef double TRY_SECONDS = 2.0
cdef double NAME_SECONDS = 5.0
cdef double LEFT_SECONDS = 3.0
cdef double SWEEP_PAUSE = 0.2  # seconds between two sweeps while endpoints change all the time
cdef double SWEEP_AGAIN = 2.0  # seconds until another, for what an exchange still uses


cdef bytes network_row(str text):
    """16 address bytes and one byte of prefix bits, IPv4 as IPv4-mapped IPv6."""
    network = ipaddress.ip_network(text.strip(), strict=False)
    if network.version == 4:
        return bytes(10) + b"\xff\xff" + network.network_address.packed + bytes([96 + network.prefixlen])
    return network.network_address.packed + bytes([network.prefixlen])


cdef int match_regex(void* context, uint32_t number, const char* subject, size_t size) noexcept nogil:
    """Residual expressions of routes run on RE2; only routes that have one come here."""
    cdef const void* regex = _engine_of_matching.table.conditions[number]
    return regex != NULL and regex_search(regex, subject, size, 0, NULL, 0)


# The matcher's callbacks know the head only; a worker process has one engine.
cdef Engine* _engine_of_matching = NULL


cdef void give_back_memory(Reactor* reactor) noexcept nogil:
    """After many connections have gone: what long-lived blocks pin between freed ones (40 KB for
    each TLS handshake that was under way) stays with malloc unless it is asked to return it."""
    cdef Engine* engine = <Engine*> reactor.context
    cdef Source* source
    cdef uint64_t one = 1
    if engine.complaint_count and engine.complaint_event >= 0:
        write(engine.complaint_event, &one, sizeof(one))
    if engine.connections >= engine.most_connections:
        engine.most_connections = engine.connections
        return
    if engine.most_connections - engine.connections < MANY_GONE:
        return
    engine.most_connections = engine.connections
    while engine.free_downstream != NULL:
        source = engine.free_downstream
        engine.free_downstream = source.next_dead
        free(source)
    while engine.free_upstream != NULL:
        source = engine.free_upstream
        engine.free_upstream = source.next_dead
        free(source)
    malloc_trim(0)


cdef void on_tick(Reactor* reactor) noexcept nogil:
    cdef Engine* engine = <Engine*> reactor.context
    if engine.shared != NULL:
        region_beat(engine.shared)
    give_back_memory(reactor)


cdef class DataPlane:
    cdef Engine* engine
    cdef object loop
    cdef object settings
    cdef object resolver
    cdef object chains  # looks up CNAMEs; None = not wanted
    cdef Aliases aliases
    cdef CredentialCache credentials
    cdef list names  # of the entry points, by index
    cdef list listeners  # addresses
    cdef Backends backends
    cdef Generation current
    cdef Generation next
    cdef list old_generations
    cdef bint closed
    cdef object sweeping  # the timer of a sweep to come
    cdef object sweeping_again
    cdef double swept_at
    cdef object shared_fd
    cdef object complaints
    cdef object telling  # the timer that tells what was counted of them
    cdef TlsPlane tls

    def __cinit__(self, loop, settings, *, worker, shared, observed=None):
        self.complaints = Complaints(loop.time)
        self.telling = None
        self.engine = <Engine*> calloc(1, sizeof(Engine))
        if self.engine == NULL:
            raise MemoryError
        self.loop = loop
        self.settings = settings
        self.listeners = []
        self.old_generations = []
        self.names = sorted(settings.entry_points)
        names = settings.host_resolver
        self.resolver = Resolver(loop, *([names.resolv_conf] if names is not None else []))
        self.chains = None
        if names is not None and names.cname_flattening:
            self.chains = Chains(self.resolver, names.resolv_depth)
            self.aliases = Aliases()
            self.engine.aliases = self.aliases.table
        self.credentials = CredentialCache()
        self.engine.credentials = self.credentials.rows
        self.shared_fd = shared
        self._allocate(worker, shared)
        self._set_limits()
        self._set_entry_points()
        self.tls = TlsPlane(settings)
        self.tls.install(self.engine, self.names)
        self.backends = Backends(self.names, self.tls, self.resolver)
        self.backends.engine = self.engine
        http2_install(self.engine)
        upstream_install()
        bridge_install(self.engine, self)
        complaints_install(self.engine)
        if observed is not None:
            observe_install(self.engine, settings, observed, worker, self.names)
        self.engine.complaint_event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        loop.add_reader(self.engine.complaint_event, self._hear)

    cdef int _allocate(self, int worker, int shared) except -1:
        global _engine_of_matching
        cdef Engine* engine = self.engine
        cdef bytes name = socket.gethostname().encode()[:255]
        cdef const char* text = name
        engine.reactor = reactor_new(self.loop)
        engine.reactor.context = engine
        engine.reactor.on_tick = on_tick
        # Whatever was read beyond a body becomes the window of the next head: never less room.
        engine.window = window_new(BODY_BUFFER, 1024)
        engine.body = <char*> malloc(BODY_BUFFER)
        engine.body_size = BODY_BUFFER
        engine.out = <char*> malloc(OUT_BUFFER)
        engine.out_size = OUT_BUFFER
        engine.pipe_read, engine.pipe_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.fcntl(engine.pipe_write, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        engine.scratch = <Scratch*> calloc(1, sizeof(Scratch))
        if engine.window == NULL or engine.body == NULL or engine.out == NULL or engine.scratch == NULL:
            raise MemoryError
        memcpy(engine.server, text, len(name))
        engine.server_size = len(name)
        engine.match_regex = match_regex
        engine.plane = <void*> self
        if shared >= 0:
            engine.shared = region_open(shared, worker)
            if engine.shared == NULL:
                raise OSError("cannot map the shared counters")
        _engine_of_matching = engine
        return 0

    cdef int _set_limits(self) except -1:
        cdef Engine* engine = self.engine
        cdef Reactor* reactor = engine.reactor
        limits = self.settings.limits
        engine.request_line = limits.request_line
        engine.header_block = limits.header_block
        engine.header_lines = limits.header_lines
        engine.response_block = limits.upstream_head_block
        engine.high_water = limits.buffer
        engine.unread_body = limits.unread_body
        engine.max_body = limits.request_body
        wire_limit_trailers(limits.trailer_block, limits.trailer_lines)
        found = allowed(limits.max_connections, len(self.names))
        engine.max_connections = found.clients
        engine.most_sockets = found.most
        engine.requests_per_connection = limits.requests_per_connection
        # 0 is Go's library default of 2 (provider.md 2.1)
        engine.max_idle = self.settings.max_idle_conns_per_host or 2
        responding = self.settings.responding_timeouts
        forwarding = self.settings.forwarding_timeouts
        for kind, seconds in (
            # Without a limit they still stand in their lists: the oldest gives way to new ones.
            (DEADLINE_HEAD, limits.head_timeout or FOREVER),
            (DEADLINE_IDLE, responding.idle_timeout or FOREVER),
            (DEADLINE_BODY, limits.body_timeout),
            (DEADLINE_REQUEST, responding.read_timeout),
            (DEADLINE_WRITE, responding.write_timeout),
            (DEADLINE_STALL, limits.body_timeout),
            (DEADLINE_LEFT, LEFT_SECONDS),
            (DEADLINE_LINGER, 2.0),
            (DEADLINE_HANDSHAKE, limits.tls_handshake_timeout or FOREVER),
            (DEADLINE_CONNECT, forwarding.dial_timeout),
            # where another address is left; Go does not wait less either
            (DEADLINE_TRY, min(forwarding.dial_timeout or TRY_SECONDS, TRY_SECONDS)),
            (DEADLINE_NAME, NAME_SECONDS),
            (DEADLINE_UPSTREAM_HANDSHAKE, limits.upstream_tls_handshake_timeout),
            (DEADLINE_RESPONSE, forwarding.response_header_timeout),
            (DEADLINE_UPGRADE, min(filter(None, (
                forwarding.response_header_timeout, limits.websocket_handshake_timeout,
            )), default=0.0)),
            (DEADLINE_UPSTREAM_STALL, limits.body_timeout),
            (DEADLINE_POOL, limits.upstream_idle_timeout or FOREVER),
            (DEADLINE_CONTINUE, limits.continue_timeout),
            (DEADLINE_TUNNEL, 0.0),
            (DEADLINE_QUESTION, writer.QUESTION_SECONDS),
            (DEADLINE_ACCEPT, 0.1),
        ):
            reactor.deadlines[<int> kind].duration = int(seconds * 1000)
        return 0

    cdef int _set_entry_points(self) except -1:
        cdef Engine* engine = self.engine
        cdef EntryPoint* row
        cdef int index
        if len(self.names) > 64:
            raise ValueError("at most 64 entry points are supported")
        cdef bytes prefix
        ping = self.settings.ping.entry_point if self.settings.ping is not None else "traefik"
        prefix = self.settings.ping.prefix.encode() if self.settings.ping is not None else b""
        engine.entry_point_count = len(self.names)
        for index, name in enumerate(self.names):
            value = self.settings.entry_points[name]
            row = &engine.entry_points[index]
            row.port = value.port
            row.ping = name == ping
            row.own_prefix = self._copied(prefix)
            row.own_prefix_size = <uint32_t> len(prefix)
            row.trust_all = value.forwarded_headers.insecure
            row.trusted = self._rows(value.forwarded_headers.trusted_ips, &row.trusted_count)
            if value.proxy_protocol is not None:
                row.proxy_protocol = 2 if value.proxy_protocol.insecure else 1
                row.proxy_trusted = self._rows(
                    value.proxy_protocol.trusted_ips, &row.proxy_trusted_count
                )
        return 0

    cdef uint8_t* _rows(self, texts, uint32_t* count) except? NULL:
        count[0] = len(texts)
        return <uint8_t*> self._copied(b"".join([network_row(text) for text in texts]))

    cdef char* _copied(self, bytes text) except? NULL:
        """A copy that lives as long as the engine; NULL of nothing."""
        cdef const char* data = text
        cdef char* copy
        if not text:
            return NULL
        copy = <char*> malloc(len(text))
        if copy == NULL:
            raise MemoryError
        memcpy(copy, data, len(text))
        return copy

    # --- listening ---

    def listen(self, int descriptor, uint32_t entry_point):
        """Accept from a listening socket owned by the parent."""
        cdef Listener* listener = listener_new(self.engine, descriptor, entry_point)
        if listener == NULL:
            raise OSError(errno, f"cannot accept on {self.names[entry_point]}: {os.strerror(errno)}")
        self.listeners.append(<size_t> listener)

    def stop_accepting(self):
        for address in self.listeners:
            listener_close(<Listener*> <size_t> address)
        self.listeners = []

    # --- generations ---

    def prepare(self, int generation, int block, change):
        """Map the compiled table and build what changed, beside the running one."""
        cdef Generation staged
        self._sweep()
        self._discard()
        staged = Generation(generation, block)
        try:
            self._stage(staged, change)
            self.tls.prepare(change)
        except BaseException:
            self.backends.let_go(staged.created)
            staged.leave_servers(self.backends)
            self._sweep()
            raise
        self.next = staged

    cdef int _stage(self, Generation staged, change) except -1:
        staged.take_filters(self.current, change)
        staged.take_servers(self.backends)
        staged.take_backends(self.current, change)
        for slot, specification in change.backends.items():
            staged.place_backend(slot, self.backends.make(specification))
        staged.enliven()
        return 0

    def activate(self, int generation):
        """Send new requests through a prepared table; those under way keep theirs."""
        cdef Generation staged = self.next
        cdef Generation old = self.current
        if staged is None or staged.number != generation:
            raise ValueError(f"generation {generation} was not prepared")
        self.next = None
        staged.table.references += 1
        self.engine.table = staged.table
        self.tls.activate()
        self.current = staged
        self.backends.let_go(staged.replaced)
        staged.created = []
        staged.replaced = []
        if old is not None:
            old.table.references -= 1
            self.old_generations.append(old)
        self._sweep()

    def discard(self, int generation):
        self._discard()

    cdef int _discard(self) except -1:
        if self.next is not None:
            self.backends.let_go(self.next.created)
            self.next.leave_servers(self.backends)
            self.next = None
            self.tls.discard()
            self._sweep()
        return 0

    def set_endpoints(self, uint32_t slot, endpoints):
        """Replace one backend's endpoints in place; surviving endpoints keep their connections."""
        cdef Table* table
        if self.current is None:
            return
        table = self.current.table
        if slot < table.backend_count and table.backends[slot] != NULL:
            self.backends.fill(table.backends[slot], endpoints)
            self.current.enliven_slot(slot)
            if self.next is not None:
                self.next.enliven_slot(slot)
            self._sweep_soon()

    cdef int _sweep_soon(self) except -1:
        """Sweep now, or with others in a storm."""
        if self.sweeping is not None:
            return 0
        if self.loop.time() - self.swept_at >= SWEEP_PAUSE:
            return self._sweep()
        self.sweeping = self.loop.call_later(SWEEP_PAUSE, self._sweep_due)
        return 0

    def _sweep_due(self):
        self.sweeping = None
        if not self.closed:
            self._sweep()

    def _sweep_again(self):
        self.sweeping_again = None
        if not self.closed:
            self._sweep()

    cdef int _sweep(self) except -1:
        """Free what nothing uses any more."""
        cdef Generation generation
        self.swept_at = self.loop.time()
        kept = []
        for generation in self.old_generations:
            if generation.in_use():
                kept.append(generation)
            else:
                generation.leave_servers(self.backends)
        self.old_generations = kept
        again = self.backends.sweep()
        if self.sweeping_again is None and (again or self.old_generations):
            self.sweeping_again = self.loop.call_later(SWEEP_AGAIN, self._sweep_again)
        return 0

    # --- names ---

    def find_alias(self, str name):
        """What waits for the end of a host's CNAME chain; None: no lookup is possible now."""
        return self._alias(name) if self.chains.may_ask(name) else None

    async def _alias(self, str name):
        alias, seconds = await self.chains.end(name)
        found = b"" if alias == name else alias.encode("latin-1")
        now = self.engine.reactor.now_ns
        until = now + <int64_t> (seconds * 1e9)
        self.aliases.put(name.encode("latin-1"), found, now, until)
        return found

    # --- what filters ask for (python/exchange.pyx, python/sub_request.pyx) ---

    @property
    def event_loop(self):
        return self.loop

    def entry_point_name(self, uint32_t index):
        return self.names[index]

    def client_certificates(self, size_t ssl):
        """DER certificates which the client of a TLS connection presented."""
        return client_certificates(<void*> ssl)

    def pool_of(self, endpoint, tls):
        """The pool of a URL that Python wants to talk to."""
        return self.backends.pool(endpoint, tls)

    async def resolved(self, PoolHandle handle, timeout):
        """Wait until the pool's name was looked up, at most as long as the requests of clients do;
        False when it has no address then."""
        if not handle.pool.resolved:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(timeout, NAME_SECONDS)):
                    await handle.looked_up(self.loop)
        return handle.pool.address_count > 0

    def take_pool(self, PoolHandle handle, size_t stream):
        handle.pool.references += 1
        (<Stream*> stream).pool = handle.pool

    def set_ticket_keys(self, keys):
        """Replace the keys of TLS session tickets (`engine.tls_server.ServerContext`)."""
        self.tls.set_ticket_keys(keys)

    # --- complaints ---

    def _hear(self):
        """Take over what the engine has counted."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.engine.complaint_event)
        self.complaints.hear(
            [(Complaint(*row), count) for row, count in complaints_take(self.engine)]
        )
        self._tell_later()

    def _tell(self):
        self.complaints.tell()
        self._tell_later()

    def _tell_later(self):
        if self.telling is not None:
            self.telling.cancel()
        due = self.complaints.due
        self.telling = None if due is None else self.loop.call_at(due, self._tell)

    # --- life cycle ---

    def answer_ping(self, bint healthy, bint ready):
        self.engine.healthy = healthy
        self.engine.ready = ready

    def drain(self):
        """Close idle keep-alive connections, send `Connection: close` on the rest."""
        downstream_drain(self.engine)
        self.backends.drain()

    @property
    def active(self):
        return self.engine.connections

    def statistics(self):
        counters = self.engine.counters
        return {
            "connections": self.engine.connections,
            "accepted": counters.accepted,
            "begun": counters.begun,
            "ended": counters.ended,
            "requests": counters.requests,
            "replies": counters.replies,
            "upstream_connects": counters.upstream_connects,
            "upstream_failures": counters.upstream_failures,
            "retries": counters.retries,
            "pools": len(self.backends),
            "generations": len(self.old_generations) + (self.current is not None),
        }

    async def close(self):
        """Close every connection and leave the loop; the loop may be closed afterwards."""
        if self.closed:
            return
        self._hear()
        self.complaints.end()
        self.loop.remove_reader(self.engine.complaint_event)
        os.close(self.engine.complaint_event)
        self.engine.complaint_event = -1
        for timer in (self.sweeping, self.sweeping_again, self.telling):
            if timer is not None:
                timer.cancel()
        self.closed = True
        self.stop_accepting()
        downstream_close_all(self.engine)
        self.backends.close()
        if self.chains is not None:
            self.chains.close()
        self.resolver.close()
        reactor_unhook(self.engine.reactor, self.loop)
        if self.engine.pipe_read >= 0:
            os.close(self.engine.pipe_read)
            os.close(self.engine.pipe_write)
        self.engine.pipe_read = self.engine.pipe_write = -1
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def __dealloc__(self):
        # A worker process has one data plane and ends with it: its buffers go with the process.
        # Closing must have happened, because the loop holds our handle until then.
        if self.engine != NULL and self.closed and self.engine.shared != NULL:
            observe_remove(self.engine)
            region_close(self.engine.shared)
            self.engine.shared = NULL
