"""Making a connection: the name, the addresses in their order, the TLS handshake.

While a connection is being made the whole request waits in its output queue, so the next address of
the endpoint can be tried with the same bytes. Requests to an endpoint whose name has not been looked
up yet wait in the same way, on a connection whose descriptor is a mere stand-in.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from fastproxy.engine.stream.complaint cimport WHY_CONNECT, WHY_NAME, WHY_SOCKET, reason_is
from fastproxy.engine.loop.posix cimport (
    EFD_CLOEXEC, EFD_NONBLOCK, EINPROGRESS, EMFILE, ENFILE, IPPROTO_TCP, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM,
    TCP_NODELAY, close, connect, errno, eventfd, setsockopt, sockaddr, socket,
)
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_CONNECT, DEADLINE_NAME, DEADLINE_TRY, DEADLINE_UPSTREAM_HANDSHAKE, deadline_set,
)
from fastproxy.engine.stream.stream cimport (
    FAIL_INTERNAL, FAIL_NAME, FAIL_NONE, FAIL_REFUSED, Engine, Pool, Stream, Upstream,
)
from fastproxy.engine.upstream.connection cimport (
    pool_close_idle, upstream_attach, upstream_close, upstream_fail, upstream_flush, upstream_give_way,
    upstream_new, upstream_unlink_waiting,
)


cdef int upstream_open_any(Stream* stream, Upstream** result) noexcept nogil:
    """Connect to the first address that does not refuse at once."""
    cdef Pool* pool = stream.pool
    cdef uint32_t i, address
    result[0] = NULL
    if pool.address_count == 0 and not pool.resolved:
        result[0] = _wait_for_name(stream.engine, pool)
        return FAIL_NAME if result[0] == NULL else FAIL_NONE
    if pool.address_count == 0:
        reason_is(stream.engine, WHY_NAME, 0)
        return FAIL_NAME
    for i in range(pool.address_count):
        address = (pool.preferred + i) % pool.address_count
        result[0] = _open(stream.engine, pool, address)
        if result[0] != NULL:
            return FAIL_NONE
    return FAIL_REFUSED


cdef inline int _socket(const Pool* pool, uint32_t address) noexcept nogil:
    return socket(
        pool.addresses[address].ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0
    )


cdef Upstream* _open(Engine* engine, Pool* pool, uint32_t address) noexcept nogil:
    """Start to connect to one address of the pool; NULL with errno."""
    cdef int one = 1
    cdef int descriptor
    if engine.connections + engine.upstreams >= engine.most_sockets:
        upstream_give_way(engine)
    descriptor = _socket(pool, address)
    if descriptor < 0 and (errno == EMFILE or errno == ENFILE) and upstream_give_way(engine):
        descriptor = _socket(pool, address)
    if descriptor < 0:
        reason_is(engine, WHY_SOCKET, errno)
        return NULL
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    if connect(descriptor, <sockaddr*> &pool.addresses[address], pool.address_sizes[address]) < 0:
        if errno != EINPROGRESS:
            reason_is(engine, WHY_CONNECT, errno)
            close(descriptor)
            return NULL
    engine.counters.upstream_connects += 1
    return upstream_new(engine, pool, descriptor, address)


cdef Upstream* _wait_for_name(Engine* engine, Pool* pool) noexcept nogil:
    """A connection whose request is kept until the pool has addresses."""
    cdef int descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    cdef Upstream* upstream = NULL
    if descriptor >= 0:
        upstream = upstream_new(engine, pool, descriptor, 0)
    if upstream == NULL:
        reason_is(engine, WHY_SOCKET, errno)
        return NULL
    upstream.waiting = 1
    upstream.next_idle = pool.waiting
    if pool.waiting != NULL:
        pool.waiting.previous_idle = upstream
    pool.waiting = upstream
    return upstream


cdef void upstream_limit_connecting(Upstream* upstream) noexcept nogil:
    """Less patience while another address is left to try."""
    cdef Pool* pool = upstream.pool
    cdef int kind = DEADLINE_CONNECT
    if upstream.waiting:
        kind = DEADLINE_NAME
    elif (upstream.address + 1) % pool.address_count != pool.preferred:
        kind = DEADLINE_TRY
    deadline_set(&upstream.source, &upstream.source.deadline, kind)


cdef void upstream_connected(Upstream* upstream) noexcept nogil:
    cdef Engine* engine = upstream.engine
    if upstream.version == upstream.pool.version:
        upstream.pool.preferred = upstream.address
    if upstream.stream != NULL:
        upstream.stream.record.connected = engine.reactor.now_ns
    if upstream.pool.tls:
        upstream.ssl = engine.tls.connect(
            upstream.pool.tls_client, upstream.source.descriptor, upstream.pool.name,
            upstream.pool.name_size, <uint64_t> <size_t> upstream.pool,
        )
        if upstream.ssl == NULL:
            upstream_fail(upstream, FAIL_INTERNAL)
            return
        upstream.handshaking = 1
        deadline_set(&upstream.source, &upstream.source.deadline, DEADLINE_UPSTREAM_HANDSHAKE)
        upstream_handshake(upstream)
        return
    upstream.connected = 1
    upstream_flush(upstream)


cdef void upstream_handshake(Upstream* upstream) noexcept nogil:
    cdef int code = upstream.engine.tls.handshake(upstream.ssl)
    if code == 1:
        upstream.handshaking = 0
        if upstream.stream != NULL:
            upstream.stream.record.secured = upstream.engine.reactor.now_ns
        upstream.connected = 1
        upstream.readable = 1
        upstream_flush(upstream)
    elif code != -1 and code != -2:
        upstream_fail(upstream, upstream.engine.tls.failed(upstream))


cdef void upstream_try_next(Upstream* upstream, int failure) noexcept nogil:
    """This address does not take us: the next one, with the same bytes."""
    cdef Pool* pool = upstream.pool
    cdef uint32_t tried = 0
    if upstream.version == pool.version and pool.address_count:
        tried = 1 + (upstream.address + pool.address_count - pool.preferred) % pool.address_count
    _move_on(upstream, tried, failure)


cdef void _move_on(Upstream* upstream, uint32_t tried, int failure) noexcept nogil:
    """Hand the request to the first address behind the `tried` ones, counted from the preferred."""
    cdef Stream* stream = upstream.stream
    cdef Pool* pool = upstream.pool
    cdef Upstream* other = NULL
    cdef uint32_t i
    for i in range(tried, pool.address_count):
        other = _open(upstream.engine, pool, (pool.preferred + i) % pool.address_count)
        if other != NULL:
            break
    if other == NULL or stream == NULL:
        upstream_fail(upstream, failure)
        return
    other.output = upstream.output
    memset(&upstream.output, 0, sizeof(upstream.output))
    upstream_close(upstream)
    upstream_attach(other, stream)
    other.blocked = 1  # the owner may be waiting for room
    upstream_limit_connecting(other)


cdef void pool_resolved(Pool* pool) noexcept nogil:
    """The addresses were replaced: connections to the old ones end, requests that waited go on."""
    cdef Upstream* upstream
    pool.resolved = 1
    pool.version += 1
    pool_close_idle(pool)
    while pool.waiting != NULL:
        upstream = pool.waiting
        upstream_unlink_waiting(upstream)
        reason_is(upstream.engine, WHY_NAME, 0)
        _move_on(upstream, 0, FAIL_REFUSED if pool.address_count else FAIL_NAME)
