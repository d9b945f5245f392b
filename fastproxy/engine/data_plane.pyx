"""The engine of one worker as `fastproxy.worker` sees it.

Idea: everything a request needs is reached from one pointer, `engine.table`. `prepare` maps the next
table and builds the live objects which that generation brings, beside the running one; `activate`
stores the pointer. Streams hold a reference to the table they started on, so the old one is unmapped
when its last exchange has ended.

Live backends, their balancers and the connection pools outlive generations: a slot which a
generation does not mention keeps its object. Pools belong to an endpoint's URL and are shared by all
backends that name it.
"""

import asyncio
import contextlib
import fcntl
import ipaddress
import os
import socket

from fastproxy import _core
from fastproxy._block cimport BLOCK_VERSION, ROUTE_NOT_FOUND, BlockHeader, RouteRecord, Span
from fastproxy.aliases import Chains
from fastproxy.resolver import Resolver

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from fastproxy._core cimport balancer_free, balancer_new, balancer_update, core_check
from fastproxy._shared cimport region_close, region_open
from fastproxy._shared_quality cimport quality_reset
from fastproxy.engine.aliases cimport Aliases
from fastproxy.engine.downstream cimport downstream_close_all, downstream_drain
from fastproxy.engine.exchange cimport exchange_install
from fastproxy.engine.head cimport Scratch
from fastproxy.engine.listener cimport Listener, listener_close, listener_new
from fastproxy.engine.posix cimport (
    AF_INET, AF_INET6, MAP_FAILED, MAP_SHARED, PROT_READ, errno, fstat, htons, inet_pton, mmap,
    munmap, posix_memalign, sockaddr_in, sockaddr_in6, stat_result,
)
from fastproxy.engine.reactor cimport (
    DEADLINE_ACCEPT, DEADLINE_BODY, DEADLINE_CONNECT, DEADLINE_CONTINUE, DEADLINE_HANDSHAKE,
    DEADLINE_HEAD, DEADLINE_IDLE, DEADLINE_LINGER, DEADLINE_NAME, DEADLINE_POOL, DEADLINE_REQUEST,
    DEADLINE_RESPONSE, DEADLINE_STALL, DEADLINE_TRY, DEADLINE_TUNNEL, DEADLINE_UPSTREAM_HANDSHAKE,
    DEADLINE_UPSTREAM_STALL, DEADLINE_WRITE, Reactor, Source, reactor_new, reactor_unhook,
)
from fastproxy.engine.regex cimport Regex, regex_search
from fastproxy.engine.stream cimport (
    MAX_ADDRESSES, NO_SLOT, ROUTE_DIRECT, ROUTE_REQUEST_STEPS, Engine, EntryPoint, LiveBackend,
    LiveEndpoint, LiveRoute, Pool, Stream, Table, route_flags,
)
from fastproxy.engine.tls_client cimport ClientContext
from fastproxy.engine.tls_plane cimport TlsPlane, client_certificates
from fastproxy.engine.upstream cimport pool_close_idle, pool_free, pool_resolved
from fastproxy.engine.wire cimport window_new, wire_limit_trailers

cdef extern from "<malloc.h>" nogil:
    int malloc_trim(size_t pad)

cdef enum:
    SHARED = 0xFFFFFFFE  # a backend's slot that several routes name
    BODY_BUFFER = 128 * 1024
    OUT_BUFFER = 96 * 1024
    PIPE_SIZE = 256 * 1024
    MANY_GONE = 1000  # connections
    DEFAULT_PORT_HTTP = 80
    DEFAULT_PORT_HTTPS = 443

cdef double TRY_SECONDS = 2.0
cdef double NAME_SECONDS = 5.0
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


cdef class PoolHandle:
    """Keeps one pool; `pool.references` counts who uses it."""

    cdef Pool* pool
    cdef readonly str url
    cdef readonly str host
    cdef readonly int port
    cdef object watch
    cdef ClientContext tls

    cdef void use_tls(self, ClientContext context):
        self.tls = context
        self.pool.tls_client = &context.client

    def __cinit__(self, endpoint):
        cdef bytes url = endpoint.url.encode()
        cdef bytes name = endpoint.host.encode()
        cdef bytes shown = url.split(b"://", 1)[1]
        cdef const char* data = url
        self.pool = <Pool*> calloc(1, sizeof(Pool))
        if self.pool == NULL:
            raise MemoryError
        self.url = endpoint.url
        self.host = endpoint.host
        self.port = endpoint.port
        self.pool.tls = endpoint.scheme == "https"
        self.pool.url = <char*> malloc(len(url) + 1)
        memcpy(self.pool.url, data, len(url))
        self.pool.url_size = len(url)
        default = DEFAULT_PORT_HTTPS if endpoint.scheme == "https" else DEFAULT_PORT_HTTP
        if endpoint.port == default:
            shown = shown.rsplit(b":", 1)[0]
        self.pool.host = self.pool.url + len(url) - len(url.split(b"://", 1)[1])
        self.pool.host_size = len(shown)
        data = name
        self.pool.name = <char*> malloc(len(name) + 1)
        memcpy(self.pool.name, data, len(name))
        self.pool.name_size = len(name)

    def set_addresses(self, addresses):
        """Replace the addresses (text) that the name stands for; requests may wait for them."""
        cdef sockaddr_in* four
        cdef sockaddr_in6* six
        cdef bytes text
        cdef uint32_t count = 0
        for address in addresses:
            if count == MAX_ADDRESSES:
                break
            text = address.encode()
            memset(&self.pool.addresses[count], 0, sizeof(self.pool.addresses[count]))
            if b":" in text:
                six = <sockaddr_in6*> &self.pool.addresses[count]
                six.sin6_family = AF_INET6
                six.sin6_port = htons(<uint16_t> self.port)
                if inet_pton(AF_INET6, text.split(b"%")[0], &six.sin6_addr) != 1:
                    continue
                self.pool.address_sizes[count] = sizeof(sockaddr_in6)
            else:
                four = <sockaddr_in*> &self.pool.addresses[count]
                four.sin_family = AF_INET
                four.sin_port = htons(<uint16_t> self.port)
                if inet_pton(AF_INET, text, &four.sin_addr) != 1:
                    continue
                self.pool.address_sizes[count] = sizeof(sockaddr_in)
            count += 1
        self.pool.address_count = count
        self.pool.preferred = 0
        pool_resolved(self.pool)

    def close(self):
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None
        if self.pool != NULL:
            self.pool.retired = 1
            pool_close_idle(self.pool)

    @property
    def unused(self):
        return self.pool == NULL or self.pool.references == 0

    @property
    def closed(self):
        return self.pool == NULL or self.pool.connections == 0

    def __dealloc__(self):
        if self.pool != NULL and self.pool.connections == 0:
            pool_free(self.pool)


cdef class Generation:
    """One mapped table with what it keeps alive."""

    cdef Table* table
    cdef readonly int number
    cdef readonly dict filters  # slot -> live filter
    cdef readonly dict regexes  # pattern -> Regex, or None for one that RE2 refuses
    cdef list created  # addresses of the live backends built for it
    cdef list replaced  # addresses of those it does away with

    def __cinit__(self):
        self.regexes = {}
        self.table = <Table*> calloc(1, sizeof(Table))
        if self.table == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.table != NULL:
            if self.table.block != NULL:
                munmap(<void*> self.table.block, self.table.size)
            free(self.table.backends)
            free(self.table.live)
            free(self.table.route_of_slot)
            free(self.table.filters)
            free(self.table.expressions)
            free(self.table.conditions)
            free(self.table)


cdef class DataPlane:
    cdef Engine* engine
    cdef object loop
    cdef object settings
    cdef object resolver
    cdef object chains  # looks up CNAMEs; None = not wanted
    cdef Aliases aliases
    cdef list names  # of the entry points, by index
    cdef list listeners  # addresses
    cdef dict pools  # (url, see _pool) -> PoolHandle
    cdef set unsure  # keys of pools that may have become unused
    cdef list old_pools
    cdef Generation current
    cdef Generation next
    cdef list old_generations
    cdef list old_backends  # addresses of live backends without a slot
    cdef bint closed
    cdef object sweeping  # the timer of a sweep to come
    cdef object sweeping_again
    cdef double swept_at
    cdef object shared_fd
    cdef TlsPlane tls

    def __cinit__(self, loop, settings, *, worker, shared):
        self.engine = <Engine*> calloc(1, sizeof(Engine))
        if self.engine == NULL:
            raise MemoryError
        self.loop = loop
        self.settings = settings
        self.listeners = []
        self.pools = {}
        self.unsure = set()
        self.old_pools = []
        self.old_generations = []
        self.old_backends = []
        self.names = sorted(settings.entry_points)
        names = settings.host_resolver
        self.resolver = Resolver(loop, *([names.resolv_conf] if names is not None else []))
        self.chains = None
        if names is not None and names.cname_flattening:
            self.chains = Chains(self.resolver, names.resolv_depth)
            self.aliases = Aliases()
            self.engine.aliases = self.aliases.table
        self.shared_fd = shared
        self._allocate(worker, shared)
        self._set_limits()
        self._set_entry_points()
        self.tls = TlsPlane(settings)
        self.tls.install(self.engine, self.names)
        exchange_install(self.engine, self)

    cdef int _allocate(self, int worker, int shared) except -1:
        global _engine_of_matching
        cdef Engine* engine = self.engine
        cdef bytes name = socket.gethostname().encode()[:255]
        cdef const char* text = name
        engine.reactor = reactor_new(self.loop)
        engine.reactor.context = engine
        engine.reactor.on_tick = give_back_memory
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
        engine.max_connections = limits.max_connections
        engine.requests_per_connection = limits.requests_per_connection
        # 0 is Go's library default of 2 (provider.md 2.1)
        engine.max_idle = self.settings.max_idle_conns_per_host or 2
        responding = self.settings.responding_timeouts
        forwarding = self.settings.forwarding_timeouts
        for kind, seconds in (
            (DEADLINE_HEAD, limits.head_timeout),
            (DEADLINE_IDLE, responding.idle_timeout),
            (DEADLINE_BODY, limits.body_timeout),
            (DEADLINE_REQUEST, responding.read_timeout),
            (DEADLINE_WRITE, responding.write_timeout),
            (DEADLINE_STALL, limits.body_timeout),
            (DEADLINE_LINGER, 2.0),
            (DEADLINE_HANDSHAKE, limits.tls_handshake_timeout),
            (DEADLINE_CONNECT, forwarding.dial_timeout),
            # where another address is left; Go does not wait less either
            (DEADLINE_TRY, min(forwarding.dial_timeout or TRY_SECONDS, TRY_SECONDS)),
            (DEADLINE_NAME, NAME_SECONDS),
            (DEADLINE_UPSTREAM_HANDSHAKE, limits.upstream_tls_handshake_timeout),
            (DEADLINE_RESPONSE, forwarding.response_header_timeout),
            (DEADLINE_UPSTREAM_STALL, limits.body_timeout),
            (DEADLINE_POOL, limits.upstream_idle_timeout),
            (DEADLINE_CONTINUE, limits.continue_timeout),
            (DEADLINE_TUNNEL, 0.0),
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
        ping = self.settings.ping.entry_point if self.settings.ping is not None else "traefik"
        engine.entry_point_count = len(self.names)
        for index, name in enumerate(self.names):
            value = self.settings.entry_points[name]
            row = &engine.entry_points[index]
            row.port = value.port
            row.ping = name == ping
            row.trust_all = value.forwarded_headers.insecure
            row.trusted = self._rows(value.forwarded_headers.trusted_ips, &row.trusted_count)
            if value.proxy_protocol is not None:
                row.proxy_protocol = 2 if value.proxy_protocol.insecure else 1
                row.proxy_trusted = self._rows(
                    value.proxy_protocol.trusted_ips, &row.proxy_trusted_count
                )
        return 0

    cdef uint8_t* _rows(self, texts, uint32_t* count) except? NULL:
        cdef bytes rows = b"".join([network_row(text) for text in texts])
        cdef const char* data = rows
        cdef uint8_t* copy
        count[0] = len(texts)
        if not rows:
            return NULL
        copy = <uint8_t*> malloc(len(rows))
        if copy == NULL:
            raise MemoryError
        memcpy(copy, data, len(rows))
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
        cdef Generation staged = Generation()
        staged.number = generation
        self._sweep()
        self._discard()
        _map_block(staged.table, block)
        staged.created = []
        staged.replaced = []
        try:
            self._stage(staged, change)
            self.tls.prepare(change)
        except BaseException:
            self._free_created(staged)
            raise
        self.next = staged

    cdef int _stage(self, Generation staged, change) except -1:
        cdef Table* table = staged.table
        cdef Table* old = self.current.table if self.current is not None else NULL
        cdef uint32_t slot, index
        cdef LiveBackend* live
        section = (<const char*> table.matcher)[:table.header.matcher_size]
        self._stage_conditions(staged, _core.section_regexes(section))
        staged.filters = dict(self.current.filters) if self.current is not None else {}
        for slot in change.removed_filters:
            staged.filters.pop(slot, None)
        staged.filters.update(change.filters)
        table.filter_count = max(staged.filters, default=-1) + 1
        table.filters = <void**> calloc(table.filter_count + 1, sizeof(void*))
        table.expressions = <void**> calloc(table.filter_count + 1, sizeof(void*))
        if table.filters == NULL or table.expressions == NULL:
            raise MemoryError
        for slot, value in staged.filters.items():
            table.filters[slot] = <void*> value
            if isinstance(value, Regex):
                table.expressions[slot] = (<Regex> value).compiled
        table.backend_count = max(
            old.backend_count if old != NULL else 0, max(change.backends, default=-1) + 1
        )
        table.backends = <LiveBackend**> calloc(table.backend_count + 1, sizeof(LiveBackend*))
        if table.backends == NULL:
            raise MemoryError
        if old != NULL:
            memcpy(table.backends, old.backends, old.backend_count * sizeof(LiveBackend*))
        for slot in change.removed_backends:
            if slot < table.backend_count and table.backends[slot] != NULL:
                staged.replaced.append(<size_t> table.backends[slot])
                table.backends[slot] = NULL
        for slot, specification in change.backends.items():
            live = self._new_backend(specification)
            staged.created.append(<size_t> live)
            if table.backends[slot] != NULL:
                staged.replaced.append(<size_t> table.backends[slot])
            table.backends[slot] = live
        table.live = <LiveRoute*> calloc(table.header.route_count + 1, sizeof(LiveRoute))
        table.route_of_slot = <uint32_t*> malloc((table.backend_count + 1) * sizeof(uint32_t))
        if table.live == NULL or table.route_of_slot == NULL:
            raise MemoryError
        memset(table.route_of_slot, 0xFF, (table.backend_count + 1) * sizeof(uint32_t))
        for index in range(table.header.route_count):
            slot = table.routes[index].backend_slot
            if slot < table.backend_count:
                table.route_of_slot[slot] = index if table.route_of_slot[slot] == NO_SLOT else SHARED
        for index in range(table.header.route_count):
            _enliven(table, index)
        return 0

    cdef int _stage_conditions(self, Generation staged, patterns) except -1:
        """The expressions the matcher asks for, by number; those of the running table are kept."""
        cdef Table* table = staged.table
        cdef uint32_t number
        known = self.current.regexes if self.current is not None else {}
        table.conditions = <void**> calloc(len(patterns) + 1, sizeof(void*))
        if table.conditions == NULL:
            raise MemoryError
        for number, pattern in enumerate(patterns):
            if pattern not in staged.regexes:
                staged.regexes[pattern] = known[pattern] if pattern in known else _regex(pattern)
            regex = staged.regexes[pattern]
            if regex is not None:
                table.conditions[number] = (<Regex> regex).compiled
        return 0

    def activate(self, int generation):
        cdef Generation staged = self.next
        cdef Generation old = self.current
        if staged is None or staged.number != generation:
            raise ValueError(f"generation {generation} was not prepared")
        self.next = None
        staged.table.references += 1
        self.engine.table = staged.table
        self.tls.activate()
        self.current = staged
        self.old_backends.extend(staged.replaced)
        for address in staged.replaced:
            (<LiveBackend*> <size_t> address).references -= 1
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
            self._free_created(self.next)
            self.next = None
            self.tls.discard()
        return 0

    cdef int _free_created(self, Generation staged) except -1:
        for address in staged.created:
            (<LiveBackend*> <size_t> address).references -= 1
            self.old_backends.append(address)
        staged.created = []
        self._sweep()
        return 0

    # --- backends ---

    cdef LiveBackend* _new_backend(self, specification) except NULL:
        cdef LiveBackend* live = NULL
        if posix_memalign(<void**> &live, 64, sizeof(LiveBackend)) != 0:
            raise MemoryError
        memset(live, 0, sizeof(LiveBackend))
        live.references = 1
        live.dynamic = specification.method == "drr"
        live.statistics_slot = specification.statistics_slot
        try:
            if specification.certificate_of:
                live.certificate_of = self.names.index(specification.certificate_of) + 1
            self._fill_backend(live, specification.endpoints)
        except BaseException:
            self._free_backend(live)
            raise
        return live

    cdef int _fill_backend(self, LiveBackend* live, endpoints) except -1:
        """(Re)place the endpoints; the balancer starts anew, pools of survivors stay."""
        cdef uint32_t count = len(endpoints), index
        cdef int64_t* weights = <int64_t*> calloc(count + 1, sizeof(int64_t))
        cdef int64_t* current = <int64_t*> calloc(count + 1, sizeof(int64_t))
        cdef PoolHandle handle
        cdef LiveEndpoint* rows = <LiveEndpoint*> calloc(count + 1, sizeof(LiveEndpoint))
        if weights == NULL or current == NULL or rows == NULL:
            raise MemoryError
        shown = self.names[live.certificate_of - 1] if live.certificate_of else ""
        for index, endpoint in enumerate(endpoints):
            handle = self._pool(endpoint, shown)
            handle.pool.references += 1
            handle.pool.endpoints += 1
            rows[index].pool = handle.pool
            rows[index].weight = endpoint.weight
            weights[index] = endpoint.weight
            current[index] = endpoint.weight
        self._leave_pools(live)
        free(live.endpoints)
        free(live.original)
        free(live.weights)
        live.endpoints = rows
        live.original = weights
        live.weights = current
        live.count = count
        live.only = rows[0].pool if count == 1 and rows[0].weight > 0 else NULL
        live.version += 1
        if live.balancer == NULL:
            live.balancer = balancer_new(count, weights)
            if live.balancer == NULL:
                raise MemoryError
        elif balancer_update(live.balancer, count, weights) < 0:
            raise MemoryError
        if live.dynamic and self.engine.shared != NULL:
            fingerprint = 0
            for endpoint in endpoints:
                fingerprint = (fingerprint * 1000003 ^ _stable_hash(endpoint)) & 0xFFFFFFFFFFFFFFFF
            quality_reset(self.engine.shared, live.statistics_slot, fingerprint)
        return 0

    cdef int _free_backend(self, LiveBackend* live) except -1:
        self._leave_pools(live)
        if live.balancer != NULL:
            balancer_free(live.balancer)
        free(live.endpoints)
        free(live.original)
        free(live.weights)
        free(live)
        return 0

    cdef int _leave_pools(self, LiveBackend* live) except -1:
        """Give up the pools of a backend's endpoints."""
        cdef uint32_t index
        cdef Pool* pool
        shown = self.names[live.certificate_of - 1] if live.certificate_of else ""
        for index in range(live.count):
            pool = live.endpoints[index].pool
            pool.references -= 1
            pool.endpoints -= 1
            if pool.endpoints == 0:
                self.unsure.add((pool.url[:pool.url_size].decode(), shown if pool.tls else ""))
        return 0

    cdef PoolHandle _pool(self, endpoint, tls):
        """`tls` says who we are and whom we trust (see TlsPlane.client): connections that differ
        in it are not shared."""
        cdef PoolHandle handle
        key = (endpoint.url, tls if endpoint.scheme == "https" else "")
        handle = self.pools.get(key)
        if handle is None:
            handle = PoolHandle(endpoint)
            if handle.pool.tls:
                handle.use_tls(self.tls.client(tls))
            self.pools[key] = handle
            self.unsure.add(key)
            self._watch_name(handle)
        return handle

    def _watch_name(self, PoolHandle handle):
        try:
            ipaddress.ip_address(handle.host)
        except ValueError:
            handle.watch = self.resolver.watch(handle.host, handle.set_addresses)
        else:
            handle.set_addresses([handle.host])

    def set_endpoints(self, uint32_t slot, endpoints):
        """Replace one backend's endpoints in place; surviving endpoints keep their connections."""
        cdef Table* table
        if self.current is None:
            return
        table = self.current.table
        if slot < table.backend_count and table.backends[slot] != NULL:
            self._fill_backend(table.backends[slot], endpoints)
            _enliven_slot(table, slot)
            if self.next is not None and slot < self.next.table.backend_count:
                _enliven_slot(self.next.table, slot)
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
        self.swept_at = self.loop.time()
        cdef LiveBackend* live
        cdef Generation generation
        cdef PoolHandle handle
        kept = []
        for address in self.old_backends:
            live = <LiveBackend*> <size_t> address
            if live.references == 0:
                self._free_backend(live)
            else:
                kept.append(address)
        self.old_backends = kept
        self.old_generations = [
            generation for generation in self.old_generations if _in_use(generation)
        ]
        # Only pools that lost an endpoint, or never had one: not those of all 20,000 endpoints.
        unsure, self.unsure = self.unsure, set()
        for key in unsure:
            handle = self.pools.get(key)
            if handle is None or handle.pool.endpoints:
                continue
            if handle.pool.references:
                self.unsure.add(key)  # a stream still uses it
                continue
            del self.pools[key]
            handle.close()
            self.old_pools.append(handle)
        self.old_pools = [handle for handle in self.old_pools if not (handle.closed and handle.unused)]
        if self.sweeping_again is None and (self.old_backends or self.old_generations or self.unsure):
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

    # --- what filters ask for (exchange.pyx) ---

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
        return self._pool(endpoint, tls)

    async def resolved(self, PoolHandle handle, timeout):
        """Wait until the pool's name has an address; False when it has none in time."""
        deadline = self.loop.time() + timeout
        while handle.pool.address_count == 0:
            if self.loop.time() >= deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    def take_pool(self, PoolHandle handle, size_t stream):
        handle.pool.references += 1
        (<Stream*> stream).pool = handle.pool

    def set_ticket_keys(self, keys):
        """Replace the keys of TLS session tickets (`engine.tls_server.ServerContext`)."""
        self.tls.set_ticket_keys(keys)

    # --- life cycle ---

    def answer_ping(self, bint healthy, bint ready):
        self.engine.healthy = healthy
        self.engine.ready = ready

    def drain(self):
        """Close idle keep-alive connections, send `Connection: close` on the rest."""
        downstream_drain(self.engine)
        for handle in self.pools.values():
            pool_close_idle((<PoolHandle> handle).pool)

    @property
    def active(self):
        return self.engine.connections

    def statistics(self):
        counters = self.engine.counters
        return {
            "connections": self.engine.connections,
            "accepted": counters.accepted,
            "requests": counters.requests,
            "replies": counters.replies,
            "upstream_connects": counters.upstream_connects,
            "upstream_failures": counters.upstream_failures,
            "retries": counters.retries,
            "pools": len(self.pools),
            "generations": len(self.old_generations) + (self.current is not None),
        }

    async def close(self):
        """Close every connection and leave the loop; the loop may be closed afterwards."""
        cdef PoolHandle handle
        if self.closed:
            return
        for timer in (self.sweeping, self.sweeping_again):
            if timer is not None:
                timer.cancel()
        self.closed = True
        self.stop_accepting()
        downstream_close_all(self.engine)
        for handle in [*self.pools.values(), *self.old_pools]:
            handle.close()
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
            region_close(self.engine.shared)
            self.engine.shared = NULL


cdef object _regex(str pattern):
    try:
        return Regex(pattern.encode("utf-8", "surrogateescape"))
    except ValueError:
        return None


cdef bint _in_use(Generation generation):
    return generation.table.references != 0


cdef void _enliven(Table* table, uint32_t index) noexcept nogil:
    """Work out what requests of a route need to know, from its record and its backend's endpoints."""
    cdef const RouteRecord* record = &table.routes[index]
    cdef LiveRoute* live = &table.live[index]
    cdef uint32_t slot = record.backend_slot
    cdef LiveBackend* backend = table.backends[slot] if slot < table.backend_count else NULL
    live.flags = route_flags(record)
    live.target = backend
    if backend == NULL or backend.only == NULL or backend.dynamic or table.route_of_slot[slot] != index:
        return
    if not live.flags & (ROUTE_REQUEST_STEPS | ROUTE_NOT_FOUND) and record.retry_attempts <= 1:
        live.flags |= ROUTE_DIRECT
        live.target = backend.only


cdef void _enliven_slot(Table* table, uint32_t slot) noexcept nogil:
    if table.route_of_slot[slot] < table.header.route_count:
        _enliven(table, table.route_of_slot[slot])


cdef uint64_t _stable_hash(object endpoint) except? 0:
    """The same number for an equal endpoint in every worker process."""
    import hashlib

    text = f"{endpoint.url} {endpoint.weight}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


cdef int _map_block(Table* table, int descriptor) except -1:
    """Map a block and check that every offset in it stays inside."""
    cdef stat_result status
    cdef void* address
    cdef const BlockHeader* header
    cdef const RouteRecord* route
    cdef uint32_t index
    cdef uint64_t size
    if fstat(descriptor, &status) < 0 or status.st_size < <long> sizeof(BlockHeader):
        raise ValueError("the table block is too short")
    size = status.st_size
    address = mmap(NULL, size, PROT_READ, MAP_SHARED, descriptor, 0)
    if address == MAP_FAILED:
        raise OSError(errno, "cannot map the table block")
    table.block = <const char*> address
    table.size = size
    header = <const BlockHeader*> address
    table.header = header
    if memcmp(header.magic, <const char*> "FPTABLE1", 8) != 0 or header.version != BLOCK_VERSION:
        raise ValueError("the table block has another format")
    if (
        header.total_size > size
        or <uint64_t> header.matcher_offset + header.matcher_size > size
        or <uint64_t> header.routes_offset + <uint64_t> header.route_count * sizeof(RouteRecord) > size
    ):
        raise ValueError("the table block is damaged")
    table.matcher = table.block + header.matcher_offset
    table.routes = <const RouteRecord*> (table.block + header.routes_offset)
    if core_check(table.matcher, header.matcher_size) != 0:
        raise ValueError("the matcher section of the table block is damaged")
    for index in range(header.route_count):
        route = &table.routes[index]
        if not (
            _inside(&route.name, size) and _inside(&route.backend_name, size) and _inside(&route.request, size)
            and _inside(&route.response, size) and _inside(&route.end, size)
        ):
            raise ValueError(f"route {index} of the table block is damaged")
    return 0


cdef inline bint _inside(const Span* span, uint64_t size) noexcept nogil:
    return <uint64_t> span.offset + span.size <= size
