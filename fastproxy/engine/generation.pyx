"""One generation of the compiled table: the mapped block and what its requests need beside it.

The block is read-only and the same for all workers; what is added here belongs to one worker: the
live objects by slot, the compiled expressions, and for each route the few bytes that a plain request
reads about it (`LiveRoute`).
"""

import logging

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from fastproxy import _core
from fastproxy.tables.block cimport BLOCK_VERSION, ROUTE_NOT_FOUND, BlockHeader, RouteRecord, Span
from fastproxy._core cimport core_check
from fastproxy.engine.upstream.backends cimport Backends
from fastproxy.engine.upstream.pool cimport PoolHandle
from fastproxy.engine.loop.posix cimport (
    MAP_FAILED, MAP_SHARED, PROT_READ, errno, fstat, mmap, munmap, stat_result,
)
from fastproxy.engine.operations.re2 cimport Regex
from fastproxy.engine.stream.stream cimport (
    NO_SLOT, ROUTE_DIRECT, ROUTE_REQUEST_STEPS, LiveBackend, LiveRoute, Pool, Table, route_flags,
)

log = logging.getLogger(__name__)

cdef enum:
    SHARED = 0xFFFFFFFE  # a backend's slot that several routes name


cdef class Generation:
    """One mapped table with what it keeps alive."""

    def __cinit__(self, int number, int block):
        self.number = number
        self.created = []
        self.replaced = []
        self.servers = []
        self.table = <Table*> calloc(1, sizeof(Table))
        if self.table == NULL:
            raise MemoryError
        _map_block(self.table, block)

    def __dealloc__(self):
        if self.table != NULL:
            if self.table.block != NULL:
                munmap(<void*> self.table.block, self.table.size)
            free(self.table.backends)
            free(self.table.live)
            free(self.table.route_of_slot)
            free(self.table.filters)
            free(self.table.expressions)
            free(self.table.servers)
            free(self.table.conditions)
            free(self.table)

    cdef int take_filters(self, Generation former, change) except -1:
        """The live filters and expressions: the former generation's with the changes."""
        cdef Table* table = self.table
        cdef uint32_t slot
        self.filters = dict(former.filters) if former is not None else {}
        for slot in change.removed_filters:
            self.filters.pop(slot, None)
        self.filters.update(change.filters)
        table.filter_count = max(self.filters, default=-1) + 1
        table.filters = <void**> calloc(table.filter_count + 1, sizeof(void*))
        table.expressions = <void**> calloc(table.filter_count + 1, sizeof(void*))
        if table.filters == NULL or table.expressions == NULL:
            raise MemoryError
        for slot, value in self.filters.items():
            table.filters[slot] = <void*> value
            if isinstance(value, Regex):
                table.expressions[slot] = (<Regex> value).compiled
        section = (<const char*> table.matcher)[:table.header.matcher_size]
        self._take_conditions(former, _core.section_regexes(section))
        return 0

    cdef int _take_conditions(self, Generation former, patterns) except -1:
        """The expressions the matcher asks for, by number; those of the running table are kept."""
        cdef Table* table = self.table
        cdef uint32_t number
        known = former.regexes if former is not None else {}
        self.regexes = {}
        table.conditions = <void**> calloc(len(patterns) + 1, sizeof(void*))
        if table.conditions == NULL:
            raise MemoryError
        for number, pattern in enumerate(patterns):
            if pattern not in self.regexes:
                self.regexes[pattern] = known[pattern] if pattern in known else _regex(pattern)
            regex = self.regexes[pattern]
            if regex is not None:
                table.conditions[number] = (<Regex> regex).compiled
        return 0

    cdef int take_servers(self, Backends backends) except -1:
        """Pools of the servers that filters have the engine ask."""
        cdef uint32_t slot
        cdef PoolHandle handle
        self.table.servers = <Pool**> calloc(self.table.filter_count + 1, sizeof(Pool*))
        if self.table.servers == NULL:
            raise MemoryError
        for slot, value in self.filters.items():
            server = getattr(value, "asks", None)
            if server is None:
                continue
            try:
                handle = backends.hold(server[0], server[1])
            except Exception as error:
                # the filter asks by itself then, and says so with each request
                log.debug("cannot ask %s: %s", server[0].url, error)
                continue
            self.servers.append(server)
            self.table.servers[slot] = handle.pool
        return 0

    cdef int leave_servers(self, Backends backends) except -1:
        for endpoint, tls in self.servers:
            backends.leave(endpoint, tls)
        self.servers = []
        return 0

    cdef int take_backends(self, Generation former, change) except -1:
        """The former generation's backends, without those that go."""
        cdef Table* table = self.table
        cdef Table* old = former.table if former is not None else NULL
        cdef uint32_t slot
        table.backend_count = max(
            old.backend_count if old != NULL else 0, max(change.backends, default=-1) + 1
        )
        table.backends = <LiveBackend**> calloc(table.backend_count + 1, sizeof(LiveBackend*))
        if table.backends == NULL:
            raise MemoryError
        if old != NULL:
            memcpy(table.backends, old.backends, old.backend_count * sizeof(LiveBackend*))
        for slot in change.removed_backends:
            if slot < table.backend_count:
                self._replace(slot, NULL)
        return 0

    cdef int place_backend(self, uint32_t slot, LiveBackend* live) except -1:
        """A backend made for this generation."""
        self.created.append(<size_t> live)
        self._replace(slot, live)
        return 0

    cdef int _replace(self, uint32_t slot, LiveBackend* live) except -1:
        if self.table.backends[slot] != NULL:
            self.replaced.append(<size_t> self.table.backends[slot])
        self.table.backends[slot] = live
        return 0

    cdef int enliven(self) except -1:
        """Work out what requests read about each route; all backends are in their places."""
        cdef Table* table = self.table
        cdef uint32_t slot, index
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

    cdef void enliven_slot(self, uint32_t slot) noexcept:
        """The same for one backend's route, after its endpoints have changed."""
        cdef Table* table = self.table
        if slot < table.backend_count and table.route_of_slot[slot] < table.header.route_count:
            _enliven(table, table.route_of_slot[slot])

    cdef bint in_use(self) noexcept:
        return self.table.references != 0


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


cdef object _regex(str pattern):
    try:
        return Regex(pattern.encode("utf-8", "surrogateescape"))
    except ValueError:
        return None
