"""Connections to endpoints: taking one from the pool, sending a request, reading its response.

Idea: an upstream connection knows its stream and nothing about clients. It reports through the
stream's owner: head, body, end, failure, room for more.

This file hands each event to the part that the connection's state names; from the lowest to the
highest the parts are connection (memory, pools, writing, closing), connect,
h1_request and h1_response.
"""

from libc.stdint cimport uint32_t

from fastproxy.engine.stream.complaint cimport (
    WHY_CONNECT, WHY_CONNECT_TIMEOUT, WHY_NAME_TIMEOUT, WHY_RESPONSE_TIMEOUT, WHY_STALL,
    WHY_TLS_TIMEOUT, WHY_UPGRADE_TIMEOUT, reason_is,
)
from fastproxy.engine.loop.posix cimport (
    EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, SOL_SOCKET, SO_ERROR, getsockopt, socklen_t,
)
from fastproxy.engine.loop.reactor cimport (
    DEADLINE_CONNECT, DEADLINE_NAME, DEADLINE_POOL, DEADLINE_TRY, DEADLINE_UPGRADE,
    DEADLINE_UPSTREAM_HANDSHAKE, DEADLINE_UPSTREAM_STALL, Source,
)
from fastproxy.engine.stream.stream cimport (
    FAIL_CONNECT_TIMEOUT, FAIL_NAME, FAIL_REFUSED, FAIL_RESPONSE_TIMEOUT, FAIL_TRUNCATED,
    TUNNEL_CLOSING, TUNNEL_ENDED, Engine, Upstream,
)
from fastproxy.engine.stream.transport cimport TRANSPORT_AGAIN, transport_read
from fastproxy.engine.upstream.connect cimport (
    upstream_connected, upstream_handshake, upstream_try_next,
)
from fastproxy.engine.upstream.connection cimport (
    upstream_close, upstream_fail, upstream_flush, upstream_handlers,
)
from fastproxy.engine.upstream.h1_response cimport (
    upstream_read_body, upstream_read_head, upstream_read_tunnel,
)


cdef void upstream_install() noexcept:
    """Let connections report their events here; once, before the first one is made."""
    upstream_handlers.on_event = _on_event
    upstream_handlers.on_deadline = _on_deadline


cdef void _on_event(Source* source, uint32_t events) noexcept nogil:
    cdef Upstream* upstream = <Upstream*> source
    cdef int error = 0
    cdef socklen_t size = sizeof(error)
    if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        upstream.readable = 1
        if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            upstream.hung_up = 1
    if upstream.waiting:
        return
    if not upstream.connected:
        if upstream.handshaking:
            upstream_handshake(upstream)
        elif events & (EPOLLOUT | EPOLLERR | EPOLLHUP):
            getsockopt(source.descriptor, SOL_SOCKET, SO_ERROR, &error, &size)
            if error or events & EPOLLERR:
                reason_is(upstream.engine, WHY_CONNECT, error)
                upstream_try_next(upstream, FAIL_REFUSED)
            else:
                upstream_connected(upstream)
        if source.dead or not upstream.connected:
            return
    elif events & EPOLLOUT and (upstream.output.first != NULL or upstream.tunnel & TUNNEL_CLOSING):
        upstream_flush(upstream)
        if source.dead:
            return
    if upstream.tunnel & TUNNEL_ENDED:
        if upstream.deaf or events & EPOLLERR:
            upstream_fail(upstream, FAIL_TRUNCATED)  # it does not take what the client goes on to send
        return
    if not upstream.readable or (upstream.stream == NULL and events == 0):
        return
    if upstream.stream == NULL:
        if upstream.ssl == NULL or upstream.hung_up or not _only_tickets(upstream):
            upstream_close(upstream)  # whatever an idle connection says, it is not an answer
    elif not upstream.paused:
        if upstream.tunnel:
            upstream_read_tunnel(upstream)
        elif upstream.wire.headers_done:
            upstream_read_body(upstream)
        else:
            upstream_read_head(upstream)


cdef bint _only_tickets(Upstream* upstream) noexcept nogil:
    """TLS 1.3 session tickets may arrive on an idle connection; data may not."""
    cdef char byte
    if transport_read(upstream.engine, upstream.source.descriptor, upstream.ssl, &byte, 1) != TRANSPORT_AGAIN:
        return False
    upstream.readable = 0
    return True


cdef void _on_deadline(Source* source, int kind) noexcept nogil:
    cdef Upstream* upstream = <Upstream*> source
    cdef Engine* engine = upstream.engine
    if kind == DEADLINE_TRY:
        reason_is(engine, WHY_CONNECT_TIMEOUT, 0)
        upstream_try_next(upstream, FAIL_CONNECT_TIMEOUT)
    elif kind == DEADLINE_NAME:
        reason_is(engine, WHY_NAME_TIMEOUT, 0)
        upstream_fail(upstream, FAIL_NAME)
    elif kind == DEADLINE_CONNECT or kind == DEADLINE_UPSTREAM_HANDSHAKE:
        reason_is(engine, WHY_CONNECT_TIMEOUT if kind == DEADLINE_CONNECT else WHY_TLS_TIMEOUT, 0)
        upstream_fail(upstream, FAIL_CONNECT_TIMEOUT)
    elif kind == DEADLINE_POOL:
        upstream_close(upstream)
    else:
        reason_is(
            engine,
            WHY_UPGRADE_TIMEOUT if kind == DEADLINE_UPGRADE
            else WHY_STALL if kind == DEADLINE_UPSTREAM_STALL else WHY_RESPONSE_TIMEOUT,
            0,
        )
        upstream_fail(upstream, FAIL_RESPONSE_TIMEOUT)
