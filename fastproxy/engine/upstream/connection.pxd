"""One connection to an endpoint. See connection.pyx."""

from libc.stdint cimport uint32_t

from fastproxy.engine.loop.posix cimport iovec
from fastproxy.engine.loop.reactor cimport Source
from fastproxy.engine.stream.stream cimport Engine, Pool, Stream, Upstream

cdef struct UpstreamHandlers:
    void (*on_event)(Source*, uint32_t) noexcept nogil
    void (*on_deadline)(Source*, int) noexcept nogil

cdef UpstreamHandlers upstream_handlers  # filled in by h1.pyx

cdef Upstream* upstream_take_idle(Pool* pool) noexcept nogil
cdef void upstream_give_back(Upstream* upstream) noexcept nogil
cdef void upstream_unlink_waiting(Upstream* upstream) noexcept nogil
cdef void pool_close_idle(Pool* pool) noexcept nogil
cdef void pool_free(Pool* pool) noexcept nogil
cdef Upstream* upstream_new(Engine* engine, Pool* pool, int descriptor, uint32_t address) noexcept nogil
cdef void upstream_close(Upstream* upstream) noexcept nogil
cdef bint upstream_give_way(Engine* engine) noexcept nogil
cdef void upstream_fail(Upstream* upstream, int failure) noexcept nogil
cdef void upstream_send(Upstream* upstream, const iovec* vector, int count, size_t total) noexcept nogil
cdef void upstream_flush(Upstream* upstream) noexcept nogil
cdef void upstream_request_sent(Upstream* upstream) noexcept nogil
cdef void upstream_end_half(Upstream* upstream) noexcept nogil

cdef inline void upstream_attach(Upstream* upstream, Stream* stream) noexcept nogil:
    upstream.stream = stream
    stream.upstream = upstream
    upstream.answered = 0
    upstream.written = 0
    upstream.interim = 0
    upstream.paused = 0
    upstream.blocked = 0
