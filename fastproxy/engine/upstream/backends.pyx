"""The live backends of a worker and the pools of their endpoints.

Both outlive generations: a slot which a generation does not mention keeps its object. Pools belong to
an endpoint's URL and are shared by all backends that name it; one is closed once no backend names
it and no exchange uses it.
"""

import hashlib
import ipaddress

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastproxy._core cimport balancer_free, balancer_new, balancer_update
from fastproxy.counters.quality cimport quality_reset
from fastproxy.engine.upstream.pool cimport PoolHandle
from fastproxy.engine.loop.posix cimport posix_memalign
from fastproxy.engine.stream.stream cimport LiveBackend, LiveEndpoint, Pool
from fastproxy.engine.stream.tls_plane cimport TlsPlane
from fastproxy.engine.upstream.connection cimport pool_close_idle


cdef class Backends:
    def __cinit__(self, list names, TlsPlane tls, resolver):
        self.names = names
        self.tls = tls
        self.resolver = resolver
        self.pools = {}
        self.unsure = set()
        self.old_pools = []
        self.old = []

    cdef LiveBackend* make(self, specification) except NULL:
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
            self.fill(live, specification.endpoints)
        except BaseException:
            self._free(live)
            raise
        return live

    cdef int fill(self, LiveBackend* live, endpoints) except -1:
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
            handle = self.pool(endpoint, shown)
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

    cdef int _free(self, LiveBackend* live) except -1:
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

    cdef PoolHandle pool(self, endpoint, tls):
        """`tls` says who we are and whom we trust (see TlsPlane.client): connections that differ
        in it are not shared."""
        cdef PoolHandle handle
        key = _pool_key(endpoint, tls)
        handle = self.pools.get(key)
        if handle is None:
            handle = PoolHandle(endpoint)
            if handle.pool.tls:
                handle.use_tls(self.tls.client(tls))
            self.pools[key] = handle
            self.unsure.add(key)
            self._watch_name(handle)
        return handle

    cdef PoolHandle hold(self, endpoint, tls):
        """The same, and it stays until `leave`."""
        cdef PoolHandle handle = self.pool(endpoint, tls)
        handle.pool.endpoints += 1
        return handle

    cdef int leave(self, endpoint, tls) except -1:
        cdef PoolHandle handle
        key = _pool_key(endpoint, tls)
        handle = self.pools[key]
        handle.pool.endpoints -= 1
        if handle.pool.endpoints == 0:
            self.unsure.add(key)
        return 0

    cdef int _watch_name(self, PoolHandle handle) except -1:
        try:
            ipaddress.ip_address(handle.host)
        except ValueError:
            handle.watch = self.resolver.watch(handle.host, handle.set_addresses)
        else:
            handle.set_addresses([handle.host])
        return 0

    cdef int let_go(self, list addresses) except -1:
        """Live backends that no generation will name any more; exchanges may still use them."""
        for address in addresses:
            (<LiveBackend*> <size_t> address).references -= 1
        self.old.extend(addresses)
        return 0

    cdef bint sweep(self) except -1:
        """Free what nothing uses any more; is there more that an exchange still uses?"""
        cdef LiveBackend* live
        cdef PoolHandle handle
        kept = []
        for address in self.old:
            live = <LiveBackend*> <size_t> address
            if live.references == 0:
                self._free(live)
            else:
                kept.append(address)
        self.old = kept
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
        return bool(self.old or self.unsure)

    cdef int drain(self) except -1:
        for handle in self.pools.values():
            pool_close_idle((<PoolHandle> handle).pool)
        return 0

    cdef int close(self) except -1:
        cdef PoolHandle handle
        for handle in [*self.pools.values(), *self.old_pools]:
            handle.close()
        return 0

    def __len__(self):
        return len(self.pools)


cdef object _pool_key(endpoint, tls):
    return endpoint.url, tls if endpoint.scheme == "https" else ""


cdef uint64_t _stable_hash(object endpoint) except? 0:
    """The same number for an equal endpoint in every worker process."""
    text = f"{endpoint.url} {endpoint.weight}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
